"""The autoencoder that restores by sampling.

It models p(x | y), the clean clip x given the degraded clip y, through latents
z: log p(x|y) >= E_q(z|x,y)[log p(x|z,y)] - KL(q(z|x,y) || p(z|y)) (Kingma and Welling, 2014;
Sohn, Lee and Yan, 2015). The likelihood is Laplace with one learned scale, which takes the place
of a weight on the KL term (sigma-VAE: Rybkin, Daniilidis and Levine, 2021).

What depends on y alone is computed once, whatever the number of samples. Everything is causal
in time: clips come in chunks, with a cache.

Axes: n batch, t time, c channel, h height, w width. Frames are RGB, nominally in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vgen.models.causal import Cache, CausalConv
from vgen.models.vae_coders import Decoder, Pyramid
from vgen.models.vae_settings import VAE_SIZES, VaeSettings, vae_spec

__all__ = [
    "VAE_SIZES",
    "Gaussian",
    "VaeOutput",
    "VaeSettings",
    "VideoVae",
    "gaussian_of",
    "vae_spec",
]

LOG_VARIANCE = (-10.0, 4.0)
"""Bounds of the logarithm of a latent's variance."""
LOG_SCALE = (-8.0, 2.0)
"""Bounds of the logarithm of the likelihood's scale: from a twelfth of an 8-bit level up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaussian:
    """Independent normal distributions, one for every element; ``[N, T, Z, h, w]``."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return the values that standard normal ``noise`` stands for."""
        return self.mean + (0.5 * self.log_variance).exp() * noise


@dataclass(frozen=True, slots=True, kw_only=True)
class VaeOutput:
    """One clip through the autoencoder: all that the ELBO is made of."""

    frames_ntchw: Tensor
    """Centre of the likelihood at one sample of the posterior."""
    posterior: tuple[Gaussian, ...]
    """Of each level that has latents, coarsest first."""
    prior: tuple[Gaussian, ...]
    log_scale: Tensor
    """Logarithm of the Laplace scale, in units of the frames; a scalar."""


class VideoVae(nn.Module):
    """Encoder q(z|x,y), prior p(z|y) and decoder p(x|z,y)."""

    def __init__(self, settings: VaeSettings) -> None:
        super().__init__()
        assert settings.is_conditional
        self.settings = settings
        width, latents = settings.widths[-1], settings.latents
        self.encoder = Pyramid(6, settings)
        self.posterior_head = CausalConv(width, 2 * latents, frames=1, gain=0.1)
        self.condition = Pyramid(3, settings)
        self.prior_head = CausalConv(width, 2 * latents, frames=1, gain=0.1)
        self.decoder = Decoder(settings)
        self.log_scale = nn.Parameter(torch.tensor(-3.0))

    def latent_shape(self, frames_shape: Sequence[int]) -> tuple[int, int, int, int, int]:
        """Return the shape of the latents of frames ``[N, T, 3, H, W]``.

        Raises:
            ValueError: H or W is no multiple of the side of a latent.
        """
        n, t, h, w = self.settings.grid(frames_shape)
        return n, t, self.settings.latents, h, w

    def latent_shapes(self, frames_shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Return ``latent_shape`` as a list of one level, as ``LadderVae`` has several."""
        return [self.latent_shape(frames_shape)]

    def posterior(
        self, clean_ntchw: Tensor, degraded_ntchw: Tensor, cache: Cache | None = None
    ) -> Gaussian:
        """Return q(z|x,y)."""
        self.latent_shape(clean_ntchw.shape)
        features = self.encoder(torch.cat([clean_ntchw, degraded_ntchw], dim=2), cache)
        return gaussian_of(self.posterior_head(features[-1], None))

    def look(
        self, degraded_ntchw: Tensor, cache: Cache | None = None
    ) -> tuple[list[Tensor], Gaussian]:
        """Return the features of y that the decoder wants, and p(z|y)."""
        self.latent_shape(degraded_ntchw.shape)
        features = self.condition(degraded_ntchw, cache)
        return features, gaussian_of(self.prior_head(features[-1], None))

    def added(self, z: Tensor, features: Sequence[Tensor], cache: Cache | None = None) -> Tensor:
        """Return what samples add to the degraded clip.

        Args:
            z: Latents ``[N * S, T, Z, h, w]``, those of a clip next to each other.
            features: Of N degraded clips, from ``look``.
            cache: Of the decoder.
        """
        made: Tensor = self.decoder(z, features, cache)
        return made

    def decode(self, z: Tensor, degraded_ntchw: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the centre of p(x|z,y) as frames ``[N, T, 3, H, W]``, not clipped.

        Args:
            z: Latents ``[N, T, Z, h, w]``.
            degraded_ntchw: The degraded clip.
            cache: Empty at the start of a shot, then what the chunk before left there.
        """
        features, _ = self.look(degraded_ntchw, cache)
        return self.added(z, features, cache) + degraded_ntchw

    def forward(
        self,
        clean_ntchw: Tensor,
        degraded_ntchw: Tensor | None,
        noise: Sequence[Tensor] | None = None,
    ) -> VaeOutput:
        """Encode, sample and decode a clip; ``noise``, of one level, is drawn where none is given.

        Raises:
            ValueError: the degraded clip is missing, or the clip is of a size that is none.
        """
        if degraded_ntchw is None:
            raise ValueError("the conditional network needs degraded frames")
        posterior = self.posterior(clean_ntchw, degraded_ntchw)
        (drawn,) = (torch.randn_like(posterior.mean),) if noise is None else noise
        features, prior = self.look(degraded_ntchw)
        return VaeOutput(
            frames_ntchw=self.added(posterior.sample(drawn), features) + degraded_ntchw,
            posterior=(posterior,),
            prior=(prior,),
            log_scale=self.log_scale.clamp(*LOG_SCALE),
        )


def gaussian_of(parameters_ncthw: Tensor) -> Gaussian:
    """Return the distributions whose means, then log variances, are the channels given."""
    # Not in bfloat16, as autocast has them: a KL is a small difference of large terms.
    dtype = torch.promote_types(parameters_ncthw.dtype, torch.float32)
    mean, log_variance = parameters_ncthw.to(dtype).transpose(1, 2).chunk(2, dim=2)
    return Gaussian(mean=mean, log_variance=log_variance.clamp(*LOG_VARIANCE))
