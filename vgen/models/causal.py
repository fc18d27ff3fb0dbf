"""Causal video convolutions: a frame depends on itself and on frames before it.

A convolution keeps its last input frames in a cache that the caller owns, so that a clip given
in chunks is computed as the whole is. At the start of a shot the first frame stands for those
before it. Normalisation looks at one pixel only: statistics over pixels or frames would make
tiles differ from the whole picture and chunks from the whole clip.

Axes: n batch, c channel, t time, h height, w width; channels come before time inside here.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vgen.models.blocks import init_conv

Cache = dict[nn.Module, Tensor]
"""The last input frames of every causal convolution; empty at the start of a shot."""


class CausalConv(nn.Module):
    """3x3 in space over ``frames`` frames that end with the current one."""

    def __init__(
        self, in_channels: int, out_channels: int, *, frames: int = 3, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.conv = init_conv3d(
            nn.Conv3d(in_channels, out_channels, (frames, 3, 3), padding=(0, 1, 1)), gain=gain
        )
        self.past = frames - 1

    def forward(self, x_ncthw: Tensor, cache: Cache | None) -> Tensor:
        """Return as many frames as came; ``cache`` is read and brought up to date."""
        if self.past:
            before = cache.get(self) if cache is not None else None
            if before is None:
                before = x_ncthw[:, :, :1].expand(-1, -1, self.past, -1, -1)
            x_ncthw = torch.cat([before, x_ncthw], dim=2)
            if cache is not None:
                # A copy, as a view would keep the whole chunk alive.
                cache[self] = x_ncthw[:, :, -self.past :].clone()
        return convolve(self.conv, x_ncthw)


class PixelNorm(nn.Module):
    """Divide by the root mean square over channels of each pixel of each frame.

    RMSNorm (Zhang and Sennrich, 2019) applied pixel by pixel.
    """

    EPSILON = 1e-6

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight_c = nn.Parameter(torch.ones(channels))

    def forward(self, x_ncthw: Tensor) -> Tensor:
        # In float32 also under autocast: squares of bfloat16 keep two digits.
        mean = x_ncthw.float().square().mean(1, keepdim=True)
        scale = torch.rsqrt(mean + self.EPSILON).to(x_ncthw.dtype)
        return x_ncthw * scale * self.weight_c[:, None, None, None]


class CausalBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), the first convolution over ``frames``."""

    def __init__(self, channels: int, *, frames: int) -> None:
        super().__init__()
        self.first_norm = PixelNorm(channels)
        self.first = CausalConv(channels, channels, frames=frames)
        self.second_norm = PixelNorm(channels)
        self.second = CausalConv(channels, channels, frames=1, gain=0.1)

    def forward(self, x_ncthw: Tensor, cache: Cache | None) -> Tensor:
        """Return ``x_ncthw`` and what the block adds."""
        hidden = self.first(functional.silu(self.first_norm(x_ncthw)), cache)
        added: Tensor = self.second(functional.silu(self.second_norm(hidden)), cache)
        return x_ncthw + added


def convolve(conv: nn.Conv3d, x_ncthw: Tensor) -> Tensor:
    """Return ``conv(x_ncthw)``, which for a single frame of output is a convolution of a plane.

    On one thread torch takes a generic path for the 3-D convolution of a single clip, measured
    at a seventh of the speed.
    """
    if x_ncthw.shape[2] != conv.kernel_size[0]:
        made: Tensor = conv(x_ncthw)
        return made
    # Frames become channels, in the order of the kernel's.
    return functional.conv2d(
        x_ncthw.flatten(1, 2),
        conv.weight.flatten(1, 2),
        conv.bias,
        stride=conv.stride[1:],
        padding=_plane_padding(conv),
    ).unsqueeze(2)


def _plane_padding(conv: nn.Conv3d) -> tuple[int, ...]:
    assert isinstance(conv.padding, tuple)
    return conv.padding[1:]


def init_conv3d(conv: nn.Conv3d, *, gain: float = 1.0) -> nn.Conv3d:
    """He fan-in normal times ``gain``, zero bias; returns ``conv``."""
    init_conv(conv, gain=gain)
    return conv
