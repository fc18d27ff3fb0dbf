from dataclasses import replace

import pytest
import torch

from vgen.models.ladder import LadderVae, climbed, climbs_to, new_vae
from vgen.models.vae import VideoVae
from vgen.models.vae_settings import VAE_SIZES, VaeSettings

SMALL = VaeSettings(
    widths=(4, 6, 8), blocks=1, latents=3, latent_levels=2, temporal_stride=2, is_conditional=False
)
FLAT = VaeSettings(widths=(6, 8), blocks=1, latents=3, latent_levels=1, is_conditional=False)
FULL = VaeSettings(widths=(4, 6), blocks=0, latents=2, latent_levels=2, is_conditional=False)
ALL = pytest.mark.parametrize("chosen", [SMALL, FLAT, FULL])


def made(chosen):
    """A network whose branches all matter: fresh ones are small."""
    network = LadderVae(chosen)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                gain = parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * gain)
    return network.eval().requires_grad_(False)


def clip(frames=8, height=16, width=24, n=1):
    return torch.rand(n, frames, 3, height, width)


def noise_for(network, shape):
    return [torch.randn(one) for one in network.latent_shapes(shape)]


def at(levels, time):
    return [level[:, time : time + 1] for level in levels]


def drawn(network, noise):
    """A clip drawn group by group, and its latents."""
    cache, groups, latents = {}, [], []
    for time in range(noise[0].shape[1]):
        made_ntchw, chosen = network.sample(at(noise, time), cache)
        groups.append(made_ntchw)
        latents.append(chosen)
    return torch.cat(groups, 1), [torch.cat(level, 1) for level in zip(*latents, strict=True)]


def test_what_makes_clips_up_has_a_ladder_and_what_restores_has_not():
    assert {name: type(new_vae(chosen)) for name, chosen in VAE_SIZES.items()} == {
        "vae-tiny": VideoVae,
        "vae-small": VideoVae,
        "generate-tiny": LadderVae,
        "generate-small": LadderVae,
    }


def test_latents_lie_at_each_level_from_the_coarsest_on():
    out = LadderVae(SMALL)(clip(n=2))
    shapes = [(2, 4, 3, 2, 3), (2, 4, 3, 4, 6)]
    assert LadderVae(SMALL).latent_shapes((2, 8, 3, 16, 24)) == shapes
    for distributions in (out.posterior, out.prior):
        assert [one.mean.shape for one in distributions] == shapes
        assert [one.log_variance.shape for one in distributions] == shapes
    assert out.frames_ntchw.shape == (2, 8, 3, 16, 24)


@ALL
def test_a_clip_drawn_group_by_group_is_its_latents_decoded_as_a_whole(chosen):
    network = made(chosen)
    frames, latents = drawn(network, noise_for(network, (2, 8, 3, 16, 24)))
    torch.testing.assert_close(network.decode(latents), frames, rtol=0, atol=1e-4)
    cut, cache = 2, {}
    parts = [
        network.decode([level[:, part] for level in latents], cache)
        for part in (slice(0, cut), slice(cut, None))
    ]
    torch.testing.assert_close(torch.cat(parts, 1), frames, rtol=0, atol=1e-4)


@ALL
def test_the_prior_of_training_is_the_one_that_clips_are_drawn_from(chosen):
    """One pass over a clip gives the priors of its own latents; drawing must go by the same."""
    network = made(chosen)
    shown = clip()
    noise = noise_for(network, shown.shape)
    out = network(shown, None, noise)
    latents = [q.sample(e) for q, e in zip(out.posterior, noise, strict=True)]
    # The noise that drawing would have needed for these very latents:
    needed = [
        (z - p.mean) / (p.log_variance / 2).exp() for z, p in zip(latents, out.prior, strict=True)
    ]
    frames, again = drawn(network, needed)
    for z, found in zip(latents, again, strict=True):
        torch.testing.assert_close(found, z, rtol=0, atol=2e-3)
    torch.testing.assert_close(frames, out.frames_ntchw, rtol=0, atol=2e-3)


def test_a_latent_follows_from_those_before_it_and_from_coarser_ones():
    network = made(SMALL)
    noise = noise_for(network, (1, 8, 3, 16, 24))
    _, before = drawn(network, noise)
    for level in range(2):
        changed = [one.clone() for one in noise]
        changed[level][:, 1] += 1
        _, after = drawn(network, changed)
        moved = [
            [bool((a[:, t] - b[:, t]).abs().max() > 1e-4) for t in range(4)]
            for a, b in zip(before, after, strict=True)
        ]
        own, coarser = moved[level], moved[:level]
        assert own == [False, True, True, True]
        assert not any(map(any, coarser))

    assert moved[0] == [False] * 4


def test_the_posterior_sees_no_later_frame():
    network, shown = made(SMALL), clip()
    noise = noise_for(network, shown.shape)
    changed = shown.clone()
    changed[:, 4:] = 1 - changed[:, 4:]
    one, other = network(shown, None, noise), network(changed, None, noise)
    for q, p in zip(one.posterior, other.posterior, strict=True):
        torch.testing.assert_close(q.mean[:, :2], p.mean[:, :2], rtol=0, atol=1e-5)
        assert (q.mean - p.mean)[:, 2:].abs().max() > 1e-3
    torch.testing.assert_close(one.frames_ntchw[:, :4], other.frames_ntchw[:, :4])


@ALL
def test_every_weight_learns(chosen):
    network = LadderVae(chosen)
    out = network(clip())
    terms = [out.frames_ntchw.square().mean(), out.log_scale.exp()]
    for q, p in zip(out.posterior, out.prior, strict=True):
        terms.append(((q.mean - p.mean).square() * (-p.log_variance).exp()).mean())
        terms.append(q.log_variance.exp().mean())
    sum(terms).backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or parameter.grad.abs().sum() == 0
    ]
    assert silent == []


def test_finer_latents_change_nothing_at_first_and_all_of_them_learn():
    lower, shown = made(SMALL), clip()
    upper = climbed(lower, LadderVae(replace(SMALL, latent_levels=3)))
    noise = noise_for(upper, shown.shape)
    with torch.no_grad():
        before, after = lower(shown, None, noise[:2]), upper(shown, None, noise)
    torch.testing.assert_close(after.frames_ntchw, before.frames_ntchw)
    for q, p in zip(before.posterior, after.posterior, strict=False):
        torch.testing.assert_close(q.mean, p.mean)
    out = upper(shown)
    (out.frames_ntchw.square().mean() + out.posterior[2].mean.square().mean()).backward()
    rung = upper.rungs[2]
    assert rung.enter.weight.grad.abs().sum() > 0
    assert rung.past.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "other", [replace(SMALL, latent_levels=1), replace(SMALL, latents=4), FLAT]
)
def test_nothing_else_can_be_changed_on_the_way(other):
    assert not climbs_to(SMALL, other)
    with pytest.raises(ValueError, match="cannot go on from"):
        climbed(LadderVae(SMALL), LadderVae(other))


def test_noise_is_drawn_where_none_is_given():
    network, shown = made(SMALL), clip()
    first, second = (network(shown).frames_ntchw for _ in range(2))
    assert (first - second).abs().max() > 1e-3
    torch.manual_seed(5)
    third = network(shown).frames_ntchw
    torch.manual_seed(5)
    torch.testing.assert_close(network(shown).frames_ntchw, third)


def test_degraded_frames_are_refused():
    with pytest.raises(ValueError, match="takes no degraded frames"):
        LadderVae(SMALL)(clip(), clip())


@pytest.mark.parametrize("shape", [(1, 3, 3, 16, 16), (1, 4, 3, 20, 16), (1, 4, 3, 16, 4)])
def test_clips_of_odd_sizes_are_refused(shape):
    with pytest.raises(ValueError, match="must be multiples of 2 frames and 8 pixels"):
        LadderVae(SMALL)(torch.rand(shape))
