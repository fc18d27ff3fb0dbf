from pathlib import Path

import numpy as np
import pytest

from pipelines.demo_clip import CAST, MARGIN_PX, NUM_FRAMES, measure_faults, spoil
from tests.media_factory import run_ffmpeg

WIDTH, HEIGHT = 400, 272


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[Path, Path]:
    """A still scene in grays, and what spoiling makes of it."""
    folder = tmp_path_factory.mktemp("spoilt")
    source, path = folder / "source.mkv", folder / "spoilt.mp4"
    run_ffmpeg(
        "-f", "lavfi", "-i", f"cellauto=size={WIDTH // 4}x{HEIGHT // 4}:rate=25:seed=5:full=1",
        "-vf", f"trim=end_frame=1,scale={WIDTH}:{HEIGHT}:flags=bicubic,eq=contrast=0.4,"
        f"loop=loop={NUM_FRAMES + 5}:size=1",
        "-c:v", "ffv1", "-pix_fmt", "yuv420p", source,
    )  # fmt: skip
    spoil(source, path)
    return source, path


def test_a_spoilt_clip_shakes_and_has_the_cast_it_was_given(clips):
    was, is_now = (measure_faults(path) for path in clips)
    assert was.shake_px < 0.05
    assert was.cast < 0.02
    assert is_now.shake_px > 3
    assert is_now.cast == pytest.approx(1 / min(CAST) - 1, abs=0.05)


def test_a_spoilt_clip_is_short_and_loses_its_margin(clips):
    shapes = [
        tuple(map(int, line.split(",")[2:4]))
        for line in run_ffmpeg(
            "-i", clips[1], "-f", "framehash", "-hash", "crc32", "-"
        ).splitlines()
        if not line.startswith("#")
    ]
    assert len(shapes) == NUM_FRAMES
    pixels = (WIDTH - 2 * MARGIN_PX) * (HEIGHT - 2 * MARGIN_PX)
    text = run_ffmpeg("-i", clips[1], "-frames:v", "1", "-f", "framehash", "-hash", "crc32", "-")
    assert f"{pixels * 3 // 2}," in text.replace(" ", "")


def test_spoiling_twice_gives_the_same_bytes(clips, tmp_path):
    spoil(clips[0], tmp_path / "again.mp4")
    assert np.array_equal(
        np.fromfile(clips[1], np.uint8), np.fromfile(tmp_path / "again.mp4", np.uint8)
    )
