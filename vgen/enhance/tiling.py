"""Run a network over overlapping tiles, and get what the whole picture would give.

Tiles start at multiples of the network's stride and overlap by its receptive radius, so every
kept sample saw all the input it depends on; picture borders stay picture borders. Positions are in
input pixels of the padded frame; features and outputs may be smaller or larger by a whole
factor.

Axes: n batch, c channel, h height, w width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from vgen.models.spec import ModelSpec

Windows = Sequence[Sequence[Tensor]]
"""Windows in a batch, and in each the tensors of its frames, ``[1, C, h, w]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One axis of a tile: ``[start, stop)`` is kept of what is computed on ``[begin, end)``."""

    begin: int
    start: int
    stop: int
    end: int


def cut_axis(length: int, *, side: int, spec: ModelSpec) -> tuple[Tile, ...]:
    """Cut ``length`` pixels, a multiple of the stride, into equal tiles of at most ``side``.

    ``side`` is rounded down to a stride, and never below one.
    """
    stride = spec.multiple_of
    overlap = -(-spec.receptive_radius // stride) * stride
    strides = length // stride
    count = -(-strides // max(side // stride, 1))
    edges = [stride * (strides * index // count) for index in range(count + 1)]
    return tuple(
        Tile(begin=max(a - overlap, 0), start=a, stop=b, end=min(b + overlap, length))
        for a, b in pairwise(edges)
    )


def run_tiled(
    function: Callable[[Windows], Tensor],
    inputs: Windows,
    *,
    height: int,
    width: int,
    side: int,
    spec: ModelSpec,
) -> Tensor:
    """Return ``function(inputs)``, computed tile by tile.

    Args:
        function: Local to ``spec.receptive_radius``; output one whole factor larger or smaller.
        inputs: All of one size, ``[..., h, w]``, over frames of ``height`` x ``width`` pixels.
        height: Of the padded frame.
        width: Of the padded frame.
        side: Longest side kept of a tile, in frame pixels.
        spec: What the network needs.
    """
    out: Tensor | None = None
    h, w = inputs[0][0].shape[-2:]
    for rows in cut_axis(height, side=side, spec=spec):
        for columns in cut_axis(width, side=side, spec=spec):
            down = _part(rows.begin, rows.end, h, height)
            across = _part(columns.begin, columns.end, w, width)
            made = function([[frame[..., down, across] for frame in window] for window in inputs])
            tall = made.shape[-2] * height // (rows.end - rows.begin)
            wide = made.shape[-1] * width // (columns.end - columns.begin)
            if out is None:
                out = torch.empty(
                    (*made.shape[:-2], tall, wide),
                    dtype=made.dtype,
                    device=made.device,
                    memory_format=torch.channels_last,
                )
            kept = made[
                ...,
                _part(rows.start - rows.begin, rows.stop - rows.begin, tall, height),
                _part(columns.start - columns.begin, columns.stop - columns.begin, wide, width),
            ]
            out[
                ...,
                _part(rows.start, rows.stop, tall, height),
                _part(columns.start, columns.stop, wide, width),
            ] = kept
    assert out is not None
    return out


def _part(start: int, stop: int, samples: int, pixels: int) -> slice:
    """Return ``[start, stop)``, given in frame pixels, in samples of which a frame has so many."""
    return slice(start * samples // pixels, stop * samples // pixels)
