"""The evidence lower bound of a clip, its parts, and what it is held against.

-ELBO = -E_q[log p(x|z,y)] + KL(q(z|x,y) || p(z|y)) (Kingma and Welling, 2014), minimised. Both
parts are sums over all dimensions of a clip; only then are they averaged over the batch, and
both divided by the same number, or the weight between them would be anybody's guess.

Clean frames hold 8-bit values, so likelihoods are of bins one level wide: negative logarithms
are bits that a coder would spend, never below zero, and comparable between models. Nothing is
clamped at black and white; what a model spends outside of [0, 1] counts against it.

Axes: n batch, t time, c channel, h height, w width. Frames are RGB in [0, 1].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vgen.models.vae import Gaussian, VaeOutput
from vgen.training.choices import FREE_NATS, WARMUP_SHARE

HALF_BIN = 0.5 / 255
"""Half of an 8-bit level."""
ACTIVE_VARIANCE = 0.01
"""A latent whose mean varies by more than this from picture to picture is in use (Burda, Grosse
and Salakhutdinov, 2016)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elbo:
    """The parts of a negative ELBO; scalars, in nats per pixel unless stated."""

    reconstruction: Tensor
    """-log p(x|z,y)."""
    kl: Tensor
    """KL(q || p) as it is: no free bits, no warm-up."""
    loss: Tensor
    """What is minimised: with free bits and the weight of warm-up."""
    bits_per_dimension: Tensor
    """The negative ELBO as it is, in bits for each colour value of each pixel."""
    kl_per_latent: Tensor
    """Nats for each latent dimension."""


def kl_divergence(q: Gaussian, p: Gaussian) -> Tensor:
    """Return KL(q || p) in nats, summed over the latents of each clip: ``[N]``."""
    return _kl(q, p).flatten(1).sum(1)


def negative_elbo(
    clean_ntchw: Tensor,
    made: VaeOutput,
    *,
    kl_weight: float = 1.0,
    free_nats: float = FREE_NATS,
) -> Elbo:
    """Return the negative ELBO of clean clips and what is minimised for it.

    Args:
        clean_ntchw: What the autoencoder was shown.
        made: What came out, from one sample of the posterior.
        kl_weight: See ``warmup_weight``; 1 for the bound itself.
        free_nats: Of each latent channel of a clip, as the mean over its places; 0 for the
            bound itself.
    """
    n, t, c, h, w = clean_ntchw.shape
    pixels = t * h * w
    distance = (clean_ntchw - made.frames_ntchw).float()
    surprise = -laplace_log_probability(distance, made.log_scale)
    reconstruction = surprise.sum() / (n * pixels)
    levels = [_kl(q, p) for q, p in zip(made.posterior, made.prior, strict=True)]
    kl = torch.stack([nats.sum() for nats in levels]).sum() / (n * pixels)
    # Free per channel and not per number: where a flat wall needs no latents, none are forced.
    # And per clip, so that a batch shared by several workers gives the gradients of the whole.
    freed = torch.stack([_freed(nats, free_nats) for nats in levels]).sum() / (n * pixels)
    return Elbo(
        reconstruction=reconstruction,
        kl=kl,
        loss=reconstruction + kl_weight * freed,
        bits_per_dimension=(reconstruction + kl) / (c * math.log(2)),
        kl_per_latent=kl * n * pixels / sum(nats.numel() for nats in levels),
    )


def warmup_weight(spent: float) -> float:
    """Return the weight of KL after the share ``spent`` of a training, 0 to 1."""
    return min(1.0, spent / WARMUP_SHARE)


def laplace_log_probability(distance: Tensor, log_scale: Tensor) -> Tensor:
    """Return the logarithm of the Laplace probability of the bin around each ``distance``.

    Args:
        distance: From the centre of the distribution, in units of frames.
        log_scale: Logarithm of the mean absolute distance.
    """
    scale = log_scale.exp()
    away = distance.abs()
    # Where the bin lies to one side of the centre: exp(-(away - half)/s) (1 - exp(-2 half/s)) / 2.
    tail = (HALF_BIN - away) / scale + torch.log(-torch.expm1(-2 * HALF_BIN / scale) / 2)
    # Around the centre, from both sides; expm1 as both terms are near 1 for a wide scale.
    inside = away.clamp(max=HALF_BIN)
    both = torch.expm1((inside - HALF_BIN) / scale) + torch.expm1(-(inside + HALF_BIN) / scale)
    return torch.where(away >= HALF_BIN, tail, torch.log(-both / 2))


def gaussian_baseline_bits(clean_ntchw: Tensor, degraded_ntchw: Tensor | None = None) -> float:
    """Return bits per dimension of a normal distribution fitted to the same clips.

    One mean and one deviation per colour channel, fitted to the very values they are asked
    about, in bins as ``negative_elbo`` has them. With degraded clips it is fitted to what they
    lack.
    """
    values = clean_ntchw.double()
    if degraded_ntchw is not None:
        values = values - degraded_ntchw.double()
    values_cn = values.movedim(2, 0).flatten(1)
    deviation = values_cn.std(1, correction=0, keepdim=True).clamp(min=HALF_BIN)
    # Mirrored to the left tail, where the distribution function keeps its digits.
    away = -(values_cn - values_cn.mean(1, keepdim=True)).abs()
    upper = torch.special.log_ndtr((away + HALF_BIN) / deviation)
    lower = torch.special.log_ndtr((away - HALF_BIN) / deviation)
    return float(-(upper + torch.log(-torch.expm1(lower - upper))).mean() / math.log(2))


def active_units(levels: Sequence[tuple[Gaussian, Gaussian]]) -> float:
    """Return the share of latent channels in use, 0 to 1, of posteriors and priors by level.

    A channel is in use if the posterior's mean, told from the prior's in units of the prior's
    deviation, has a variance over clips and places above 0.01.
    """
    variances = []
    for q, p in levels:
        shift = (q.mean - p.mean) * (-0.5 * p.log_variance).exp()
        variances.append(shift.movedim(2, 0).flatten(1).var(1, correction=0))
    return float((torch.cat(variances) > ACTIVE_VARIANCE).double().mean())


def _freed(nats_ntzhw: Tensor, free_nats: float) -> Tensor:
    """Return the sum of nats, each channel of each clip costing ``free_nats`` a place at least."""
    per_channel_nz = nats_ntzhw.mean((1, 3, 4))
    places = nats_ntzhw.numel() / per_channel_nz.numel()
    return per_channel_nz.clamp(min=free_nats).sum() * places


def _kl(q: Gaussian, p: Gaussian) -> Tensor:
    gap = q.log_variance - p.log_variance
    shift = (q.mean - p.mean).square() * (-p.log_variance).exp()
    return 0.5 * (shift + gap.exp() - 1 - gap)
