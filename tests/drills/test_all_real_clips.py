"""Every real clip, in spans of three sizes, and through the default recipe."""

import re
from pathlib import Path

import pytest

from tests.drills.conftest import Record
from tests.media_factory import run_ffmpeg
from tests.pipelines.oracle import assert_same_times, decodes, described, shown, shows
from tests.pipelines.processes import RAY_MARKS, Ran, Vgen
from vgen.records import VideoOutcome

pytestmark = [*RAY_MARKS, pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(14400)]


def done(ran: Ran) -> dict[Path, VideoOutcome]:
    return {Path(one.source_uri): one for one in ran.report.videos if one.status == "done"}


def test_identity_gives_the_frames_of_a_sequential_decode(
    real_clips, vgen: Vgen, record: Record, tmp_path
):
    """Damaged clips are held to be alike for all sizes: what a decoder makes of them is its own."""
    flags = (
        "--release", "identity", "--encode.codec", "ffv1", "--json",
    )  # fmt: skip
    frames: dict[Path, set[tuple[str, ...]]] = {clip: set() for clip in real_clips}
    for size in ("7", "48", "1000000"):
        ran = vgen("enhance", real_clips[0].parent, tmp_path / size, *flags, "--span-frames", size)
        assert done(ran).keys() == {clip for clip in real_clips if shows(clip)}
        for clip, outcome in done(ran).items():
            frames[clip].add(shown(Path(outcome.output_uri)).hashes)
    compared = 0
    for clip, seen in frames.items():
        if seen and not clip.name.startswith("corrupt_"):
            assert seen == {shown(clip).hashes}, clip.name
            compared += sum(map(len, seen))
        assert len(seen) <= 1, f"{clip.name} depends on the size of spans"
    record(
        "real clips, identity and ffv1, spans of 7, 48 and the largest",
        f"{sum(map(bool, frames.values()))} clips done of {len(real_clips)}; {compared} frames "
        "of the undamaged ones equal a sequential decode by ffmpeg, for all sizes",
    )


def test_the_default_recipe_keeps_everything_but_the_noise(
    real_clips, vgen: Vgen, record: Record, tmp_path
):
    ran = vgen("enhance", real_clips[0].parent, tmp_path, "--json")
    assert done(ran).keys() == {clip for clip in real_clips if shows(clip)}
    tracks = 0
    for clip, outcome in done(ran).items():
        output = Path(outcome.output_uri)
        assert decodes(output) == "", clip.name
        assert described(output) == described(clip), clip.name
        if clip.name.startswith("corrupt_"):
            continue
        assert_same_times(output, clip, is_shifted=clip.suffix == ".avi")
        if not outcome.dropped:
            assert sounds_of(output) == sounds_of(clip), clip.name
            tracks += len(sounds_of(clip))
    record(
        "real clips, default recipe",
        f"{ran.report.totals.done} done, {ran.report.totals.failed} refused; "
        f"{ran.report.totals.frames} frames at their times; {tracks} audio tracks byte-identical",
    )


def sounds_of(path: Path) -> list[str]:
    """Return a hash of the packets of each audio track."""
    text = run_ffmpeg(
        "-i", f"file:{path}", "-map", "0:v:0", "-map", "0:a?",
        "-c", "copy", "-f", "streamhash", "-hash", "md5", "-",
    )  # fmt: skip
    return re.findall(r"\d+,a,MD5=([0-9a-f]+)", text, re.IGNORECASE)
