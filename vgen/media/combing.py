"""Whether the two fields of a frame were taken at one moment, seen from its pixels.

Woven from two moments, a moving picture shows comb teeth. Three weaves are compared where the
picture moves: the frame's own, its lines with those of the neighbour that the top-field-first order
puts next to them, and with those of the other one. This is the comparison of FFmpeg's idet filter
(N. Wallace and others), confined to what moves, so that still detail does not drown the teeth.
Axes: h line, w column.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import log
from typing import Literal, TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from vgen.media.pixels import planes_of

Verdict = Literal["tff", "bff", "progressive", "unclear"]
"""Interlaced with the top or the bottom field first, or of one moment, or not to be told."""
Lines: TypeAlias = NDArray[np.int16]
"""``[H, W / step]``: all lines of the first plane, some columns, in 8-bit levels."""

_COLUMNS = 360  # enough teeth to count, at a tenth of what decoding a frame takes
_MOVED = 10  # levels; noise and compression stay below
_MIN_MOVING = 400  # samples; fewer say nothing of an order that shows in sums
# Natural logarithms of ratios of comb energy, from 35 clips: progressive ones stay below a third
# of the first ratio in the second, interlaced ones above 0.8 of it.
_FITS = 0.22
_PROGRESSIVE_SLOPE = 0.3
_ORDERED = 0.1
_INTERLACED_SLOPE = 0.8
_JOINS = 0.4  # film frames reach 0.6 and more; video stays within 0.3, but for single frames
_REPEATED = 0.4  # a repeated field differs by what compression adds, the other one by the motion
_CYCLE = 5  # frames in which 3:2 pulldown repeats one field of each parity


def picture_lines(frame: av.VideoFrame) -> Lines:
    """Return the luma (of RGB, the green) of a planar frame, columns thinned out."""
    plane = planes_of(frame)[0]
    step = max(1, plane.shape[1] // _COLUMNS)
    thin = plane[:, step // 2 :: step]
    shift = frame.format.components[0].bits - 8
    return (thin >> shift if shift else thin).astype(np.int16)


def judge_fields(before: Lines | None, current: Lines, after: Lines | None) -> Verdict:
    """Say how the fields of ``current`` lie in time, from its two neighbours; both are needed."""
    if before is None or after is None or len(current) < 4:
        return "unclear"
    own = current[1:-1]
    earlier, later = before[1:-1], after[1:-1]
    moving = (np.abs(own - earlier) > _MOVED) | (np.abs(own - later) > _MOVED)
    if np.count_nonzero(moving) < _MIN_MOVING:
        return "unclear"
    around = current[:-2] + current[2:]
    as_is = _teeth(around, own, moving).sum()
    with_earlier, with_later = (
        np.array([energy[0::2].sum(), energy[1::2].sum()], np.float64)
        for energy in (_teeth(around, earlier, moving), _teeth(around, later, moving))
    )
    # Row 0 here is line 1, of the bottom field: shown top first, it is followed by the next top.
    top_first = with_earlier[0] + with_later[1] + 1.0
    bottom_first = with_later[0] + with_earlier[1] + 1.0
    order = log(bottom_first / top_first)
    fit = log(min(top_first, bottom_first) / (float(as_is) + 1.0))
    if fit > _FITS and abs(order) < _PROGRESSIVE_SLOPE * fit:
        return "progressive"
    if abs(order) > max(_ORDERED, _INTERLACED_SLOPE * fit):
        return "tff" if order > 0 else "bff"
    return "unclear"


def follows_film(before: Lines | None, current: Lines, order: Literal["tff", "bff"]) -> bool:
    """Whether the first field of a woven film frame belongs with the second field before it."""
    if before is None or len(current) < 4:
        return False
    second = slice(0, None, 2) if order == "tff" else slice(1, None, 2)  # row 0 is line 1
    own, earlier = current[1:-1][second], before[1:-1][second]
    around = (current[:-2] + current[2:])[second]
    moving = np.abs(own - earlier) > _MOVED
    as_is, joined = (_teeth(around, line, moving).sum() + 1.0 for line in (own, earlier))
    return log(float(as_is) / float(joined)) > _JOINS


def _teeth(around: Lines, between: Lines, moving: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return each line's sum of how far samples stand out from the lines above and below."""
    teeth = np.where(moving, np.abs(around - 2 * between), 0)
    energy: NDArray[np.int64] = teeth.sum(axis=1, dtype=np.int64)
    return energy


def has_pulldown(run: Sequence[Lines]) -> bool:
    """Whether fields repeat in the rhythm of 3:2 pulldown over consecutive frames, at least 11.

    In each cycle of five frames one top field and one bottom field equal the frame's before.
    """
    if len(run) < 2 * _CYCLE + 1:
        return False
    top, bottom = ([_change(a, b, parity) for a, b in pairwise(run)] for parity in (0, 1))
    tops = [n for n, (a, b) in enumerate(zip(top, bottom, strict=True)) if a < _REPEATED * b]
    bottoms = [n for n, (a, b) in enumerate(zip(top, bottom, strict=True)) if b < _REPEATED * a]
    phases = [{n % _CYCLE for n in repeats} for repeats in (tops, bottoms)]
    is_regular = all(len(phase) == 1 for phase in phases) and phases[0] != phases[1]
    num_cycles = (len(run) - 1) // _CYCLE
    return is_regular and min(len(tops), len(bottoms)) >= num_cycles


def _change(before: Lines, after: Lines, parity: int) -> float:
    """Return the mean change of one field where it changes beyond noise."""
    change = np.abs(after[parity::2] - before[parity::2])
    return float(np.where(change > _MOVED, change, 0).mean())
