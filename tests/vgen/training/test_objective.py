import math

import pytest
import torch

from vgen.training.objective import LossWeights, charbonnier, pixel_losses, spectral_distance


def test_equal_pictures_cost_next_to_nothing():
    picture = torch.rand(2, 3, 16, 16)
    losses = pixel_losses(picture, picture, LossWeights())
    assert losses["pixel"].item() == pytest.approx(1e-3)
    assert losses["frequency"].item() == 0


def test_far_away_the_pixel_term_is_the_mean_distance():
    clean = torch.zeros(1, 3, 8, 8)
    assert charbonnier(clean + 0.5, clean).item() == pytest.approx(0.5, abs=1e-4)


def test_the_pixel_term_has_a_gradient_of_zero_at_zero():
    restored = torch.zeros(1, 3, 4, 4, requires_grad=True)
    charbonnier(restored, torch.zeros(1, 3, 4, 4)).backward()
    assert restored.grad.abs().max() == 0


def test_the_spectral_term_of_white_noise_does_not_depend_on_size():
    torch.manual_seed(0)
    # The modulus of a complex Gaussian of variance 1 has mean sqrt(pi) / 2.
    for side in (16, 64):
        noise = torch.randn(8, 3, side, side)
        value = spectral_distance(noise, torch.zeros_like(noise)).item()
        assert value == pytest.approx(math.sqrt(math.pi) / 2, rel=0.03)


def test_the_total_is_the_weighted_sum():
    restored, clean = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    losses = pixel_losses(restored, clean, LossWeights(pixel=2.0, frequency=0.5))
    expected = 2 * losses["pixel"] + 0.5 * losses["frequency"]
    torch.testing.assert_close(losses["total"], expected)


def test_a_term_without_weight_is_not_computed():
    picture = torch.rand(1, 3, 8, 8)
    assert set(pixel_losses(picture, picture, LossWeights(frequency=0))) == {"pixel", "total"}


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"pixel": 0.0}, "pixel=0.0 must be positive"), ({"frequency": -1.0}, "frequency=-1.0")],
)
def test_senseless_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        LossWeights(**weights)
