"""Variational autoencoders of clips: one restores by sampling, the other makes clips up.

The conditional one models p(x | y), the clean clip x given the degraded clip y, through latents
z: log p(x|y) >= E_q(z|x,y)[log p(x|z,y)] - KL(q(z|x,y) || p(z|y)) (Kingma and Welling, 2014;
Sohn, Lee and Yan, 2015). The likelihood is Laplace with one learned scale, which takes the place
of a weight on the KL term (sigma-VAE: Rybkin, Daniilidis and Levine, 2021). The unconditional
one has no y, and a standard normal as its prior.

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

__all__ = ["VAE_SIZES", "Gaussian", "VaeOutput", "VaeSettings", "VideoVae", "vae_spec"]

LOG_VARIANCE = (-10.0, 4.0)
"""Bounds of the logarithm of a latent's variance."""
LOG_SCALE = (-8.0, 2.0)
"""Bounds of the logarithm of the likelihood's scale: from a twelfth of an 8-bit level up."""
UNCONDITIONAL_BASE = 0.5
"""What an unconditional network adds to: mid-grey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaussian:
    """Independent normal distributions, one for every element; ``[N, T / stride, Z, h, w]``."""

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
    posterior: Gaussian
    prior: Gaussian
    log_scale: Tensor
    """Logarithm of the Laplace scale, in units of the frames; a scalar."""


class VideoVae(nn.Module):
    """Encoder q(z|x,y), prior p(z|y) and decoder p(x|z,y), or the same without y."""

    def __init__(self, settings: VaeSettings) -> None:
        super().__init__()
        self.settings = settings
        width, latents = settings.widths[-1], settings.latents
        self.encoder = Pyramid(6 if settings.is_conditional else 3, settings)
        self.posterior_head = CausalConv(width, 2 * latents, frames=1, gain=0.1)
        self.condition: Pyramid | None = None
        self.prior_head: CausalConv | None = None
        if settings.is_conditional:
            self.condition = Pyramid(3, settings)
            self.prior_head = CausalConv(width, 2 * latents, frames=1, gain=0.1)
        self.decoder = Decoder(settings)
        self.log_scale = nn.Parameter(torch.tensor(-3.0))

    def latent_shape(self, frames_shape: Sequence[int]) -> tuple[int, int, int, int, int]:
        """Return the shape of the latents of frames ``[N, T, 3, H, W]``.

        Raises:
            ValueError: T is no multiple of the temporal stride, or H or W of the side of a
                latent.
        """
        n, t, _, h, w = frames_shape
        stride, side = self.settings.temporal_stride, self.settings.latent_side
        if t % stride or h % side or w % side:
            raise ValueError(
                f"{t} frames of {w}x{h} must be multiples of {stride} frames and {side} pixels"
            )
        return n, t // stride, self.settings.latents, h // side, w // side

    def posterior(
        self, clean_ntchw: Tensor, degraded_ntchw: Tensor | None, cache: Cache | None = None
    ) -> Gaussian:
        """Return q(z|x,y), or q(z|x) of an unconditional network.

        Raises:
            ValueError: degraded frames are missing, or given to an unconditional network.
        """
        self.latent_shape(clean_ntchw.shape)
        self._check(degraded_ntchw)
        seen = [clean_ntchw] if degraded_ntchw is None else [clean_ntchw, degraded_ntchw]
        features = self.encoder(torch.cat(seen, dim=2), cache)
        return _gaussian(self.posterior_head(features[-1], None))

    def prior(
        self,
        degraded_ntchw: Tensor | None,
        shape: Sequence[int],
        cache: Cache | None = None,
    ) -> Gaussian:
        """Return p(z|y), or the standard normal p(z) of an unconditional network.

        Args:
            degraded_ntchw: The degraded clip; None where the network is unconditional.
            shape: Of the frames, ``[N, T, 3, H, W]``.
            cache: Of the condition.
        """
        self._check(degraded_ntchw)
        if degraded_ntchw is not None:
            return self.look(degraded_ntchw, cache)[1]
        return self._standard_normal(shape)

    def look(
        self, degraded_ntchw: Tensor, cache: Cache | None = None
    ) -> tuple[list[Tensor], Gaussian]:
        """Return the features of y that the decoder wants, and p(z|y)."""
        self._check(degraded_ntchw)
        self.latent_shape(degraded_ntchw.shape)
        assert self.condition is not None
        assert self.prior_head is not None
        features = self.condition(degraded_ntchw, cache)
        return features, _gaussian(self.prior_head(features[-1], None))

    def added(
        self, z: Tensor, features: Sequence[Tensor] | None, cache: Cache | None = None
    ) -> Tensor:
        """Return what samples add to the base: the degraded clip, or mid-grey.

        Args:
            z: Latents ``[N * S, T / stride, Z, h, w]``, those of a clip next to each other.
            features: Of N degraded clips, from ``look``; None where there are none.
            cache: Of the decoder.
        """
        made: Tensor = self.decoder(z, features, cache)
        return made

    def decode(
        self, z: Tensor, degraded_ntchw: Tensor | None, cache: Cache | None = None
    ) -> Tensor:
        """Return the centre of p(x|z,y) as frames ``[N, T, 3, H, W]``, not clipped.

        Args:
            z: Latents ``[N, T / stride, Z, h, w]``.
            degraded_ntchw: The degraded clip; None where the network is unconditional.
            cache: Empty at the start of a shot, then what the chunk before left there.
        """
        self._check(degraded_ntchw)
        if degraded_ntchw is None:
            return self.added(z, None, cache) + UNCONDITIONAL_BASE
        features, _ = self.look(degraded_ntchw, cache)
        return self.added(z, features, cache) + degraded_ntchw

    def forward(
        self,
        clean_ntchw: Tensor,
        degraded_ntchw: Tensor | None,
        noise: Tensor | None = None,
    ) -> VaeOutput:
        """Encode, sample and decode a clip; ``noise`` is drawn where it is not given."""
        posterior = self.posterior(clean_ntchw, degraded_ntchw)
        if noise is None:
            noise = torch.randn_like(posterior.mean)
        z = posterior.sample(noise)
        if degraded_ntchw is None:
            frames_ntchw = self.added(z, None) + UNCONDITIONAL_BASE
            prior = self._standard_normal(clean_ntchw.shape)
        else:
            features, prior = self.look(degraded_ntchw)
            frames_ntchw = self.added(z, features) + degraded_ntchw
        return VaeOutput(
            frames_ntchw=frames_ntchw,
            posterior=posterior,
            prior=prior,
            log_scale=self.log_scale.clamp(*LOG_SCALE),
        )

    def _standard_normal(self, frames_shape: Sequence[int]) -> Gaussian:
        zeros = self.log_scale.new_zeros(self.latent_shape(frames_shape))
        return Gaussian(mean=zeros, log_variance=zeros)

    def _check(self, degraded_ntchw: Tensor | None) -> None:
        if self.settings.is_conditional != (degraded_ntchw is not None):
            kind = "conditional" if self.settings.is_conditional else "unconditional"
            needs = "needs" if self.settings.is_conditional else "takes no"
            raise ValueError(f"the {kind} network {needs} degraded frames")


def _gaussian(parameters_ncthw: Tensor) -> Gaussian:
    # Not in bfloat16, as autocast has them: a KL is a small difference of large terms.
    dtype = torch.promote_types(parameters_ncthw.dtype, torch.float32)
    mean, log_variance = parameters_ncthw.to(dtype).transpose(1, 2).chunk(2, dim=2)
    return Gaussian(mean=mean, log_variance=log_variance.clamp(*LOG_VARIANCE))
