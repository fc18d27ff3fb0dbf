import math

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from vgen.training.structure import (
    feature_matching,
    fft_l1,
    low_pass_l1,
    sobel_l1,
    temporal_l1,
)

PLANE = (fft_l1, sobel_l1, low_pass_l1)


@pytest.mark.parametrize("distance", PLANE)
def test_equal_pictures_are_at_no_distance(distance):
    picture = torch.rand(2, 3, 16, 16)
    assert distance(picture, picture).item() == 0


@pytest.mark.parametrize("distance", PLANE)
def test_a_distance_is_the_same_both_ways_and_twice_as_far_for_twice_the_error(distance):
    clean, error = torch.rand(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    there, back = distance(clean + error, clean), distance(clean, clean + error)
    torch.testing.assert_close(there, back)
    torch.testing.assert_close(distance(clean + 2 * error, clean), 2 * there)


def test_white_noise_costs_what_its_spectrum_of_the_same_energy_does():
    noise = torch.randn(4, 3, 64, 64)
    # Magnitudes of complex normal numbers of unit variance: the Rayleigh mean.
    expected = math.sqrt(math.pi) / 2
    assert fft_l1(noise, torch.zeros_like(noise)).item() == pytest.approx(expected, rel=0.02)


def test_an_even_shift_is_one_frequency_to_the_spectrum():
    clean = torch.rand(1, 3, 8, 8)
    # All of it in the mean: 0.5 * sqrt(64), over the 8 * 5 frequencies of a real plane.
    assert fft_l1(clean + 0.5, clean).item() == pytest.approx(0.5 * 8 / 40, rel=1e-4)


def test_the_sobel_distance_is_that_of_opencv():
    restored, clean = torch.rand(2, 1, 3, 12, 14)
    luma = np.tensordot([0.299, 0.587, 0.114], (restored - clean)[0].numpy(), 1)
    sides = [cv2.Sobel(luma, cv2.CV_64F, dx, 1 - dx)[1:-1, 1:-1] for dx in (0, 1)]
    expected = np.abs(np.stack(sides)).mean()
    assert sobel_l1(restored, clean).item() == pytest.approx(expected, rel=1e-4)


def test_an_even_shift_has_no_edges():
    clean = torch.rand(1, 3, 8, 8)
    assert sobel_l1(clean + 0.3, clean).item() == pytest.approx(0, abs=1e-5)


def test_flicker_costs_its_step_and_a_lasting_error_nothing():
    clean = torch.rand(2, 5, 3, 8, 8)
    flicker = torch.tensor([0.0, 0.2, 0.0, 0.2, 0.0])[:, None, None, None]
    assert temporal_l1(clean + flicker, clean).item() == pytest.approx(0.2, abs=1e-5)
    assert temporal_l1(clean + 0.2, clean).item() == pytest.approx(0, abs=1e-6)


def test_the_guard_sees_mean_colours_and_no_detail():
    clean = torch.rand(1, 3, 24, 32)
    detail = functional.interpolate(torch.tensor([[[[0.1, -0.1], [-0.1, 0.1]]]]), (2, 2))
    fine = clean + detail.repeat(1, 3, 12, 16)
    assert low_pass_l1(fine, clean).item() == pytest.approx(0, abs=1e-6)
    assert low_pass_l1(clean + 0.1, clean).item() == pytest.approx(0.1, abs=1e-5)


def test_features_count_alike_whatever_their_size():
    clean = [torch.zeros(1, 4, 8, 8), torch.zeros(1, 16, 2, 2)]
    restored = [clean[0] + 0.2, clean[1] - 0.6]
    assert feature_matching(restored, clean).item() == pytest.approx(0.4)


def test_no_gradient_goes_to_the_clean_side():
    clean, restored = (torch.rand(1, 2, 4, 4, requires_grad=True) for _ in range(2))
    feature_matching([restored], [clean]).backward()
    assert clean.grad is None
    assert restored.grad.abs().sum() > 0


@pytest.mark.parametrize("distance", PLANE)
def test_half_precision_is_measured_in_full(distance):
    clean, restored = torch.rand(2, 1, 3, 16, 16).bfloat16()
    got = distance(restored, clean)
    assert got.dtype == torch.float32
    # Only the subtraction itself was done in eight bits.
    torch.testing.assert_close(got, distance(restored.float(), clean.float()), rtol=0.01, atol=0)


def test_one_frame_has_no_changes():
    with pytest.raises(ValueError, match="two frames at least, got 1"):
        temporal_l1(torch.rand(1, 1, 3, 4, 4), torch.rand(1, 1, 3, 4, 4))


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (1, 2), (2, 1)])
def test_layers_are_matched_in_pairs_and_there_is_one_at_least(ours, theirs):
    layer = torch.rand(1, 2, 4, 4)
    with pytest.raises(ValueError, match=f"as many layers on both sides, got {ours} and {theirs}"):
        feature_matching([layer] * ours, [layer] * theirs)
