"""What counts as close to the clean picture.

Axes: n batch, c channel, h height, w width. Tensors are float32, nominally in [0, 1].
"""

from dataclasses import dataclass

from torch import Tensor

CHARBONNIER_EPSILON = 1e-6
"""Added to the squared difference: about the square of a quarter of an 8-bit level."""

RELATIVE_EPSILON = 2e-4
"""Added to the squared error of a sample: beyond 37 dB a decibel counts for less and less. With
1e-5 nearly clean samples drowned out the others, and the network dared not touch blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """How much each term counts."""

    pixel: float = 1.0
    """Charbonnier distance, averaged over all axes."""
    relative: float = 0.1
    """Logarithm of each sample's squared error: a decibel counts the same on a good picture as
    on a bad one. Without it noise, whose errors are large, teaches the network to smooth what
    was clean."""

    def __post_init__(self) -> None:
        if self.pixel <= 0:
            raise ValueError(f"pixel={self.pixel} must be positive: it anchors colour and position")
        if self.relative < 0:
            raise ValueError(f"relative={self.relative} must not be negative")


def pixel_losses(
    restored_nchw: Tensor, clean_nchw: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """Return each term that counts, and their weighted sum as ``total``."""
    losses = {"pixel": charbonnier(restored_nchw, clean_nchw)}
    total = weights.pixel * losses["pixel"]
    if weights.relative > 0:
        losses["relative"] = log_error(restored_nchw, clean_nchw)
        total = total + weights.relative * losses["relative"]
    return losses | {"total": total}


def charbonnier(restored_nchw: Tensor, clean_nchw: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + epsilon): L1 that is smooth at zero."""
    return ((restored_nchw - clean_nchw).square() + CHARBONNIER_EPSILON).sqrt().mean()


def log_error(restored_nchw: Tensor, clean_nchw: Tensor) -> Tensor:
    """Mean over samples of log(MSE + epsilon): PSNR up to sign and factor."""
    errors_n = (restored_nchw - clean_nchw).square().mean((1, 2, 3))
    return (errors_n + RELATIVE_EPSILON).log().mean()
