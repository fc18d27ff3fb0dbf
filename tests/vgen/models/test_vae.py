from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vgen.errors import ReleaseError
from vgen.models.generator import trainable
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
FREE = VaeSettings(widths=(4, 6, 8), blocks=1, latents=3, temporal_stride=2, is_conditional=False)


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
    counts = {name: trainable(VideoVae(chosen)) for name, chosen in VAE_SIZES.items()}
    assert counts["vae-tiny"] == pytest.approx(420_000, rel=0.01)
    assert counts["vae-small"] == pytest.approx(2_610_000, rel=0.01)
    assert counts["generate-tiny"] == pytest.approx(844_000, rel=0.01)


@pytest.mark.parametrize("chosen", [SMALL, DEEP, FREE])
def test_a_clip_comes_out_as_large_as_it_went_in(chosen):
    clean, degraded = clips(frames=4, n=2)
    seen = degraded if chosen.is_conditional else None
    network = VideoVae(chosen)
    out = network(clean, seen)
    shape = network.latent_shape(clean.shape)
    side = chosen.latent_side
    assert shape == (2, 4 // chosen.temporal_stride, chosen.latents, 16 // side, 16 // side)
    assert out.frames_ntchw.shape == clean.shape
    assert out.posterior.mean.shape == out.posterior.log_variance.shape == shape
    assert out.prior.mean.shape == out.prior.log_variance.shape == shape
    assert out.log_scale.shape == ()


@pytest.mark.parametrize("chosen", [SMALL, FREE])
def test_one_pass_is_its_parts_put_together(chosen):
    network = made(chosen)
    clean, degraded = clips(frames=4)
    seen = degraded if chosen.is_conditional else None
    noise = torch.randn(network.latent_shape(clean.shape))
    out = network(clean, seen, noise)
    posterior, prior = network.posterior(clean, seen), network.prior(seen, clean.shape)
    z = posterior.mean + (posterior.log_variance / 2).exp() * noise
    torch.testing.assert_close(out.posterior.mean, posterior.mean)
    torch.testing.assert_close(out.prior.log_variance, prior.log_variance)
    torch.testing.assert_close(out.frames_ntchw, network.decode(z, seen))


def test_noise_is_drawn_where_none_is_given():
    network = made(SMALL)
    clean, degraded = clips()
    first, second = (network(clean, degraded).frames_ntchw for _ in range(2))
    assert (first - second).abs().max() > 1e-3
    torch.manual_seed(5)
    third = network(clean, degraded).frames_ntchw
    torch.manual_seed(5)
    torch.testing.assert_close(network(clean, degraded).frames_ntchw, third)


def test_the_prior_of_clips_made_up_is_standard_normal():
    prior = made(FREE).prior(None, (2, 4, 3, 16, 24))
    assert prior.mean.shape == (2, 2, 3, 2, 3)
    assert prior.mean.abs().max() == prior.log_variance.abs().max() == 0


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 4), min_size=1, max_size=5), chosen=st.sampled_from([SMALL, FREE])
)
def test_a_clip_in_chunks_is_the_clip_as_a_whole(cuts, chosen):
    network, stride = made(chosen), chosen.temporal_stride
    frames = stride * sum(cuts)
    clean, degraded = clips(frames)
    seen = degraded if chosen.is_conditional else None
    z = torch.randn(network.latent_shape(clean.shape))
    with torch.no_grad():
        whole = network.decode(z, seen)
        posterior, prior = network.posterior(clean, seen), network.prior(seen, clean.shape)
        decoding, encoding, looking = {}, {}, {}
        at = 0
        for cut in cuts:
            part = slice(stride * at, stride * (at + cut))
            context = None if seen is None else seen[:, part]
            got = network.decode(z[:, at : at + cut], context, decoding)
            torch.testing.assert_close(got, whole[:, part], rtol=0, atol=1e-4)
            encoded = network.posterior(clean[:, part], context, encoding)
            expected = posterior.mean[:, at : at + cut]
            torch.testing.assert_close(encoded.mean, expected, rtol=0, atol=1e-4)
            looked = network.prior(context, clean[:, part].shape, looking)
            expected = prior.mean[:, at : at + cut]
            torch.testing.assert_close(looked.mean, expected, rtol=0, atol=1e-4)
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


@pytest.mark.parametrize("chosen", [SMALL, FREE])
def test_every_weight_learns(chosen):
    network = VideoVae(chosen)
    clean, degraded = clips(4)
    out = network(clean, degraded if chosen.is_conditional else None)
    terms = [out.frames_ntchw.square(), out.posterior.log_variance.exp(), out.log_scale.exp()]
    terms.append((out.posterior.mean - out.prior.mean).square() * out.prior.log_variance.exp())
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
    assert out.posterior.log_variance.unique().tolist() == [LOG_VARIANCE[1]]
    assert out.prior.log_variance.unique().tolist() == [LOG_VARIANCE[0]]
    assert out.log_scale.item() == LOG_SCALE[0]


def test_samples_have_the_mean_and_deviation_they_are_drawn_with():
    gaussian = Gaussian(mean=torch.tensor(3.0), log_variance=torch.tensor(2.0).log())
    drawn = gaussian.sample(torch.randn(200_000))
    assert drawn.mean().item() == pytest.approx(3.0, abs=0.02)
    assert drawn.var().item() == pytest.approx(2.0, abs=0.04)


@pytest.mark.parametrize("chosen", [SMALL, FREE])
def test_degraded_frames_are_for_conditional_networks_only(chosen):
    network = VideoVae(chosen)
    clean, degraded = clips(4)
    wrong = None if chosen.is_conditional else degraded
    z = torch.zeros(network.latent_shape(clean.shape))
    kind = "conditional" if chosen.is_conditional else "unconditional"
    message = f" {kind} network .*degraded frames"
    for call in (
        lambda: network(clean, wrong),
        lambda: network.posterior(clean, wrong),
        lambda: network.prior(wrong, clean.shape),
        lambda: network.decode(z, wrong),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    if not chosen.is_conditional:
        with pytest.raises(ValueError, match=message):
            network.look(degraded)


@pytest.mark.parametrize("shape", [(1, 3, 3, 16, 16), (1, 4, 3, 20, 16), (1, 4, 3, 16, 4)])
def test_clips_of_odd_sizes_are_refused(shape):
    network, clip = VideoVae(FREE), torch.rand(shape)
    for call in (network.posterior, lambda clean, _: network.prior(None, clean.shape)):
        with pytest.raises(ValueError, match="must be multiples of 2 frames and 8 pixels"):
            call(clip, None)


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
        ({"is_conditional": 1}, "is_conditional is 1, not true or false"),
        ({"extra": 1}, "'extra' is missing or unknown"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ReleaseError, match=message):
        VaeSettings.from_mapping(VAE_SIZES["vae-tiny"].to_mapping() | change)
