import math

import pytest
import torch

from vgen.training.choices import LossWeights
from vgen.training.objective import RELATIVE_EPSILON, charbonnier, log_error, luma, pixel_losses


def test_equal_pictures_cost_next_to_nothing():
    picture = torch.rand(2, 3, 16, 16)
    losses = pixel_losses(picture, picture, LossWeights())
    assert losses["pixel"].item() == pytest.approx(1e-3)
    assert losses["luma"].item() == pytest.approx(1e-3)
    assert losses["relative"].item() == pytest.approx(math.log(RELATIVE_EPSILON))


def test_far_away_the_pixel_term_is_the_mean_distance():
    clean = torch.zeros(1, 3, 8, 8)
    assert charbonnier(clean + 0.5, clean).item() == pytest.approx(0.5, abs=1e-4)


def test_the_pixel_term_has_a_gradient_of_zero_at_zero():
    restored = torch.zeros(1, 3, 4, 4, requires_grad=True)
    charbonnier(restored, torch.zeros(1, 3, 4, 4)).backward()
    assert restored.grad.abs().max() == 0


def test_the_relative_term_counts_decibels_per_sample():
    clean = torch.zeros(2, 3, 8, 8)
    errors = torch.tensor([0.2, 2.0])[:, None, None, None]
    for scaled in (torch.tensor([0.5, 1.0]), torch.tensor([1.0, 0.5])):
        better = errors * scaled[:, None, None, None]
        fall = log_error(clean + errors, clean) - log_error(clean + better, clean)
        # Halving either error, large or small, is worth the same: log(4) over two samples.
        assert fall.item() == pytest.approx(math.log(4) / 2, rel=0.03)


def test_the_relative_term_stops_at_what_cannot_be_seen():
    clean = torch.zeros(1, 3, 8, 8)
    fall = log_error(clean + 2e-4, clean) - log_error(clean + 1e-4, clean)
    assert fall.item() < 0.01


def test_the_luma_term_forgives_what_only_changes_the_colour():
    clean = torch.full((1, 3, 8, 8), 0.5)
    red, green = torch.tensor([0.587, 0, 0]), torch.tensor([0, 0.299, 0])
    tinted = clean + 0.1 * (red - green)[:, None, None]
    losses = pixel_losses(tinted, clean, LossWeights())
    assert losses["luma"].item() == pytest.approx(1e-3, rel=1e-3)
    assert losses["pixel"].item() > 0.02


def test_white_has_a_luma_of_one():
    assert luma(torch.ones(1, 3, 2, 2)).flatten().tolist() == pytest.approx([1.0] * 4)


def test_the_total_is_the_weighted_sum():
    restored, clean = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    losses = pixel_losses(restored, clean, LossWeights(pixel=2.0, luma=3.0, relative=0.5))
    expected = 2 * losses["pixel"] + 3 * losses["luma"] + 0.5 * losses["relative"]
    torch.testing.assert_close(losses["total"], expected)


def test_a_term_without_weight_is_not_computed():
    picture = torch.rand(1, 3, 8, 8)
    assert set(pixel_losses(picture, picture, LossWeights(luma=0, relative=0))) == {
        "pixel",
        "total",
    }


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"luma": -0.5}, "luma=-0.5"),
        ({"pixel": 0.0}, "pixel=0.0 must be positive"),
        ({"relative": -1.0}, "relative=-1.0"),
    ],
)
def test_senseless_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        LossWeights(**weights)
