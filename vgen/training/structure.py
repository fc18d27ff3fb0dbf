"""Distances to the clean picture that look at structure: frequencies, edges, motion, colour.

Each is a mean over everything, so that weights do not depend on sizes. All compute in float32,
also under autocast.

Axes: n batch, t time, c channel, h height, w width. Tensors are RGB, nominally in [0, 1].
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from vgen.training.objective import luma

SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
"""Horizontal derivative; an edge between 0 and 1 gives 4."""
LOW_PASS_PX = 8
"""Side of the blocks whose mean colour must stay."""


def fft_l1(restored_nchw: Tensor, clean_nchw: Tensor) -> Tensor:
    """Mean magnitude of the difference's spectrum, orthonormal: white noise costs its L1.

    A difference spread over all pixels is as dear as one in few frequencies (Cho et al., 2021).
    """
    spectrum = torch.fft.rfft2((restored_nchw - clean_nchw).float(), norm="ortho")
    distance: Tensor = spectrum.abs().mean()
    return distance


def sobel_l1(restored_nchw: Tensor, clean_nchw: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical Sobel derivatives of luma.

    At the picture's border there is no derivative.
    """
    horizontal = clean_nchw.new_tensor(SOBEL, dtype=torch.float32)
    kernels = torch.stack([horizontal, horizontal.T])[:, None]
    difference = luma((restored_nchw - clean_nchw).float())
    with torch.autocast(difference.device.type, enabled=False):
        return functional.conv2d(difference, kernels).abs().mean()


def temporal_l1(restored_ntchw: Tensor, clean_ntchw: Tensor) -> Tensor:
    """Mean absolute difference of the changes from frame to frame.

    Raises:
        ValueError: there are fewer than two frames.
    """
    if clean_ntchw.shape[1] < 2:
        raise ValueError(f"changes need two frames at least, got {clean_ntchw.shape[1]}")
    return (restored_ntchw - clean_ntchw).float().diff(dim=1).abs().mean()


def low_pass_l1(restored_nchw: Tensor, clean_nchw: Tensor) -> Tensor:
    """Mean absolute difference of the mean colours of blocks of 8x8 pixels.

    It holds colour and brightness in place while an adversary is free to change detail.
    """
    return functional.avg_pool2d((restored_nchw - clean_nchw).float(), LOW_PASS_PX).abs().mean()


def feature_matching(
    restored_features: Sequence[Tensor], clean_features: Sequence[Tensor]
) -> Tensor:
    """Mean over layers of the mean absolute difference of a network's activations.

    Of a discriminator (Salimans et al., 2016), or of the encoder of a frozen restorer; no
    gradient goes to the clean side.

    Raises:
        ValueError: there are not as many layers on both sides, or none.
    """
    ours, theirs = len(restored_features), len(clean_features)
    if ours != theirs or not ours:
        raise ValueError(f"expected as many layers on both sides, got {ours} and {theirs}")
    terms = [
        (restored - clean.detach()).float().abs().mean()
        for restored, clean in zip(restored_features, clean_features, strict=True)
    ]
    return torch.stack(terms).mean()
