"""The commonest AVI of its time keeps every frame."""

from fractions import Fraction

import pytest

from tests.divx import packed_avi
from tests.media_factory import frame_lines, run_ffmpeg
from tests.pipelines.bare import bare
from vgen.config import Recipe

RECIPE = Recipe.model_validate({"release": "identity", "encode": {"codec": "ffv1"}})
TICK = Fraction(1, 25)


@pytest.mark.parametrize(("suffix", "first_b"), [("avi", 20), ("mkv", 0), ("mp4", 0)])
def test_that_pictures_are_packed_stands_in_the_stream(tmp_path, suffix, first_b):
    """It does not show in the first frames of each, nor in the times of other containers."""
    packed, usual = packed_avi(tmp_path, 95, first_b=first_b)
    pictures = [line.crc for line in frame_lines(usual, TICK)]
    source = tmp_path / f"moved.{suffix}"
    run_ffmpeg("-fflags", "+genpts", "-i", packed, "-c", "copy", source)
    one = bare(source, tmp_path / "out", RECIPE, span_frames=30)
    assert not any(row["fault"] for row in one.produce())
    outcome = one.assemble().outcome
    assert outcome.status == "done"
    assert not any("damaged" in note or "missing" in note for note in outcome.notes)
    made = frame_lines(tmp_path / "out" / "moved.mkv", TICK)
    assert [line.crc for line in made] == pictures
    assert [line.pts for line in made] == list(range(len(pictures)))


@pytest.mark.parametrize("span_frames", [7, None])
def test_pictures_that_share_a_chunk_are_all_kept(tmp_path, span_frames):
    """Their inferred PTS made half of them look damaged."""
    packed, usual = packed_avi(tmp_path)
    pictures = [line.crc for line in frame_lines(usual, TICK)]
    assert [line.crc for line in frame_lines(packed, TICK)] == pictures
    one = bare(packed, tmp_path / "out", RECIPE, span_frames=span_frames)
    assert not any(row["fault"] for row in one.produce())
    outcome = one.assemble().outcome
    assert outcome.status == "done"
    assert not any("damaged" in note or "missing" in note for note in outcome.notes)
    made = frame_lines(tmp_path / "out" / "packed.mkv", TICK)
    assert [line.crc for line in made] == pictures
    assert [line.pts for line in made] == list(range(len(pictures)))
