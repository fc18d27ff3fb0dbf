"""Resampling against numpy's interpolation, torch's bicubic and explicit areas."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from vgen.enhance.resample import downsample, upsample

SIZES = [(1, 1), (2, 3), (5, 9), (16, 8)]


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("shift", [0.0, -0.25, -0.375, -0.5])
@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("cropped", [0, 1])
@pytest.mark.parametrize("dim", [-1, -2])
def test_linear_upsampling_shows_the_stated_positions(factor, shift, length, cropped, dim):
    samples = np.random.default_rng(1).random((3, length))
    size = factor * length - cropped
    positions = np.arange(size) / factor + shift
    expected = np.stack([np.interp(positions, np.arange(length), row) for row in samples])
    planes = torch.from_numpy(samples)[None]
    planes = planes if dim == -1 else planes.mT
    got = upsample(planes, factor=factor, shift=shift, size=size, dim=dim, kernel="linear")
    got = got if dim == -1 else got.mT
    assert np.allclose(got[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_cubic_upsampling_is_the_bicubic_that_networks_are_trained_on(scale, height, width):
    planes = torch.rand(2, 1, height, width, dtype=torch.float64)
    expected = functional.interpolate(
        planes, scale_factor=scale, mode="bicubic", align_corners=False
    )
    got, shift = planes, 0.5 / scale - 0.5
    for dim, size in ((-1, scale * width), (-2, scale * height)):
        got = upsample(got, factor=scale, shift=shift, size=size, dim=dim, kernel="cubic")
    assert torch.allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize(("factor", "offset"), [(2, 0.0), (2, 0.5), (2, 1.0), (4, 0.0), (4, 1.5)])
@pytest.mark.parametrize("length", [1, 2, 5, 8, 13])
@pytest.mark.parametrize("dim", [-1, -2])
def test_downsampling_averages_the_footprint_of_each_sample(factor, offset, length, dim):
    samples = np.random.default_rng(2).random(length)
    size = -(-length // factor)
    # The slow way: each sample is a column of 100 thin slices; edges go on for ever.
    slices = 100
    thin = np.repeat(np.pad(samples, 3 * factor, mode="edge"), slices)
    origin = (3 * factor + 0.5) * slices
    expected = [
        thin[round(origin + (factor * j + offset - factor / 2) * slices) :][: factor * slices]
        for j in range(size)
    ]
    planes = torch.from_numpy(samples)[None, None]
    planes = planes if dim == -1 else planes.mT
    got = downsample(planes, factor=factor, offset=offset, size=size, dim=dim)
    assert np.allclose(got.flatten().numpy(), [e.mean() for e in expected], atol=1e-12)


def test_factor_one_is_no_work():
    planes = torch.rand(1, 3, 4)
    assert upsample(planes, factor=1, shift=0.0, size=4, dim=-1, kernel="linear") is planes
    assert downsample(planes, factor=1, offset=0.0, size=4, dim=-1) is planes
