"""Memory does not grow with the length of a video."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.measure import Measured, measure
from tests.drills.conftest import Record
from tests.media_factory import run_ffmpeg
from tests.pipelines.archive import add_long
from tests.pipelines.processes import ray_environment

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(7200)]

MOST_GROWTH = 1.2


def measured(source: Path, destination: Path, *flags: str) -> Measured:
    command = [sys.executable, "-m", "pipelines.cli", "enhance", str(source), str(destination)]
    with ray_environment() as environment:
        made = measure([*command, "--address", "local", *flags], env=os.environ | environment)
    assert made.returncode == 0, made.output[-2000:]
    return made


def looped(once: Path, path: Path, times: int) -> None:
    """Repeat a clip without encoding it again."""
    path.parent.mkdir(parents=True)
    run_ffmpeg("-stream_loop", str(times - 1), "-i", once, "-c", "copy", path)


@pytest.mark.parametrize(
    ("release", "size", "minutes"),
    [("identity", "854x480", (5, 20)), ("restore-tiny", "854x480", (1, 4))],
)
def test_four_times_the_length_takes_no_more_memory(
    release, size, minutes, record: Record, tmp_path
):
    once = tmp_path / "once.mp4"
    add_long(once, seconds=60, size=size)
    peaks = []
    for length in minutes:
        looped(once, tmp_path / str(length) / "in" / "clip.mp4", length)
        made = measured(
            tmp_path / str(length) / "in", tmp_path / str(length) / "out",
            "--release", release, "--encode.preset", "ultrafast",
        )  # fmt: skip
        peaks.append(made.peak_bytes)
    growth = peaks[1] / peaks[0]
    record(
        f"peak memory without file cache, {release} at {size}",
        f"{minutes[0]} min {peaks[0] / 2**20:.0f} MiB, {minutes[1]} min "
        f"{peaks[1] / 2**20:.0f} MiB: {growth:.2f}x",
    )
    assert growth <= MOST_GROWTH
