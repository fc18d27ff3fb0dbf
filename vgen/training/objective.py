"""What counts as close to the clean picture.

Axes: n batch, c channel, h height, w width. Tensors are float32, nominally in [0, 1].
"""

import torch
from torch import Tensor

from vgen.training.choices import LossWeights

CHARBONNIER_EPSILON = 1e-6
"""Added to the squared difference: about the square of a quarter of an 8-bit level."""

RELATIVE_EPSILON = 1e-4
"""Added to the squared error of a sample: beyond 40 dB a decibel counts for less and less. With
1e-5 nearly clean samples drowned out the others, and the network dared not touch blocks."""

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Share of red, green and blue in luma (ITU-R BT.601)."""


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
