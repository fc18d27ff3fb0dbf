from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vgen.errors import ReleaseError
from vgen.models.generator import trainable
from vgen.models.ladder import new_vae
from vgen.models.vae import LOG_SCALE, LOG_VARIANCE, Gaussian, VideoVae
from vgen.models.vae_settings import (
    VAE_SIZES,
    VaeSettings,
    look_back,
    receptive_radius,
    vae_spec,
)

SMALL = VaeSettings(widths=(6, 8), blocks=1, latents=3)
DEEP = VaeSettings(widths=(4, 6, 8), blocks=1, latents=2)


def made(chosen, seed=0):
    """A network whose branches all matter: fresh ones are small."""
    network = VideoVae(chosen)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1:
                gain = parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * gain)
            assert parameter.isfinite().all(), name
    return network.eval()


def clips(frames=6, side=16, n=1):
    clean = torch.rand(n, frames, 3, side, side)
    return clean, (clean + 0.1 * torch.randn(clean.shape))


def test_the_sizes_have_their_stated_parameters():
    counts = {name: trainable(new_vae(chosen)) for name, chosen in VAE_SIZES.items()}
    assert counts["vae-tiny"] == pytest.approx(468_000, rel=0.01)
    assert counts["vae-small"] == pytest.approx(2_710_000, rel=0.01)
    assert counts["generate-tiny"] == pytest.approx(1_518_000, rel=0.01)
    assert counts["generate-small"] == pytest.approx(1_575_000, rel=0.01)


@pytest.mark.parametrize("chosen", [SMALL, DEEP])
def test_a_clip_comes_out_as_large_as_it_went_in(chosen):
    clean, degraded = clips(frames=4, n=2)
    network = VideoVae(chosen)
    out = network(clean, degraded)
    shape = network.latent_shape(clean.shape)
    side = chosen.latent_side
    assert shape == (2, 4, chosen.latents, 16 // side, 16 // side)
    assert out.frames_ntchw.shape == clean.shape
    for distributions in (out.posterior, out.prior):
        assert [(d.mean.shape, d.log_variance.shape) for d in distributions] == [(shape, shape)]
    assert out.log_scale.shape == ()


def test_one_pass_is_its_parts_put_together():
    network = made(SMALL)
    clean, degraded = clips(frames=4)
    noise = torch.randn(network.latent_shape(clean.shape))
    out = network(clean, degraded, [noise])
    posterior, (_, prior) = network.posterior(clean, degraded), network.look(degraded)
    z = posterior.mean + (posterior.log_variance / 2).exp() * noise
    torch.testing.assert_close(out.posterior[0].mean, posterior.mean)
    torch.testing.assert_close(out.prior[0].log_variance, prior.log_variance)
    torch.testing.assert_close(out.frames_ntchw, network.decode(z, degraded))


def test_noise_is_drawn_where_none_is_given():
    network = made(SMALL)
    clean, degraded = clips()
    first, second = (network(clean, degraded).frames_ntchw for _ in range(2))
    assert (first - second).abs().max() > 1e-3
    torch.manual_seed(5)
    third = network(clean, degraded).frames_ntchw
    torch.manual_seed(5)
    torch.testing.assert_close(network(clean, degraded).frames_ntchw, third)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_a_clip_in_chunks_is_the_clip_as_a_whole(cuts):
    network = made(SMALL)
    clean, degraded = clips(sum(cuts))
    z = torch.randn(network.latent_shape(clean.shape))
    with torch.no_grad():
        whole = network.decode(z, degraded)
        posterior, (_, prior) = network.posterior(clean, degraded), network.look(degraded)
        decoding, encoding, looking = {}, {}, {}
        at = 0
        for cut in cuts:
            part = slice(at, at + cut)
            got = network.decode(z[:, part], degraded[:, part], decoding)
            torch.testing.assert_close(got, whole[:, part], rtol=0, atol=1e-4)
            encoded = network.posterior(clean[:, part], degraded[:, part], encoding)
            torch.testing.assert_close(encoded.mean, posterior.mean[:, part], rtol=0, atol=1e-4)
            _, looked = network.look(degraded[:, part], looking)
            torch.testing.assert_close(looked.mean, prior.mean[:, part], rtol=0, atol=1e-4)
            at += cut


def test_a_frame_depends_on_no_later_one():
    network = made(SMALL)
    _, degraded = clips(5)
    z = torch.randn(network.latent_shape(degraded.shape))
    changed, other = degraded.clone(), z.clone()
    changed[:, 3:] += 1
    other[:, 3:] += 1
    before, after = network.decode(z, degraded), network.decode(other, changed)
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=1e-5)
    assert (before - after)[:, 3:].abs().max() > 0.01


def test_all_samples_of_a_clip_see_its_features_and_no_others():
    network = made(SMALL)
    _, degraded = clips(2, n=2)
    features, prior = network.look(degraded)
    z = torch.randn(2, 3, *prior.mean.shape[1:])
    together = network.added(z.flatten(0, 1), features).unflatten(0, (2, 3))
    for sample in range(3):
        alone = network.decode(z[:, sample], degraded) - degraded
        torch.testing.assert_close(together[:, sample], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("chosen", [SMALL, DEEP, replace(SMALL, blocks=0)])
def test_no_frame_further_back_than_stated_matters(chosen):
    network, back = made(chosen).double(), look_back(chosen)
    degraded = torch.rand(1, back + 3, 3, 16, 16, dtype=torch.double, requires_grad=True)
    features, prior = network.look(degraded)
    network.added(prior.mean, features)[:, -1].sum().backward()
    touched = degraded.grad.abs().sum((0, 2, 3, 4)).nonzero().flatten()
    assert touched.min().item() == len(degraded[0]) - 1 - back
    assert vae_spec(chosen).lead == back
    assert vae_spec(chosen).tail == 0


@pytest.mark.parametrize("chosen", [SMALL, DEEP, replace(SMALL, widths=(6,))])
def test_no_pixel_beyond_the_stated_radius_matters(chosen):
    network, radius, cell = made(chosen).double(), receptive_radius(chosen), chosen.latent_side
    side = 2 * (radius // cell + 3) * cell
    reached = 0
    for offset in range(cell):
        degraded = torch.rand(1, 1, 3, 4 * cell, side, dtype=torch.double, requires_grad=True)
        features, prior = network.look(degraded)
        centre = side // 2 + offset
        network.added(prior.mean, features)[..., centre].sum().backward()
        touched = degraded.grad.abs().sum((0, 1, 2, 3)).nonzero().flatten()
        reached = max(reached, centre - touched.min().item(), touched.max().item() - centre)
    assert reached <= radius
    assert reached >= radius - cell  # and the bound is not idle


def test_every_weight_learns():
    network = VideoVae(SMALL)
    out = network(*clips(4))
    (posterior,), (prior,) = out.posterior, out.prior
    terms = [out.frames_ntchw.square(), posterior.log_variance.exp(), out.log_scale.exp()]
    terms.append((posterior.mean - prior.mean).square() * prior.log_variance.exp())
    sum(term.mean() for term in terms).backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or parameter.grad.abs().sum() == 0
    ]
    assert silent == []


def test_variance_and_scale_stay_within_bounds():
    network = made(SMALL)
    with torch.no_grad():
        network.posterior_head.conv.bias.fill_(1e4)
        network.prior_head.conv.bias.fill_(-1e4)
        network.log_scale.fill_(-1e4)
    out = network(*clips(2))
    assert out.posterior[0].log_variance.unique().tolist() == [LOG_VARIANCE[1]]
    assert out.prior[0].log_variance.unique().tolist() == [LOG_VARIANCE[0]]
    assert out.log_scale.item() == LOG_SCALE[0]


def test_samples_have_the_mean_and_deviation_they_are_drawn_with():
    gaussian = Gaussian(mean=torch.tensor(3.0), log_variance=torch.tensor(2.0).log())
    drawn = gaussian.sample(torch.randn(200_000))
    assert drawn.mean().item() == pytest.approx(3.0, abs=0.02)
    assert drawn.var().item() == pytest.approx(2.0, abs=0.04)


def test_a_clip_alone_is_refused():
    with pytest.raises(ValueError, match="needs degraded frames"):
        VideoVae(SMALL)(clips(4)[0], None)


def test_degraded_clips_of_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="must be multiples of 1 frames and 4 pixels"):
        VideoVae(SMALL).look(torch.rand(1, 1, 3, 6, 8))


def test_settings_survive_a_header():
    for chosen in VAE_SIZES.values():
        assert VaeSettings.from_mapping(chosen.to_mapping()) == chosen


def test_the_sizes_state_what_they_need():
    for name, chosen in VAE_SIZES.items():
        spec = vae_spec(chosen)
        assert spec.restores == name.startswith("vae-")
        assert spec.multiple_of == chosen.latent_side
        assert spec.temporal_stride == chosen.temporal_stride


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": []}, "must be 1 to 6 levels"),
        ({"widths": [8] * 7}, "must be 1 to 6 levels"),
        ({"widths": [8, 0]}, "must each be 1 to 512"),
        ({"widths": [8, 513]}, "must each be 1 to 512"),
        ({"widths": 8}, "widths is 8, not a list of counts"),
        ({"widths": [8, 1.5]}, "widths is 1.5, not an integer"),
        ({"blocks": 9}, "blocks 9 must be 0 to 8"),
        ({"blocks": True}, "blocks is True, not an integer"),
        ({"latents": 0}, "latents 0 must be 1 to 128"),
        ({"temporal_stride": 3}, "temporal stride 3 is not one of"),
        ({"temporal_stride": 2}, "temporal stride 2 must be 1"),
        ({"latent_levels": 0}, "latent levels 0 must be 1 to 2"),
        ({"latent_levels": 3}, "latent levels 3 must be 1 to 2"),
        ({"latent_levels": 2}, "latent levels 2 must be 1 in a network that restores"),
        ({"is_conditional": 1}, "is_conditional is 1, not true or false"),
        ({"extra": 1}, "'extra' is missing or unknown"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ReleaseError, match=message):
        VaeSettings.from_mapping(VAE_SIZES["vae-tiny"].to_mapping() | change)
