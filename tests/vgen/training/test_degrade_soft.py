import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vgen.training.pictures import textured_clip
from vgen.training.degrade_soft import (
    blur,
    draw_blur,
    draw_motion_blur,
    draw_resize,
    filter_clip,
    gaussian_kernel,
    motion_kernel,
    shrink_and_enlarge,
    walk,
)


@pytest.mark.parametrize(
    "soften",
    [
        lambda clip: blur(clip, sigma_x_px=1.2, sigma_y_px=1.2),
        lambda clip: shrink_and_enlarge(clip, ratio=0.6, is_sharp=False),
        lambda clip: draw_blur(clip, np.random.default_rng(0), strongest_px=1.8),
        lambda clip: draw_motion_blur(clip, np.random.default_rng(0), longest_px=9),
        lambda clip: draw_resize(clip, np.random.default_rng(0), smallest=0.6),
    ],
)
def test_softening_removes_contrast_and_keeps_brightness(soften):
    clip = textured_clip()
    softened = soften(clip)
    assert softened.shape == clip.shape
    assert np.abs(np.diff(softened.astype(float), axis=2)).max() < 200
    assert softened.std() < clip.std()
    assert softened.mean() == pytest.approx(clip.mean(), abs=1)


def spread(kernel, angle_rad):
    """Standard deviation of a kernel's weight along a direction."""
    radius = len(kernel) // 2
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along = np.cos(angle_rad) * columns + np.sin(angle_rad) * rows
    return np.sqrt((kernel * along**2).sum() - (kernel * along).sum() ** 2)


def test_an_upright_gaussian_kernel_is_opencvs():
    kernel = gaussian_kernel(1.5, 1.5, 0.0)
    line = cv2.getGaussianKernel(len(kernel), 1.5)
    np.testing.assert_allclose(kernel, line @ line.T, atol=1e-6)


@given(along=st.floats(0.8, 3.0), across=st.floats(0.8, 3.0), angle=st.floats(0, np.pi))
@settings(max_examples=30, deadline=None)
def test_a_gaussian_kernel_is_as_wide_as_it_says_in_its_own_directions(along, across, angle):
    kernel = gaussian_kernel(along, across, angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert spread(kernel, angle) == pytest.approx(along, rel=0.06)
    assert spread(kernel, angle + np.pi / 2) == pytest.approx(across, rel=0.06)


def test_a_higher_power_gives_a_flatter_top():
    kernels = (gaussian_kernel(3, 3, 0, power=power) for power in (1, 2, 8))
    falls = [kernel[len(kernel) // 2, len(kernel) // 2 + 2] / kernel.max() for kernel in kernels]
    # At two thirds of a sigma: exp(-(2 / 9) ** (power / 2)).
    np.testing.assert_allclose(falls, np.exp([-((2 / 9) ** power) for power in (0.5, 1, 4)]), 1e-4)


@given(length=st.floats(3, 15), angle=st.floats(0, np.pi))
@settings(max_examples=30, deadline=None)
def test_a_motion_kernel_is_a_line_of_its_length(length, angle):
    kernel = motion_kernel(length, angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    # An even distribution over length - 1, each point shared by pixels up to one apart.
    assert spread(kernel, angle) == pytest.approx((length - 1) / np.sqrt(12), abs=0.5)
    assert spread(kernel, angle + np.pi / 2) < 0.75


def test_each_frame_has_a_kernel_of_its_own():
    clip = np.zeros((2, 21, 21, 3), np.uint8)
    clip[:, 10, 10] = 255
    kernels = [motion_kernel(9, 0.0), motion_kernel(9, np.pi / 2)]
    flat, upright = filter_clip(clip, kernels)[..., 0]
    assert flat[10].sum() == flat.sum() > 0
    assert upright[:, 10].sum() == upright.sum() > 0


def test_a_walk_keeps_its_bounds_and_its_pace():
    rng = np.random.default_rng(0)
    values = walk(4000, 0.5, 0.05, (0.2, 0.8), rng)
    assert len(values) == 4000
    assert values[0] == 0.5
    assert min(values) == 0.2
    assert max(values) == 0.8
    assert np.diff(values).std() == pytest.approx(0.05, rel=0.15)
