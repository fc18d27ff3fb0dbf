"""Cuts are seen, and what only looks like one is not."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift, zoom

from vgen.enhance.shots import is_cut, thumbnail

HEIGHT, WIDTH = 120, 216


def scene(seed, *, height=HEIGHT, width=WIDTH, mean=110, contrast=45):
    """Something like a picture: detail at all scales, coarse detail the strongest."""
    generator = np.random.default_rng(seed)
    picture = sum(
        scale * _unit(gaussian_filter(generator.normal(size=(height, width)), scale))
        for scale in (0.5, 2, 6, 15)
    )
    return (mean + contrast * _unit(picture)).clip(0, 255)


def _unit(picture):
    return (picture - picture.mean()) / picture.std()


def cut_between(before, after, bit_depth=8):
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    scale = 1 << (bit_depth - 8)
    thumbs = [
        thumbnail((picture.clip(0, 255) * scale).astype(dtype), bit_depth)
        for picture in (before, after)
    ]
    return is_cut(*thumbs)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_another_scene_is_a_cut_both_ways(seed, bit_depth):
    one, other = scene(seed), scene(seed + 100, mean=90 + 5 * seed)
    assert cut_between(one, other, bit_depth)
    assert cut_between(other, one, bit_depth)


@pytest.mark.parametrize("seed", range(6))
def test_a_dark_scene_after_a_bright_one_is_a_cut(seed):
    assert cut_between(scene(seed, mean=150), scene(seed + 50, mean=40, contrast=15))


@pytest.mark.parametrize("level", [0, 16, 255])
def test_a_picture_after_black_or_white_is_a_cut(level):
    assert cut_between(np.full((HEIGHT, WIDTH), level), scene(1))
    assert cut_between(scene(1), np.full((HEIGHT, WIDTH), level))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("motion", [(0, 2), (3, 10), (-10, 16), (0, 19)], ids=str)
def test_a_pan_is_no_cut(seed, motion):
    wide = scene(seed, height=HEIGHT + 50, width=WIDTH + 50)
    down, across = motion
    before = wide[25:-25, 25:-25]
    after = wide[25 + down : 25 + down + HEIGHT, 25 + across : 25 + across + WIDTH]
    assert not cut_between(before, after)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("gain", "offset"), [(1.0, 60), (1.3, 20), (0.7, -10), (0.6, 0)])
def test_a_flash_is_no_cut(seed, gain, offset):
    calm = scene(seed, mean=90, contrast=30)
    assert not cut_between(calm, calm * gain + offset)
    assert not cut_between(calm * gain + offset, calm)


@pytest.mark.parametrize("num_frames", [10, 25, 50])
def test_a_fade_is_no_cut_once_there_is_a_picture(num_frames):
    picture = scene(3)
    steps = [picture * t / num_frames for t in range(num_frames + 1)]
    cuts = [cut_between(a, b) for a, b in pairwise(steps[1:])]
    assert not any(cuts)


def test_a_cross_fade_is_no_cut():
    one, other = scene(4), scene(5)
    steps = [one * (1 - t / 12) + other * t / 12 for t in range(13)]
    assert not any(cut_between(a, b) for a, b in pairwise(steps))


def test_a_zoom_is_no_cut():
    picture = scene(6)
    larger = zoom(picture, 1.08, order=1)
    top, left = (larger.shape[0] - HEIGHT) // 2, (larger.shape[1] - WIDTH) // 2
    assert not cut_between(picture, larger[top : top + HEIGHT, left : left + WIDTH])


def test_a_large_moving_object_is_no_cut():
    back, thing = scene(7), scene(8, mean=180)
    frames = []
    for at in (50, 65):
        frame = back.copy()
        frame[20:100, at : at + 80] = thing[20:100, :80]
        frames.append(frame)
    assert not cut_between(*frames)


@pytest.mark.parametrize("sigma", [5, 20, 50])
def test_noise_is_no_cut(sigma):
    generator = np.random.default_rng(9)
    picture = scene(9)
    noisy = [picture + generator.normal(0, sigma, picture.shape) for _ in range(2)]
    assert not cut_between(*noisy)


def test_shake_is_no_cut():
    picture = scene(10)
    assert not cut_between(picture, shift(picture, (3.5, -5.3), order=1, mode="nearest"))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 500), (3000, 2), (33, 65)], ids=str)
def test_pictures_of_any_size_can_be_compared(size):
    black, white = np.zeros(size), np.full(size, 255)
    assert cut_between(black, white)
    assert not cut_between(black, black)
