"""What counts as close to the clean picture.

Axes: n batch, c channel, h height, w width. Tensors are float32, nominally in [0, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

CHARBONNIER_EPSILON = 1e-6
"""Added to the squared difference: about the square of a quarter of an 8-bit level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """How much each term counts."""

    pixel: float = 1.0
    """Charbonnier distance, averaged over all axes."""
    frequency: float = 0.05
    """L1 distance of orthonormal spectra: keeps fine texture from being averaged away."""

    def __post_init__(self) -> None:
        if self.pixel <= 0:
            raise ValueError(f"pixel={self.pixel} must be positive: it anchors colour and position")
        if self.frequency < 0:
            raise ValueError(f"frequency={self.frequency} must not be negative")


def pixel_losses(
    restored_nchw: Tensor, clean_nchw: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """Return each term that counts, and their weighted sum as ``total``."""
    losses = {"pixel": charbonnier(restored_nchw, clean_nchw)}
    total = weights.pixel * losses["pixel"]
    if weights.frequency > 0:
        losses["frequency"] = spectral_distance(restored_nchw, clean_nchw)
        total = total + weights.frequency * losses["frequency"]
    return losses | {"total": total}


def charbonnier(restored_nchw: Tensor, clean_nchw: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + epsilon): L1 that is smooth at zero."""
    return ((restored_nchw - clean_nchw).square() + CHARBONNIER_EPSILON).sqrt().mean()


def spectral_distance(restored_nchw: Tensor, clean_nchw: Tensor) -> Tensor:
    """Mean modulus of the difference of 2-D spectra, scaled so that white noise keeps its size."""
    # One transform of the difference: the transform is linear.
    spectrum: Tensor = torch.fft.rfft2(restored_nchw - clean_nchw, norm="ortho")
    return spectrum.abs().mean()
