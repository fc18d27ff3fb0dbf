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


def _shuffled(x_ncthw: Tensor, side: int) -> Tensor:
    n, _, t, _, _ = x_ncthw.shape
    # As single pictures: torch refuses five axes of which most are of length one.
    shuffled_nchw = functional.pixel_shuffle(x_ncthw.transpose(1, 2).flatten(0, 1), side)
    return shuffled_nchw.reshape(n, t, *shuffled_nchw.shape[1:]).transpose(1, 2)
