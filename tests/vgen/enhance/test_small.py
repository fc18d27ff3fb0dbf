"""Small pictures against the network's own way to RGB, and the plain mean of areas."""

import numpy as np
import pytest
import torch

from tests.vgen.enhance.toys import noise_planes, video_of
from vgen.enhance.coding import Coding
from vgen.enhance.colorspace import Converter
from vgen.enhance.small import SHORTER_SIDE, luma_levels, small_rgb, small_size
from vgen.errors import ProbeError
from vgen.media.pixels import planar_format

FORMATS = [
    ("yuv420p", False), ("yuv420p", True), ("yuv422p10le", False), ("yuv444p12le", True),
    ("gray", False), ("gray10le", True), ("gbrp", True), ("gbrp10le", True),
]  # fmt: skip


def coding_of(name, *, is_full_range):
    video = video_of(name, 64, 48, is_full_range=is_full_range)
    return Coding.of(planar_format(name), video.color)


def smooth_planes(name, width, height):
    """A gradient in each plane, so that how chroma is interpolated makes no difference."""
    layout = planar_format(name)
    step = 1 << (layout.bit_depth - 8)
    planes = []
    for at, (rows, columns) in enumerate(layout.plane_shapes(width, height)):
        y, x = np.mgrid[:rows, :columns]
        level = 90 + 40 * x / columns + 30 * y / rows + 5 * at
        planes.append((level * step).astype(layout.dtype))
    return planes


@pytest.mark.parametrize(("name", "is_full_range"), FORMATS, ids=str)
def test_a_small_picture_is_the_mean_of_what_the_network_would_see(name, is_full_range):
    coding = coding_of(name, is_full_range=is_full_range)
    width, height = 1280, 960  # a quarter of it is small enough
    planes = smooth_planes(name, width, height)
    converter = Converter(coding, coding, scale=1, device=torch.device("cpu"), uri="")
    rgb_nchw = converter.rgb(converter.load(planes)).contiguous()
    wanted = torch.nn.functional.avg_pool2d(rgb_nchw, 4)[0].permute(1, 2, 0).numpy() * 255
    made = small_rgb(planes, coding, uri="")
    assert made.dtype == np.uint8
    assert np.abs(made - wanted.clip(0, 255)).max() <= 2.0


def test_every_pixel_counts():
    """A single bright pixel in each area of noise moves its mean."""
    coding = coding_of("gray", is_full_range=True)
    [plane] = noise_planes("gray", 960, 960, np.random.default_rng(1))
    wanted = plane.reshape(240, 4, 240, 4).mean(axis=(1, 3))
    assert np.abs(small_rgb([plane], coding, uri="")[..., 0] - wanted).max() <= 1.5


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((1080, 1920), (427, 240)), ((1920, 1080), (240, 427)), ((48, 64), (64, 48)),
        ((240, 2400), (2400, 240)), ((1, 9), (9, 1)),
    ],
)  # fmt: skip
def test_the_shorter_side_is_made_small(size, small):
    assert small_size(*size) == small
    assert min(small) <= SHORTER_SIDE


@pytest.mark.parametrize(("name", "is_full_range"), FORMATS, ids=str)
def test_luma_comes_in_8_bits_with_its_scale(name, is_full_range):
    coding = coding_of(name, is_full_range=is_full_range)
    planes = smooth_planes(name, 64, 48)
    luma_hw, gain = luma_levels(planes, coding)
    assert luma_hw.dtype == np.uint8
    assert luma_hw.shape == (48, 64)
    step = 1 << (coding.format.bit_depth - 8)
    assert np.array_equal(luma_hw, planes[0] // step)
    assert gain == pytest.approx(1 if is_full_range else 219 / 255, rel=0.005)


def test_an_unknown_matrix_fails_the_video():
    video = video_of("yuv420p", 64, 48, matrix=14)
    coding = Coding.of(planar_format("yuv420p"), video.color)
    with pytest.raises(ProbeError, match=r"colour matrix 14 .*film.mkv"):
        small_rgb(smooth_planes("yuv420p", 64, 48), coding, uri="film.mkv")
