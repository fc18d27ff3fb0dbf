"""Real clips of many origins, damaged ones among them, through whole runs."""

import shutil
from pathlib import Path

import pytest

from tests.pipelines.archive import outputs_of
from tests.pipelines.oracle import assert_same_times, decodes, described, shown, shows
from tests.pipelines.processes import RAY_MARKS, Ran, Vgen
from vgen.records import VideoOutcome

pytestmark = [*RAY_MARKS, pytest.mark.real, pytest.mark.timeout(3600)]

MAX_RESTORED_BYTES = 700_000
"""Larger clips take a network minutes; the drills restore them."""


def outcomes(ran: Ran) -> dict[str, VideoOutcome]:
    return {Path(one.source_uri).name: one for one in ran.report.videos}


def is_damaged(path: Path) -> bool:
    """Whether the name says so; what a decoder makes of damage is its own business."""
    return path.name.startswith("corrupt_")


@pytest.fixture(scope="module")
def lossless(real_clips, vgen: Vgen, tmp_path_factory) -> Ran:
    """All clips through release identity and a lossless codec."""
    destination = tmp_path_factory.mktemp("lossless") / "out"
    ran = vgen(
        "enhance", real_clips[0].parent, destination, "--release", "identity",
        "--encode.codec", "ffv1", "--json",
    )  # fmt: skip
    print(f"{len(real_clips)} real clips: {ran.report.totals}")
    return ran


def test_what_shows_no_frame_fails_and_all_else_is_done(lossless, real_clips):
    done = {name for name, one in outcomes(lossless).items() if one.status == "done"}
    assert outcomes(lossless).keys() == {clip.name for clip in real_clips}
    assert done == {clip.name for clip in real_clips if shows(clip)}


def test_identity_gives_the_frames_of_a_sequential_decode(lossless, real_clips):
    wrong = []
    for clip in real_clips:
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
    real_clips, vgen: Vgen, tmp_path_factory
):
    source, destination = tmp_path_factory.mktemp("small"), tmp_path_factory.mktemp("restored")
    for clip in real_clips:
        if clip.stat().st_size <= MAX_RESTORED_BYTES:
            shutil.copyfile(clip, source / clip.name)
    ran = vgen("enhance", source, destination / "out", "--encode.preset", "ultrafast", "--json")
    clips = {clip.name: clip for clip in source.iterdir()}
    done = {name: one for name, one in outcomes(ran).items() if one.status == "done"}
    assert done.keys() == {name for name, clip in clips.items() if shows(clip)}
    assert len(outputs_of(destination / "out")) == len(done)
    for name, outcome in done.items():
        output = Path(outcome.output_uri)
        assert decodes(output) == ""
        assert described(output) == described(clips[name])
        if not is_damaged(clips[name]):
            assert_same_times(output, clips[name], is_shifted=output.suffix == ".avi")
