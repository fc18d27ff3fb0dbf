"""What counts as close to the clean picture.

Axes: n batch, c channel, h height, w width. Tensors are float32, nominally in [0, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

CHARBONNIER_EPSILON = 1e-6
"""Added to the squared difference: about the square of a quarter of an 8-bit level."""

RELATIVE_EPSILON = 1e-4
"""Added to the squared error of a sample: beyond 40 dB a decibel counts for less and less. With
1e-5 nearly clean samples drowned out the others, and the network dared not touch blocks."""

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Share of red, green and blue in luma (ITU-R BT.601)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """How much each term counts."""

    pixel: float = 1.0
    """Charbonnier distance in RGB, averaged over all axes."""
    luma: float = 1.0
    """The same of luma alone. What 4:2:0 took from the colours cannot come back; without this
    term it outweighs the detail that can."""
    relative: float = 0.1
    """Logarithm of each sample's squared error, half in RGB and half in luma: a decibel counts
    the same on a good picture as on a bad one. Without it noise, whose errors are large, teaches
    the network to smooth what was clean."""

    def __post_init__(self) -> None:
        if self.pixel <= 0:
            raise ValueError(f"pixel={self.pixel} must be positive: it anchors colour and position")
        for name in ("luma", "relative"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")


def pixel_losses(
    restored_nchw: Tensor, clean_nchw: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """Return each term that counts, and their weighted sum as ``total``."""
    losses = {"pixel": charbonnier(restored_nchw, clean_nchw)}
    if weights.luma > 0 or weights.relative > 0:
        restored_luma, clean_luma = luma(restored_nchw), luma(clean_nchw)
        if weights.luma > 0:
            losses["luma"] = charbonnier(restored_luma, clean_luma)
        if weights.relative > 0:
            in_rgb, in_luma = (
                log_error(restored_nchw, clean_nchw),
                log_error(restored_luma, clean_luma),
            )
            losses["relative"] = 0.5 * (in_rgb + in_luma)
    total = torch.stack([getattr(weights, name) * term for name, term in losses.items()]).sum()
    return losses | {"total": total}


def luma(rgb_nchw: Tensor) -> Tensor:
    """Return the luma of RGB, ``[N, 1, H, W]``."""
    weights = rgb_nchw.new_tensor(LUMA_WEIGHTS)[:, None, None]
    return (rgb_nchw * weights).sum(1, keepdim=True)


def charbonnier(restored_nchw: Tensor, clean_nchw: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + epsilon): L1 that is smooth at zero."""
    return ((restored_nchw - clean_nchw).square() + CHARBONNIER_EPSILON).sqrt().mean()


def log_error(restored_nchw: Tensor, clean_nchw: Tensor) -> Tensor:
    """Mean over samples of log(MSE + epsilon): PSNR up to sign and factor."""
    errors_n = (restored_nchw - clean_nchw).square().mean((1, 2, 3))
    return (errors_n + RELATIVE_EPSILON).log().mean()
