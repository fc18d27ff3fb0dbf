"""Real clips of many origins, damaged ones among them, through whole runs."""

import shutil
from pathlib import Path

import pytest

from pipelines.inspection import inspect_file
from tests.pipelines.archive import outputs_of
from tests.pipelines.oracle import assert_same_times, decodes, described, shown, shows
from tests.pipelines.processes import RAY_MARKS, Ran, Vgen
from vgen.errors import ProbeError
from vgen.records import VideoOutcome

pytestmark = [*RAY_MARKS, pytest.mark.real, pytest.mark.timeout(3600)]

MAX_PIXELS = 120_000_000
"""Frames times size up to which a clip is decoded and compared here; the drills take all."""
MAX_RESTORED_PIXELS = 15_000_000
"""The same for what a network is to restore."""


def outcomes(ran: Ran) -> dict[str, VideoOutcome]:
    return {Path(one.source_uri).name: one for one in ran.report.videos}


def is_damaged(path: Path) -> bool:
    """Whether the name says so; what a decoder makes of damage is its own business."""
    return path.name.startswith("corrupt_")


def num_pixels(path: Path) -> int:
    """Frames times size, 0 for what cannot be read."""
    try:
        info = inspect_file(str(path)).info
    except ProbeError:
        return 0
    return info.num_frames * info.video.width * info.video.height


def copied(clips: list[Path], folder: Path) -> list[Path]:
    for clip in clips:
        shutil.copyfile(clip, folder / clip.name)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def clips(real_clips, tmp_path_factory) -> list[Path]:
    """The real clips that are not too much for an ordinary test, in a folder of their own."""
    chosen = [clip for clip in real_clips if num_pixels(clip) <= MAX_PIXELS]
    print(f"{len(chosen)} of {len(real_clips)} real clips used, the drills use all")
    return copied(chosen, tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def lossless(clips, vgen: Vgen, tmp_path_factory) -> Ran:
    """The clips through release identity and a lossless codec."""
    destination = tmp_path_factory.mktemp("lossless") / "out"
    return vgen(
        "enhance", clips[0].parent, destination, "--release", "identity",
        "--encode.codec", "ffv1", "--json",
    )  # fmt: skip


def test_what_shows_no_frame_fails_and_all_else_is_done(lossless, clips):
    done = {name for name, one in outcomes(lossless).items() if one.status == "done"}
    assert outcomes(lossless).keys() == {clip.name for clip in clips}
    assert done == {clip.name for clip in clips if shows(clip)}


def test_identity_gives_the_frames_of_a_sequential_decode(lossless, clips):
    wrong = []
    for clip in clips:
        outcome = outcomes(lossless)[clip.name]
        if outcome.status != "done" or is_damaged(clip):
            continue
        output = Path(outcome.output_uri)
        if shown(output).hashes != shown(clip).hashes:
            wrong.append(clip.name)
        assert_same_times(output, clip, is_shifted=clip.suffix == ".avi")
    assert not wrong


def test_identity_keeps_size_aspect_rotation_and_colour_tags(lossless):
    done = [one for one in lossless.report.videos if one.status == "done"]
    told = {one.source_uri: (described(Path(one.output_uri)), described(Path(one.source_uri)))
            for one in done}  # fmt: skip
    assert not {uri: pair for uri, pair in told.items() if pair[0] != pair[1]}


def test_restored_clips_keep_their_frames_times_and_description(
    clips, vgen: Vgen, tmp_path_factory
):
    source, destination = tmp_path_factory.mktemp("small"), tmp_path_factory.mktemp("restored")
    small = copied([one for one in clips if num_pixels(one) <= MAX_RESTORED_PIXELS], source)
    ran = vgen("enhance", source, destination, "--encode.preset", "ultrafast", "--json")
    done = {Path(one.source_uri): one for one in ran.report.videos if one.status == "done"}
    assert done.keys() == {clip for clip in small if shows(clip)}
    assert len(outputs_of(destination)) == len(done) > 0
    for clip, outcome in done.items():
        output = Path(outcome.output_uri)
        assert decodes(output) == ""
        assert described(output) == described(clip)
        if not is_damaged(clip):
            assert_same_times(output, clip, is_shifted=clip.suffix == ".avi")
