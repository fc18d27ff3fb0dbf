"""The commonest AVI of its time keeps every frame."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.divx import packed_avi
from tests.media_factory import frame_lines, run_ffmpeg
from tests.pipelines.bare import bare
from vgen.config import Recipe

RECIPE = Recipe.model_validate({"release": "identity", "encode": {"codec": "ffv1"}})
TICK = Fraction(1, 25)


def assert_kept_whole(source: Path, pictures: list[str], *, span_frames: int | None) -> None:
    """Check that a run gives these pictures, one a tick, and finds no fault with the source."""
    destination = source.parent / "out"
    one = bare(source, destination, RECIPE, span_frames=span_frames)
    assert not any(row["fault"] for row in one.produce())
    outcome = one.assemble().outcome
    assert outcome.status == "done"
    assert not any("damaged" in note or "missing" in note for note in outcome.notes)
    made = frame_lines(destination / f"{source.stem}.mkv", TICK)
    assert [line.crc for line in made] == pictures
    assert [line.pts for line in made] == list(range(len(pictures)))


@pytest.mark.parametrize(("suffix", "first_b"), [("avi", 20), ("mkv", 0), ("mp4", 0)])
def test_that_pictures_are_packed_stands_in_the_stream(tmp_path, suffix, first_b):
    """It does not show in the first frames of each, nor in the times of other containers."""
    packed, usual = packed_avi(tmp_path, 95, first_b=first_b)
    source = tmp_path / f"moved.{suffix}"
    run_ffmpeg("-fflags", "+genpts", "-i", packed, "-c", "copy", source)
    pictures = [line.crc for line in frame_lines(usual, TICK)]
    assert_kept_whole(source, pictures, span_frames=30)


@pytest.mark.parametrize("span_frames", [7, None])
def test_pictures_that_share_a_chunk_are_all_kept(tmp_path, span_frames):
    """Their inferred PTS made half of them look damaged."""
    packed, usual = packed_avi(tmp_path)
    pictures = [line.crc for line in frame_lines(usual, TICK)]
    assert [line.crc for line in frame_lines(packed, TICK)] == pictures
    assert_kept_whole(packed, pictures, span_frames=span_frames)
