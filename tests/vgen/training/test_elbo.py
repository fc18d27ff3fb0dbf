import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Laplace, Normal
from torch.distributions import kl_divergence as torch_kl

from vgen.models.vae import Gaussian, VaeOutput, VaeSettings, VideoVae
from vgen.training.elbo import (
    HALF_BIN,
    active_units,
    gaussian_baseline_bits,
    kl_divergence,
    laplace_log_probability,
    negative_elbo,
    warmup_weight,
)

SHAPE = (2, 3, 4, 2, 2)


def gaussian(shape=SHAPE, mean=0.0, log_variance=0.0):
    return Gaussian(mean=torch.full(shape, mean), log_variance=torch.full(shape, log_variance))


def random_gaussian(shape=SHAPE):
    return Gaussian(mean=torch.randn(shape), log_variance=torch.randn(shape))


def output(clean, posterior=None, prior=None, error=0.1, log_scale=-3.0):
    return VaeOutput(
        frames_ntchw=clean + error,
        posterior=(posterior or random_gaussian(),),
        prior=(prior or gaussian(),),
        log_scale=torch.tensor(log_scale),
    )


def test_the_divergence_of_equals_is_nothing():
    assert kl_divergence(gaussian(), gaussian()).tolist() == [0, 0]
    q = random_gaussian()
    torch.testing.assert_close(kl_divergence(q, q), torch.zeros(2), rtol=0, atol=1e-5)


def test_the_divergence_of_a_shift_is_half_its_square_summed_over_latents():
    latents = math.prod(SHAPE[1:])
    assert kl_divergence(gaussian(mean=2.0), gaussian()).tolist() == [2.0 * latents] * 2


def test_the_divergence_is_that_of_torch_and_in_that_direction():
    q, p = random_gaussian(), random_gaussian()

    def distribution(g):
        return Independent(Normal(g.mean, (g.log_variance / 2).exp()), 4)

    got = kl_divergence(q, p)
    torch.testing.assert_close(got, torch_kl(distribution(q), distribution(p)))
    assert (got - kl_divergence(p, q)).abs().min() > 0.1


number = st.floats(-3, 3)


@settings(max_examples=50, deadline=None)
@given(number, number, number, number)
def test_the_divergence_is_never_negative_and_that_of_many_samples(q_mean, q_log, p_mean, p_log):
    q = gaussian((1, 1), q_mean, q_log)
    p = gaussian((1, 1), p_mean, p_log)
    exact = kl_divergence(q, p).item()
    assert exact >= -1e-5
    z = q.sample(torch.randn((40_000, 1), generator=torch.Generator().manual_seed(1)))
    q_of, p_of = (Normal(g.mean, (g.log_variance / 2).exp()) for g in (q, p))
    drawn = q_of.log_prob(z) - p_of.log_prob(z)
    assert abs(drawn.mean().item() - exact) <= 6 * drawn.std().item() / 200 + 1e-4


@pytest.mark.parametrize("scale", [0.0005, 0.01, 0.3])
def test_the_likelihood_is_the_mass_of_one_level(scale):
    distance = torch.linspace(-0.2, 0.2, 999, dtype=torch.double)
    law = Laplace(torch.zeros(1, dtype=torch.double), scale)
    # From the left tail, where nothing cancels; the law is symmetric.
    expected = law.cdf(-distance.abs() + HALF_BIN) - law.cdf(-distance.abs() - HALF_BIN)
    got = laplace_log_probability(distance, torch.tensor(scale, dtype=torch.double).log())
    torch.testing.assert_close(got.exp(), expected, rtol=1e-6, atol=1e-12)


def test_the_likelihood_of_all_levels_is_one():
    levels = (torch.arange(-5000, 5000, dtype=torch.double) + 0.3) / 255
    total = laplace_log_probability(levels, torch.tensor(-3.0).double()).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-9)


def test_the_likelihood_is_smooth_and_never_flat_away_from_the_centre():
    distance = torch.tensor([0.3, 0.01, HALF_BIN * 1.001, HALF_BIN * 0.999], requires_grad=True)
    log_scale = torch.tensor(-4.0, requires_grad=True)
    laplace_log_probability(distance, log_scale).sum().backward()
    assert (distance.grad < 0).all()
    assert distance.grad[2].item() == pytest.approx(distance.grad[3].item(), rel=0.02)
    assert log_scale.grad.isfinite()


def test_both_parts_are_summed_before_they_are_averaged():
    clean = torch.rand(2, 3, 3, 8, 8)
    made = output(clean)
    elbo = negative_elbo(clean, made)
    pixels = 3 * 8 * 8
    surprise = -laplace_log_probability(clean - made.frames_ntchw, made.log_scale)
    per_clip = surprise.flatten(1).sum(1)
    divergence = kl_divergence(made.posterior[0], made.prior[0])
    torch.testing.assert_close(elbo.reconstruction, per_clip.mean() / pixels)
    torch.testing.assert_close(elbo.kl, divergence.mean() / pixels)
    bits = (per_clip + divergence).mean() / (3 * pixels * math.log(2))
    torch.testing.assert_close(elbo.bits_per_dimension, bits)
    torch.testing.assert_close(elbo.kl_per_latent, divergence.mean() / math.prod(SHAPE[1:]))


def test_the_divergences_of_levels_are_summed():
    clean = torch.rand(2, 3, 3, 8, 8)
    one = output(clean)
    fine = (random_gaussian((2, 3, 2, 4, 4)), gaussian((2, 3, 2, 4, 4)))
    both = replace(one, posterior=(*one.posterior, fine[0]), prior=(*one.prior, fine[1]))
    levels = [kl_divergence(q, p) for q, p in zip(both.posterior, both.prior, strict=True)]
    numbers = math.prod(SHAPE[1:]) + 3 * 2 * 4 * 4
    elbo, plain = negative_elbo(clean, both), negative_elbo(clean, one)
    torch.testing.assert_close(elbo.kl, sum(levels).mean() / (3 * 8 * 8))
    torch.testing.assert_close(elbo.kl_per_latent, sum(levels).mean() / numbers)
    assert elbo.loss > plain.loss


def test_the_bound_itself_is_what_is_minimised_without_free_bits_and_warm_up():
    clean = torch.rand(2, 3, 3, 8, 8)
    elbo = negative_elbo(clean, output(clean), free_nats=0.0)
    torch.testing.assert_close(elbo.loss, elbo.reconstruction + elbo.kl)


def test_warm_up_weighs_the_divergence_alone():
    clean = torch.rand(2, 3, 3, 8, 8)
    elbo = negative_elbo(clean, output(clean), kl_weight=0.25, free_nats=0.0)
    torch.testing.assert_close(elbo.loss, elbo.reconstruction + 0.25 * elbo.kl)
    assert [warmup_weight(spent) for spent in (0.0, 0.1, 0.2, 1.0)] == [0, 0.5, 1, 1]


def test_a_divergence_below_the_free_nats_has_no_gradient():
    clean = torch.rand(1, 3, 3, 8, 8)
    mean = torch.zeros(1, 3, 2, 2, 2)
    mean[:, :, 0], mean[:, :, 1] = 0.1, 1.0
    mean.requires_grad_()
    posterior = Gaussian(mean=mean, log_variance=torch.zeros_like(mean))
    made = output(clean, posterior, gaussian(mean.shape))
    elbo = negative_elbo(clean, made, free_nats=0.02)
    elbo.loss.backward()
    # 0.1^2 / 2 nats lie below 0.02, and 1 / 2 above.
    assert mean.grad[:, :, 0].abs().max() == 0
    pixels = 3 * 8 * 8
    expected = torch.full((1, 3, 2, 2), 1.0 / pixels)
    torch.testing.assert_close(mean.grad[:, :, 1], expected)
    paid = (elbo.loss - elbo.reconstruction).item()
    assert paid == pytest.approx((0.02 + 0.5) * 12 / pixels, rel=1e-4)


def test_a_batch_has_the_gradients_of_its_halves():
    """What several workers need: each has a part of the batch, and the mean is the whole."""
    settings_of = VaeSettings(widths=(4, 6), blocks=0, latents=2)
    network = VideoVae(settings_of)
    clean = torch.rand(4, 2, 3, 8, 8)
    degraded, noise = clean + 0.1 * torch.randn(clean.shape), torch.randn(4, 2, 2, 2, 2)

    def gradients(part):
        network.zero_grad()
        made = network(clean[part], degraded[part], [noise[part]])
        negative_elbo(clean[part], made).loss.backward()
        return [p.grad.clone() for p in network.parameters()]

    whole = gradients(slice(0, 4))
    halves = zip(gradients(slice(0, 2)), gradients(slice(2, 4)), strict=True)
    for grad, (first, second) in zip(whole, halves, strict=True):
        torch.testing.assert_close(grad, (first + second) / 2, rtol=1e-4, atol=1e-5)


def test_the_scale_that_costs_least_is_the_mean_distance():
    """The closed form of sigma-VAE, found where the gradient of the learned scale vanishes."""
    error = 0.2 * torch.rand(1, 2, 3, 32, 32, dtype=torch.double) + 0.05
    log_scale = error.mean().log().requires_grad_()
    laplace_log_probability(error, log_scale).mean().backward()
    assert log_scale.grad.abs().item() < 1e-3


def test_a_fitted_gaussian_costs_its_entropy():
    sigma = 0.1
    clean = (0.5 + sigma * torch.randn(4, 2, 3, 64, 64)).mul(255).round() / 255
    expected = math.log2(sigma * 255 * math.sqrt(2 * math.pi * math.e))
    assert gaussian_baseline_bits(clean) == pytest.approx(expected, abs=0.01)


def test_a_fitted_gaussian_of_what_degraded_clips_lack_costs_less():
    clean = torch.rand(2, 2, 3, 32, 32)
    degraded = clean + 0.02 * torch.randn(clean.shape)
    expected = math.log2(0.02 * 255 * math.sqrt(2 * math.pi * math.e))
    assert gaussian_baseline_bits(clean, degraded) == pytest.approx(expected, abs=0.05)
    assert gaussian_baseline_bits(clean) > expected + 3


def test_channels_are_fitted_apart():
    offset = torch.tensor([0.1, 0.5, 0.9])[:, None, None]
    clean = offset + 0.01 * torch.randn(1, 2, 3, 32, 32)
    expected = math.log2(0.01 * 255 * math.sqrt(2 * math.pi * math.e))
    assert gaussian_baseline_bits(clean) == pytest.approx(expected, abs=0.05)


def test_the_baseline_of_a_flat_clip_stays_finite():
    bits = gaussian_baseline_bits(torch.full((1, 2, 3, 8, 8), 0.5))
    assert 0 <= bits < 1


def test_units_are_active_whose_means_vary_beyond_the_prior():
    means = torch.zeros(64, 1, 4, 2, 2)
    means[:, :, 0] = torch.randn(64, 1, 2, 2)
    means[:, :, 1] = 0.05 * torch.randn(64, 1, 2, 2)
    means[:, :, 2] = 7.0
    means[:, :, 3] = torch.randn(64, 1, 2, 2)
    q = Gaussian(mean=means, log_variance=torch.zeros_like(means))
    assert active_units([(q, gaussian(means.shape))]) == 0.5
    assert active_units([(q, q)]) == 0
    assert active_units([(q, gaussian(means.shape)), (q, q)]) == 0.25
    # In units of the prior's deviation: a tenth of the shift under a wide prior.
    assert active_units([(q, gaussian(means.shape, log_variance=math.log(400)))]) == 0
