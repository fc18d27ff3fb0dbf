"""Networks that tell restored pictures from clean ones; needed to train and never released.

Strided convolutions are kept at a spectral norm of one (Miyato et al., 2018), so that the
gradient they give to the generator stays bounded. Both give logits: positive means clean.

Axes: n batch, t time, c channel, h height, w width. Frames are RGB, nominally in [0, 1].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2
"""Of the leaky ReLU for negative values."""
FRAMES = 3
"""Consecutive frames that the temporal discriminator sees."""
STRIDE = 8
"""Height and width of frames must be multiples of this."""


class ImageDiscriminator(nn.Module):
    """U-Net with a logit for every pixel, in the layout of Real-ESRGAN (Wang et al., 2021)."""

    def __init__(self, channels: int) -> None:
        """Make a network of ``channels`` features at full size, twice as many per halving."""
        super().__init__()
        c = channels
        self.head = nn.Conv2d(3, c, 3, padding=1)
        self.down = _halvings(c)
        self.up = nn.ModuleList(
            _normed(coarse, fine) for coarse, fine in ((8 * c, 4 * c), (4 * c, 2 * c), (2 * c, c))
        )
        self.tail = nn.Sequential(
            _normed(c, c),
            nn.LeakyReLU(SLOPE),
            _normed(c, c),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(c, 1, 3, padding=1),
        )

    def forward(self, frames_nchw: Tensor) -> Tensor:
        """Return logits ``[N, 1, H, W]``; H and W are multiples of 8."""
        full, half, quarter, coarsest = self._encoded(frames_nchw)
        x = coarsest
        for conv, skip in zip(self.up, (quarter, half, full), strict=True):
            enlarged = functional.interpolate(x, scale_factor=2, mode="bilinear")
            x = functional.leaky_relu(conv(enlarged), SLOPE) + skip
        logits: Tensor = self.tail(x)
        return logits

    def features(self, frames_nchw: Tensor) -> list[Tensor]:
        """Return what is found at half, quarter and eighth size, for feature matching."""
        return self._encoded(frames_nchw)[1:]

    def _encoded(self, frames_nchw: Tensor) -> list[Tensor]:
        return _encoded(frames_nchw, self.head, self.down)


class TemporalDiscriminator(nn.Module):
    """PatchGAN (Isola et al., 2017) over three frames and their differences.

    The idea of TecoGAN (Chu et al., 2020) without its warping: differences show flicker at once.
    """

    def __init__(self, channels: int) -> None:
        """Make a network of ``channels`` features at full size, twice as many per halving."""
        super().__init__()
        self.head = nn.Conv2d(3 * (2 * FRAMES - 1), channels, 3, padding=1)
        self.down = _halvings(channels)
        self.tail = nn.Conv2d(8 * channels, 1, 3, padding=1)

    def forward(self, frames_ntchw: Tensor) -> Tensor:
        """Return a logit for every 8x8 pixels, ``[N, 1, H / 8, W / 8]``, of three frames.

        Raises:
            ValueError: there are not three frames.
        """
        logits: Tensor = self.tail(self._encoded(frames_ntchw)[-1])
        return logits

    def features(self, frames_ntchw: Tensor) -> list[Tensor]:
        """Return what is found at half, quarter and eighth size, for feature matching."""
        return self._encoded(frames_ntchw)[1:]

    def _encoded(self, frames_ntchw: Tensor) -> list[Tensor]:
        if frames_ntchw.shape[1] != FRAMES:
            raise ValueError(f"expected {FRAMES} frames, got {frames_ntchw.shape[1]}")
        seen = torch.cat([frames_ntchw, frames_ntchw.diff(dim=1)], dim=1).flatten(1, 2)
        return _encoded(seen, self.head, self.down)


def _encoded(seen_nchw: Tensor, head: nn.Conv2d, down: nn.ModuleList) -> list[Tensor]:
    height, width = seen_nchw.shape[-2:]
    if height % STRIDE or width % STRIDE:
        raise ValueError(f"frames of {width}x{height} must be multiples of {STRIDE}")
    made = [functional.leaky_relu(head(seen_nchw), SLOPE)]
    for conv in down:
        made.append(functional.leaky_relu(conv(made[-1]), SLOPE))
    return made


def _halvings(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        spectral_norm(
            nn.Conv2d(channels << level, channels << (level + 1), 4, 2, padding=1, bias=False)
        )
        for level in range(3)
    )


def _normed(in_channels: int, out_channels: int) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return spectral_norm(conv)
