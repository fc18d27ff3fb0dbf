"""Grow frames to the size a network takes.

Axes: n batch, c channel, h height, w width.
"""

import torch
from torch import Tensor


def padded(frames_nchw: Tensor, multiple: int) -> Tensor:
    """Grow frames at the right and the bottom to multiples of ``multiple``; channels last.

    The picture is mirrored there, or its edge repeated where it is too small for a mirror.
    """
    height, width = frames_nchw.shape[-2:]
    tall, wide = rounded_up(height, multiple), rounded_up(width, multiple)
    padded_nchw = torch.empty(
        (*frames_nchw.shape[:2], tall, wide),
        dtype=frames_nchw.dtype,
        device=frames_nchw.device,
        memory_format=torch.channels_last,
    )
    padded_nchw[..., :height, :width] = frames_nchw
    # One pass over the frame; torch's own padding costs three with the change of layout.
    for target, source in _mirrored(height, tall):
        padded_nchw[..., target, :width] = padded_nchw[..., source, :width]
    for target, source in _mirrored(width, wide):
        padded_nchw[..., target] = padded_nchw[..., source]
    return padded_nchw


def _mirrored(length: int, padded: int) -> list[tuple[int, int]]:
    """Return (target, source) positions that fill ``[length, padded)``."""
    is_small = padded - length >= length
    return [(at, length - 1 if is_small else 2 * length - 2 - at) for at in range(length, padded)]


def rounded_up(length: int, multiple: int) -> int:
    """Return the least multiple of ``multiple`` that is not below ``length``."""
    return -(-length // multiple) * multiple
