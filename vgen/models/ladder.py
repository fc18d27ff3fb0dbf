"""The autoencoder that makes clips up: latents at several sizes, each knowing of the coarser ones.

One level of independent latents gives mosaics. Here the prior goes from coarse to fine and from
past to present: p(z) is the product over levels and times of p(z_lt | coarser latents up to t,
z_l before t), and the posterior follows the same order, q(z_lt | coarser latents, x up to t)
(ladder: Sonderby et al., 2016; with convolutions all the way: Child, "Very deep VAEs", 2021). The
bound is the same, its KL a sum over levels.

Frames are made ``temporal_stride`` at a time, each group from the groups before it, with a cache.

Axes: n batch, t time (in groups of frames), c channel, h height, w width; channels come before
time inside here. Frames are RGB, nominally in [0, 1].
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from vgen.models.causal import Cache, CausalBlock, CausalConv, PixelNorm, convolve, init_conv3d
from vgen.models.vae import LOG_SCALE, Gaussian, VaeOutput, VideoVae, gaussian_of
from vgen.models.vae_coders import Pyramid, rises, shuffled
from vgen.models.vae_settings import PATCH, VaeSettings

BASE = 0.5
"""What the network adds to: mid-grey."""
MEMORY = 2
"""Groups of frames before the present one whose latents the prior of a level looks at."""

Draw = Callable[[Gaussian, int], Tensor]
"""Gives the latents of a level, from their distribution and the level's number."""


class Rung(nn.Module):
    """The latents of one level: their prior, their posterior, and what they add."""

    def __init__(self, width: int, settings: VaeSettings) -> None:
        super().__init__()
        latents = settings.latents
        self.past = init_conv3d(
            nn.Conv3d(latents, width, (MEMORY, 3, 3), padding=(0, 1, 1)), gain=0.3
        )
        self.expect = CausalBlock(width, frames=1)
        self.prior_head = _Head(width, latents)
        self.perceive = CausalBlock(width, frames=1)
        self.posterior_head = _Head(width, latents)
        # Small and not zero, as in the tail: what z is good for is learned from its first step.
        self.enter = init_conv3d(nn.Conv3d(latents, width, 1), gain=0.5)

    def before(self, z_ncthw: Tensor, cache: Cache | None) -> Tensor:
        """Return what the latents before each time say of it; those of no time are zero.

        ``cache`` is read, and brought up to date.
        """
        earlier = cache.get(self.past) if cache is not None else None
        if earlier is None:
            earlier = torch.zeros_like(z_ncthw[:, :, :1]).expand(-1, -1, MEMORY, -1, -1)
        line = torch.cat([earlier, z_ncthw], dim=2)
        if cache is not None:
            cache[self.past] = line[:, :, -MEMORY:].clone()
        return convolve(self.past, line[:, :, :-1])

    def prior(self, x_ncthw: Tensor, before_ncthw: Tensor) -> Gaussian:
        """Return p(z | coarser, before)."""
        found: Gaussian = self.prior_head(self.expect(x_ncthw + before_ncthw, None))
        return found

    def posterior(self, x_ncthw: Tensor, seen_ncthw: Tensor) -> Gaussian:
        """Return q(z | coarser, clip); ``seen`` are the clip's features at this level."""
        found: Gaussian = self.posterior_head(self.perceive(x_ncthw + seen_ncthw, None))
        return found

    def added(self, x_ncthw: Tensor, z_ncthw: Tensor, before_ncthw: Tensor) -> Tensor:
        """Return the features with the latents, and what came before them, taken in."""
        return x_ncthw + before_ncthw + convolve(self.enter, z_ncthw)


class LadderVae(nn.Module):
    """Encoder q(z|x), prior p(z) and decoder p(x|z), each over all levels that have latents."""

    def __init__(self, settings: VaeSettings) -> None:
        super().__init__()
        assert not settings.is_conditional
        self.settings = settings
        widths, stride = settings.widths, settings.temporal_stride
        self.encoder = Pyramid(3 * stride, settings)
        self.rungs = nn.ModuleList(
            Rung(width, settings) for width in widths[::-1][: settings.latent_levels]
        )
        self.rises = rises(settings)
        self.tail = CausalConv(widths[0], 3 * stride * PATCH**2, frames=1, gain=0.05)
        self.log_scale = nn.Parameter(torch.tensor(-3.0))

    def latent_shapes(self, frames_shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the shapes of the latents of frames ``[N, T, 3, H, W]``, coarsest level first.

        Raises:
            ValueError: T is no multiple of the temporal stride, or H or W of the side of a
                coarsest latent.
        """
        n, t, h, w = self.settings.grid(frames_shape)
        levels = self.settings.latent_levels
        return [(n, t, self.settings.latents, h << up, w << up) for up in range(levels)]

    def forward(
        self,
        clean_ntchw: Tensor,
        degraded_ntchw: Tensor | None = None,
        noise: Sequence[Tensor] | None = None,
    ) -> VaeOutput:
        """Encode, sample and decode a clip; ``noise``, one a level, is drawn where none is given.

        Raises:
            ValueError: degraded frames were given, or the clip is of a size that is none.
        """
        if degraded_ntchw is not None:
            raise ValueError("the unconditional network takes no degraded frames")
        shapes = self.latent_shapes(clean_ntchw.shape)
        if noise is None:
            noise = [clean_ntchw.new_empty(shape).normal_() for shape in shapes]
        seen = self.encoder(_grouped(clean_ntchw, self.settings.temporal_stride), None)
        posteriors, priors = [], []

        def choose(level: int, rung: Rung, x_ncthw: Tensor) -> tuple[Tensor, Tensor]:
            features = seen[len(seen) - 1 - level]
            posterior = rung.posterior(x_ncthw, features)
            z_ncthw = posterior.sample(noise[level]).transpose(1, 2)
            before = rung.before(z_ncthw, None)
            posteriors.append(posterior)
            priors.append(rung.prior(x_ncthw, before))
            return z_ncthw, before

        n, _, t, h, w = seen[-1].shape
        frames_ntchw = self._descend(choose, (n, self.settings.widths[-1], t, h, w), None)
        return VaeOutput(
            frames_ntchw=frames_ntchw,
            posterior=tuple(posteriors),
            prior=tuple(priors),
            log_scale=self.log_scale.clamp(*LOG_SCALE),
        )

    def decode(self, latents: Sequence[Tensor], cache: Cache | None = None) -> Tensor:
        """Return the centre of p(x|z) as frames ``[N, T, 3, H, W]``, not clipped.

        Args:
            latents: Of each level, coarsest first, as ``latent_shapes`` has them.
            cache: Empty at the start of a shot, then what the chunk before left there.
        """

        def choose(level: int, rung: Rung, x_ncthw: Tensor) -> tuple[Tensor, Tensor]:
            z_ncthw = latents[level].transpose(1, 2)
            return z_ncthw, rung.before(z_ncthw, cache)

        n, t, _, h, w = latents[0].shape
        return self._descend(choose, (n, self.settings.widths[-1], t, h, w), cache)

    def sample(self, noise: Sequence[Tensor], cache: Cache) -> tuple[Tensor, list[Tensor]]:
        """Return the next group of frames drawn from the prior, and its latents.

        Args:
            noise: Standard normal, of one time, for each level, coarsest first.
            cache: Empty at the start of a clip, then what the group before left there.
        """
        drawn = []

        def choose(level: int, rung: Rung, x_ncthw: Tensor) -> tuple[Tensor, Tensor]:
            e_ncthw = noise[level].transpose(1, 2)
            # What is given as the present is not looked at, and must not be remembered.
            before = rung.before(e_ncthw, dict(cache))
            z_ncthw = rung.prior(x_ncthw, before).sample(noise[level]).transpose(1, 2)
            drawn.append(z_ncthw.transpose(1, 2))
            return z_ncthw, rung.before(z_ncthw, cache)

        n, t, _, h, w = noise[0].shape
        assert t == 1, "latents follow from those before them, one time after the other"
        shape = (n, self.settings.widths[-1], t, h, w)
        return self._descend(choose, shape, cache), drawn

    def _descend(
        self,
        choose: Callable[[int, Rung, Tensor], tuple[Tensor, Tensor]],
        shape: tuple[int, ...],
        cache: Cache | None,
    ) -> Tensor:
        """Go from nothing at the coarsest level to frames, taking in latents where there are any.

        Args:
            choose: Gives the latents of a level, and what those before them say.
            shape: Of the features at the coarsest level.
            cache: Of the blocks over time.
        """
        x = self.log_scale.new_zeros(shape)
        levels = len(self.rises)
        for level in range(levels):
            if level < len(self.rungs):
                rung = self.rungs[level]
                assert isinstance(rung, Rung)
                x = rung.added(x, *choose(level, rung, x))
            x = self.rises[levels - 1 - level](x, cache)
        frames = shuffled(self.tail(x, cache), PATCH).transpose(1, 2)
        # In float32 first, also under autocast: a sum in bfloat16 has 128 levels in [0.5, 1).
        return _ungrouped(frames, self.settings.temporal_stride).float() + BASE


class _Head(nn.Module):
    """Features to a normal distribution of latents."""

    def __init__(self, width: int, latents: int) -> None:
        super().__init__()
        self.norm = PixelNorm(width)
        self.conv = CausalConv(width, 2 * latents, frames=1, gain=0.1)

    def forward(self, x_ncthw: Tensor) -> Gaussian:
        return gaussian_of(self.conv(functional.silu(self.norm(x_ncthw)), None))


def _grouped(frames_ntchw: Tensor, stride: int) -> Tensor:
    """Fold each ``stride`` frames into the channels of one."""
    n, t, c, h, w = frames_ntchw.shape
    return frames_ntchw.reshape(n, t // stride, stride * c, h, w)


def _ungrouped(groups_ntchw: Tensor, stride: int) -> Tensor:
    n, t, c, h, w = groups_ntchw.shape
    return groups_ntchw.reshape(n, t * stride, c // stride, h, w)


def climbed(lower: LadderVae, fresh: LadderVae) -> LadderVae:
    """Return ``fresh``, with latents at more levels, made to compute what ``lower`` does.

    What reads the new latents has weights of zero, whose gradients are not zero.

    Raises:
        ValueError: they differ in more than the number of levels, or ``fresh`` has fewer.
    """
    if not climbs_to(lower.settings, fresh.settings):
        raise ValueError(f"cannot go on from {lower.settings} to {fresh.settings}")
    fresh.load_state_dict(fresh.state_dict() | lower.state_dict())
    for rung in fresh.rungs[lower.settings.latent_levels :]:
        assert isinstance(rung, Rung)
        for conv in (rung.past, rung.enter):
            nn.init.zeros_(conv.weight)
    return fresh


def climbs_to(lower: VaeSettings, upper: VaeSettings) -> bool:
    """Whether networks that make clips up differ in nothing but finer latents, or not at all."""
    return (
        not lower.is_conditional
        and lower.latent_levels <= upper.latent_levels
        and replace(lower, latent_levels=upper.latent_levels) == upper
    )


Vae: TypeAlias = VideoVae | LadderVae
"""Either autoencoder."""


def new_vae(settings: VaeSettings) -> Vae:
    """Return the network of those settings, with weights that follow torch's seed."""
    return VideoVae(settings) if settings.is_conditional else LadderVae(settings)
