"""The two halves of a video autoencoder: frames to features, and latents to frames.

Axes: n batch, t time, c channel, h height, w width; channels come before time inside here.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from vgen.models.causal import Cache, CausalBlock, CausalConv, convolve, init_conv3d
from vgen.models.vae_settings import PATCH, VaeSettings


class Pyramid(nn.Module):
    """Features of frames at every level, finest first: the encoder, and the view of y."""

    def __init__(self, in_channels: int, settings: VaeSettings) -> None:
        super().__init__()
        widths = settings.widths
        self.head = CausalConv(in_channels * PATCH**2, widths[0])
        self.levels = nn.ModuleList(_blocks(width, settings.blocks, 3) for width in widths)
        self.down = nn.ModuleList(
            init_conv3d(nn.Conv3d(fine, coarse, (1, 2, 2), stride=(1, 2, 2)), gain=0.7)
            for fine, coarse in pairwise(widths)
        )

    def forward(self, frames_ntchw: Tensor, cache: Cache | None) -> list[Tensor]:
        """Return ``[N, width, T, h, w]`` per level."""
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
        return made


class Rise(nn.Module):
    """One level of the way up: blocks over ``frames`` frames, and the step to the finer level."""

    def __init__(self, width: int, blocks: int, *, frames: int, finer: int | None) -> None:
        """Make the level; ``finer`` is the width of the next one, None for the finest."""
        super().__init__()
        self.blocks = _blocks(width, blocks, frames)
        self.up: nn.Conv3d | None = None
        if finer is not None:
            self.up = init_conv3d(nn.Conv3d(width, 4 * finer, 1), gain=0.7)

    def forward(self, x_ncthw: Tensor, cache: Cache | None) -> Tensor:
        """Return features at twice the size, or at the same on the finest level."""
        for block in self.blocks:
            x_ncthw = block(x_ncthw, cache)
        return x_ncthw if self.up is None else shuffled(convolve(self.up, x_ncthw), 2)


def rises(settings: VaeSettings) -> nn.ModuleList:
    """Return the levels of the way up, finest first."""
    widths = settings.widths
    # Over time at the coarsest level only: the memory of every sample is held while streaming.
    return nn.ModuleList(
        Rise(
            width,
            settings.blocks,
            frames=3 if level == len(widths) - 1 else 1,
            finer=widths[level - 1] if level else None,
        )
        for level, width in enumerate(widths)
    )


class Decoder(nn.Module):
    """From latents and features of y to what is added to the base."""

    def __init__(self, settings: VaeSettings) -> None:
        super().__init__()
        self.enter = CausalConv(settings.latents, settings.widths[-1])
        self.rises = rises(settings)
        # Small and not zero: with no path from z to the picture the posterior learns that z is
        # of no use before the picture learns to use it. Neither norm nor bend before it, as how
        # strong noise is must reach the picture: with them 80 steps of training gained nothing,
        # without them 1.1 dB.
        self.tail = CausalConv(settings.widths[0], 3 * PATCH**2, frames=1, gain=0.05)

    def forward(self, z_ntchw: Tensor, skips: Sequence[Tensor], cache: Cache | None) -> Tensor:
        """Return ``[N, T, 3, H, W]``; ``skips`` of n clips serve n times s latents."""
        x = self.enter(z_ntchw.transpose(1, 2), cache)
        for rise, skip in zip(reversed(self.rises), reversed(skips), strict=True):
            x = rise(_added(x, skip), cache)
        return shuffled(self.tail(x, cache), PATCH).transpose(1, 2)


def _blocks(width: int, blocks: int, frames: int) -> nn.ModuleList:
    return nn.ModuleList(CausalBlock(width, frames=frames) for _ in range(blocks))


def _added(x_ncthw: Tensor, skip_ncthw: Tensor) -> Tensor:
    """Add the features of each clip to all of its samples."""
    if len(x_ncthw) == len(skip_ncthw):
        return x_ncthw + skip_ncthw
    grouped = x_ncthw.reshape(len(skip_ncthw), -1, *x_ncthw.shape[1:])
    return (grouped + skip_ncthw[:, None]).flatten(0, 1)


def _convolved(conv: nn.Module, x_ncthw: Tensor) -> Tensor:
    assert isinstance(conv, nn.Conv3d)
    return convolve(conv, x_ncthw)


def shuffled(x_ncthw: Tensor, side: int) -> Tensor:
    """Return pixels out of channels, each ``side`` squared of them a block of pixels."""
    n, _, t, _, _ = x_ncthw.shape
    # As single pictures: torch refuses five axes of which most are of length one.
    shuffled_nchw = functional.pixel_shuffle(x_ncthw.transpose(1, 2).flatten(0, 1), side)
    return shuffled_nchw.reshape(n, t, *shuffled_nchw.shape[1:]).transpose(1, 2)
