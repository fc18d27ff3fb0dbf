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
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from vgen.models.causal import Cache, CausalBlock, CausalConv, convolve, init_conv3d
from vgen.models.vae_settings import PATCH, VAE_SIZES, VaeSettings, vae_spec

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


class Pyramid(nn.Module):
    """Features of frames at every level, finest first: the encoder, and the view of y."""

    def __init__(self, in_channels: int, settings: VaeSettings) -> None:
        super().__init__()
        widths, stride = settings.widths, settings.temporal_stride
        self.head = CausalConv(in_channels * PATCH**2, widths[0])
        self.levels = nn.ModuleList(_blocks(width, settings.blocks, 3) for width in widths)
        self.down = nn.ModuleList(
            init_conv3d(nn.Conv3d(fine, coarse, (1, 2, 2), stride=(1, 2, 2)), gain=0.7)
            for fine, coarse in pairwise(widths)
        )
        self.squeeze: nn.Conv3d | None = None
        if stride > 1:
            squeeze = nn.Conv3d(widths[-1], widths[-1], (stride, 1, 1), stride=(stride, 1, 1))
            self.squeeze = init_conv3d(squeeze, gain=0.7)

    def forward(self, frames_ntchw: Tensor, cache: Cache | None) -> list[Tensor]:
        """Return ``[N, width, T, h, w]`` per level; the coarsest has ``T / stride`` frames."""
        x = functional.pixel_unshuffle(frames_ntchw, PATCH).transpose(1, 2)
        x = self.head(x, cache)
        made = []
        for level, blocks in enumerate(self.levels):
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x, cache)
            made.append(x)
            if level < len(self.down):
                x = _convolved(self.down[level], x)
        if self.squeeze is not None:
            made[-1] = convolve(self.squeeze, x)
        return made


class Decoder(nn.Module):
    """From latents, and features of y where there are any, to what is added to the base."""

    def __init__(self, settings: VaeSettings) -> None:
        super().__init__()
        widths, self.stride = settings.widths, settings.temporal_stride
        self.enter = CausalConv(settings.latents, widths[-1])
        # Over time at the coarsest level only: the memory of every sample is held while streaming.
        self.levels = nn.ModuleList(
            _blocks(width, settings.blocks, 3 if level == len(widths) - 1 else 1)
            for level, width in enumerate(widths)
        )
        self.stretch: nn.Conv3d | None = None
        if self.stride > 1:
            stretch = nn.Conv3d(widths[-1], self.stride * widths[-1], 1)
            self.stretch = init_conv3d(stretch, gain=0.7)
        self.up = nn.ModuleList(
            init_conv3d(nn.Conv3d(coarse, 4 * fine, 1), gain=0.7)
            for fine, coarse in pairwise(widths)
        )
        # Small and not zero: with no path from z to the picture the posterior learns that z is
        # of no use before the picture learns to use it. Neither norm nor bend before it, as how
        # strong noise is must reach the picture: with them 80 steps of training gained nothing,
        # without them 1.1 dB.
        self.tail = CausalConv(widths[0], 3 * PATCH**2, frames=1, gain=0.05)

    def forward(
        self, z_ntchw: Tensor, skips: Sequence[Tensor] | None, cache: Cache | None
    ) -> Tensor:
        """Return ``[N, T, 3, H, W]``; ``skips`` of n clips serve n times s latents."""
        x = self.enter(z_ntchw.transpose(1, 2), cache)
        for level in reversed(range(len(self.levels))):
            if skips is not None:
                x = _added(x, skips[level])
            blocks = self.levels[level]
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x, cache)
            if self.stretch is not None and level == len(self.up):
                n, c, t, h, w = x.shape
                x = convolve(self.stretch, x).reshape(n, c, self.stride, t, h, w)
                x = x.movedim(2, 3).flatten(2, 3)
            if level > 0:
                x = _shuffled(_convolved(self.up[level - 1], x), 2)
        x = self.tail(x, cache)
        return _shuffled(x, PATCH).transpose(1, 2)


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


def _blocks(width: int, blocks: int, frames: int) -> nn.ModuleList:
    return nn.ModuleList(CausalBlock(width, frames=frames) for _ in range(blocks))


def _convolved(conv: nn.Module, x_ncthw: Tensor) -> Tensor:
    assert isinstance(conv, nn.Conv3d)
    return convolve(conv, x_ncthw)


def _gaussian(parameters_ncthw: Tensor) -> Gaussian:
    # Not in bfloat16, as autocast has them: a KL is a small difference of large terms.
    dtype = torch.promote_types(parameters_ncthw.dtype, torch.float32)
    mean, log_variance = parameters_ncthw.to(dtype).transpose(1, 2).chunk(2, dim=2)
    return Gaussian(mean=mean, log_variance=log_variance.clamp(*LOG_VARIANCE))


def _added(x_ncthw: Tensor, skip_ncthw: Tensor) -> Tensor:
    """Add the features of each clip to all of its samples."""
    if len(x_ncthw) == len(skip_ncthw):
        return x_ncthw + skip_ncthw
    grouped = x_ncthw.reshape(len(skip_ncthw), -1, *x_ncthw.shape[1:])
    return (grouped + skip_ncthw[:, None]).flatten(0, 1)


def _shuffled(x_ncthw: Tensor, side: int) -> Tensor:
    n, _, t, _, _ = x_ncthw.shape
    # As single pictures: torch refuses five axes of which most are of length one.
    shuffled_nchw = functional.pixel_shuffle(x_ncthw.transpose(1, 2).flatten(0, 1), side)
    return shuffled_nchw.reshape(n, t, *shuffled_nchw.shape[1:]).transpose(1, 2)
