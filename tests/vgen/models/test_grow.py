"""A grown network computes what it was grown from, and all of it learns."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from vgen.models.generator import TemporalUNet, unfolded
from vgen.models.grow import fits_into, grown
from vgen.models.unet_settings import SIZES, UNetSettings

SMALL = UNetSettings(window=3, channels=4, encoder=(1, 1, 1), decoder=(1, 1))
CLIP = torch.rand(2, 5, 3, 32, 40, generator=torch.Generator().manual_seed(1))


def trained(settings):
    """Return a folded network whose every weight counts."""
    torch.manual_seed(2)
    network = TemporalUNet(settings, is_folded=True)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.2)
    return network


def grown_to(small, settings):
    torch.manual_seed(3)
    fresh = TemporalUNet(settings)
    return unfolded(grown(small, fresh.folded()), fresh)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channels": 6},
        {"window": 5},
        {"encoder": (2, 1, 3), "decoder": (2, 1)},
        {"channels": 7, "window": 5, "encoder": (1, 2, 2), "decoder": (1, 3)},
        {"surroundings": 3},
        {"channels": 7, "surroundings": 5},
    ],
)
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("window", [1, 3])
def test_a_grown_network_computes_what_the_small_one_did(changes, scale, window):
    small = trained(replace(SMALL, scale=scale, window=window))
    network = grown_to(small, replace(SMALL, scale=scale, **changes))
    wide = network.settings.window
    first = (5 - wide) // 2
    middle = (5 - window) // 2
    with torch.inference_mode():
        expected = small(CLIP[:, middle : middle + window])
        found = network(CLIP[:, first : first + wide])
    assert expected.abs().max() > 1
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [4, 7])
def test_what_the_judge_knows_is_kept(channels):
    small = trained(replace(SMALL, surroundings=3))
    network = grown_to(small, replace(SMALL, channels=channels, surroundings=3))
    with torch.inference_mode():
        expected, found = small(CLIP[:, 1:4]), network(CLIP[:, 1:4])
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
        torch.nn.init.zeros_(small.judge.gain.weight)
        assert not torch.allclose(small(CLIP[:, 1:4]), expected, rtol=1e-2, atol=1e-2)


def test_every_weight_of_a_grown_network_learns():
    large = replace(SMALL, channels=6, window=5, encoder=(1, 1, 2), surroundings=3)
    network = grown_to(trained(SMALL), large)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    # What reads fresh features learns first, and what makes them after that.
    for _ in range(2):
        optimizer.zero_grad()
        (network(CLIP) - CLIP[:, 2]).square().mean().backward()
        optimizer.step()
    silent = [name for name, value in network.named_parameters() if not value.grad.abs().sum()]
    assert silent == []


def test_sizes_grow_into_the_next_ones():
    names = ("tiny", "small", "base", "large")
    for small, large in pairwise(names):
        assert fits_into(SIZES[small], SIZES[large])
        assert not fits_into(SIZES[large], SIZES[small])


@pytest.mark.parametrize("changes", [{"channels": 3}, {"window": 1}, {"scale": 2}])
def test_what_is_smaller_or_of_another_scale_is_refused(changes):
    with pytest.raises(ValueError, match="cannot grow"):
        grown(trained(SMALL), TemporalUNet(replace(SMALL, **changes), is_folded=True))


def test_other_surroundings_are_refused():
    with pytest.raises(ValueError, match="cannot grow"):
        grown(
            trained(replace(SMALL, surroundings=3)),
            TemporalUNet(replace(SMALL, surroundings=5), is_folded=True),
        )
