"""Resize planes by whole factors with the sample positions stated, not assumed.

``torch.nn.functional.interpolate`` knows two placements of samples; chroma has six, so the
phases are spelled out here. Edges repeat the outermost sample.

Axes: n batch, h height, w width; float tensors ``[..., H, W]``; ``dim`` is -1 or -2.
"""

import math
from typing import Literal

import torch
from torch import Tensor

Kernel = Literal["linear", "cubic"]

_CUBIC_A = -0.75
"""Keys' parameter as torch's bicubic has it, so that planes and networks agree on the base."""
_REACH = 3
"""Taps lie within this many samples of the one at or before the position."""


def upsample(
    planes_nhw: Tensor, *, factor: int, shift: float, size: int, dim: int, kernel: Kernel
) -> Tensor:
    """Resize one axis so that output ``x`` shows the input at position ``x / factor + shift``.

    Args:
        planes_nhw: Samples.
        factor: Output samples for one input sample, at least 1.
        shift: In input samples, in (-1, 1).
        size: Output samples; at most ``factor`` times the input's.
        dim: The axis.
        kernel: linear, or the cubic convolution of Keys with a = -0.75.
    """
    if factor == 1 and shift == 0:
        return planes_nhw
    padded_nhw = _padded(planes_nhw, _REACH, _REACH, dim)
    shape = list(planes_nhw.shape)
    shape[dim] = size
    out_nhw = planes_nhw.new_empty(shape)
    for phase in range(min(factor, size)):
        position = phase / factor + shift
        whole = math.floor(position)
        target_nhw = _strided(out_nhw, phase, size, factor, dim)
        count = target_nhw.shape[dim]
        for index, (tap, weight) in enumerate(_taps(position - whole, kernel)):
            samples_nhw = padded_nhw.narrow(dim, _REACH + whole + tap, count)
            if index:
                target_nhw.add_(samples_nhw, alpha=weight)
            else:
                torch.mul(samples_nhw, weight, out=target_nhw)
    return out_nhw


def downsample(planes_nhw: Tensor, *, factor: int, offset: float, size: int, dim: int) -> Tensor:
    """Average one axis over the footprints, ``factor`` wide, around ``factor * j + offset``.

    A footprint that ends within a sample takes that share of it: halves of both neighbours
    where chroma is co-sited, the plain mean of ``factor`` samples where it is centred.
    """
    if factor == 1:
        return planes_nhw
    padded_nhw = _padded(planes_nhw, factor, 2 * factor, dim)
    total: Tensor | None = None
    for tap in range(-factor, 2 * factor):
        weight = _overlap(tap, offset, factor) / factor
        if weight == 0:
            continue
        first = factor + tap
        samples_nhw = _strided(padded_nhw, first, first + factor * (size - 1) + 1, factor, dim)
        total = samples_nhw * weight if total is None else total.add_(samples_nhw, alpha=weight)
    assert total is not None
    return total


def _overlap(sample: int, centre: float, width: int) -> float:
    start = max(sample - 0.5, centre - width / 2)
    stop = min(sample + 0.5, centre + width / 2)
    return max(stop - start, 0.0)


def _taps(fraction: float, kernel: Kernel) -> list[tuple[int, float]]:
    if kernel == "linear":
        weights = [(0, 1 - fraction), (1, fraction)]
    else:
        weights = [(tap, _keys(abs(fraction - tap))) for tap in (-1, 0, 1, 2)]
    return [(tap, weight) for tap, weight in weights if weight != 0]


def _keys(x: float) -> float:
    a = _CUBIC_A
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a if x < 2 else 0.0


def _strided(planes_nhw: Tensor, start: int, stop: int, step: int, dim: int) -> Tensor:
    if dim == -1:
        return planes_nhw[..., start:stop:step]
    return planes_nhw[..., start:stop:step, :]


def _padded(planes_nhw: Tensor, before: int, after: int, dim: int) -> Tensor:
    first = planes_nhw.narrow(dim, 0, 1)
    last = planes_nhw.narrow(dim, planes_nhw.shape[dim] - 1, 1)
    return torch.cat([*[first] * before, planes_nhw, *[last] * after], dim=dim)
