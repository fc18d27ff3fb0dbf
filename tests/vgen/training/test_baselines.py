"""Judged against the filters of an independent build of FFmpeg."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgen.training.baselines import CODEC_FILTERS, Filter, noise_filters, run_filter


def picture_clip(frames=5, height=32, width=48, sigma=0.0):
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:height, :width]
    flat = np.stack([rows * 3 + 60, columns * 2 + 50, rows + columns + 80], axis=-1)
    clips = np.repeat(flat[None].astype(float), frames, axis=0)
    return np.clip(np.rint(clips + rng.normal(0, sigma, clips.shape)), 0, 255).astype(np.uint8)


def filtered_by_program(clip_thwc, chosen):
    frames, height, width = clip_thwc.shape[:3]
    planes = np.ascontiguousarray(clip_thwc[..., (1, 2, 0)].transpose(0, 3, 1, 2))
    raw = ["-f", "rawvideo", "-pix_fmt", "gbrp"]
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *raw, "-s", f"{width}x{height}",
        "-i", "-", "-vf", str(chosen), "-threads", "1", *raw, "-",
    ]  # fmt: skip
    made = subprocess.run(command, input=planes.tobytes(), capture_output=True, check=True).stdout
    shaped = np.frombuffer(made, np.uint8).reshape(frames, 3, height, width)
    return shaped.transpose(0, 2, 3, 1)[..., (2, 0, 1)]


@pytest.mark.parametrize(
    "chosen",
    [
        Filter(name="bm3d", arguments="sigma=60"),
        Filter(name="nlmeans", arguments="s=12"),
        Filter(name="deblock", arguments="filter=weak:block=8"),
        noise_filters(15)[-1],
    ],
    ids=str,
)
def test_a_filter_gives_what_the_program_gives(chosen):
    clip = picture_clip(sigma=15)
    ours = run_filter(clip, chosen)
    theirs = filtered_by_program(clip, chosen)
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert (ours != clip).any()


def test_frames_come_back_in_their_order():
    clip = np.stack([np.full((32, 32, 3), 30 * t + 20, np.uint8) for t in range(7)])
    for chosen in (*CODEC_FILTERS[:4], *noise_filters(5)[:1]):
        made = run_filter(clip, chosen)
        assert made.shape == clip.shape
        assert np.abs(made.astype(int) - clip).max() <= 2, chosen


@pytest.mark.parametrize("sigma", [15, 25])
def test_the_grid_for_noise_removes_most_of_it(sigma):
    clean, noisy = picture_clip(), picture_clip(sigma=sigma)
    left = [
        np.square(run_filter(noisy, one).astype(float) - clean).mean()
        for one in noise_filters(sigma)
    ]
    assert min(left) < np.square(noisy.astype(float) - clean).mean() / 6


@given(st.floats(min_value=0.5, max_value=200))
def test_every_noise_has_a_grid_the_filters_take(sigma):
    strengths = [
        float(one.arguments.removeprefix("s="))
        for one in noise_filters(sigma)
        if one.name == "nlmeans"
    ]
    assert strengths
    assert all(1 <= strength <= 30 for strength in strengths)
    assert len(set(map(str, noise_filters(sigma)))) == len(noise_filters(sigma))
