"""Where a picture lies between black bars: letterboxed, pillarboxed, or both.

A row or column belongs to a bar if practically all of it is black. Dark scenes and titles have such
rows too; what tells a bar is that the picture behind it begins all along a straight line. Text that
stands in a bar by itself, such as a subtitle, is no picture.

Sides are in the order left, top, right, bottom throughout.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

BLACK = 12
"""8-bit level of R'G'B' up to which a pixel is black: code 0 with what compression adds."""
MAX_LIT = 0.01
"""Largest share of other pixels in a row of a bar."""
MIN_STRAIGHT = 0.5
"""Share of other pixels that the rows just behind a bar have at least; rows of text, and of what
stands out in a dark scene, have less."""
STRAIGHT_ROWS = slice(2, 6)
"""Which rows behind a bar are looked at: past the one mixed of both and what coding smears, and
more of them than the stroke of a letter is wide."""
MAX_TEXT = 0.25
"""Share of the picture's height within which text in a bar ends."""
MIN_SIDE = 32
"""Smaller pictures have no bars."""
MIN_INSIDE = 8
"""Fewer rows or columns between bars are no picture."""
NEAR = 0.01
"""Shares of a side that differ less are those of the same bar."""
OTHERS, OTHER_FRAMES = 0.03, 0.2
"""Bars that are wider by more than this share of a side, in so many of a shot's frames, are others:
text joins picture and bar at times, or a boxed picture comes after one that is not, with no cut."""
SPLIT_PX = 0.1
"""What a bar may cover of a row that is taken for one inside, in pixels of the full picture."""

Sides = tuple[float, float, float, float]
Shares = NDArray[np.float64]
"""Of each row, or column, what is lit."""
_Side = tuple[float, bool]  # how wide it is black, and whether that is a bar
WHOLE: Sides = (0.0, 0.0, 1.0, 1.0)
"""The inside of a picture without bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """How much of a picture is black at its sides."""

    widths: Sides
    """Black from each side on, as shares of the picture's width and height."""
    are_straight: tuple[bool, bool, bool, bool]
    """Whether that is a bar; otherwise it may be the scene, and a bar, if any, is no wider."""

    @property
    def inside(self) -> Sides:
        """Where the picture begins and ends, as shares; what may be the scene belongs to it."""
        pairs = zip(self.widths, self.are_straight, strict=True)
        left, top, right, bottom = (width if is_bar else 0.0 for width, is_bar in pairs)
        return left, top, 1 - right, 1 - bottom


NO_BARS = Bars(widths=(0.0, 0.0, 0.0, 0.0), are_straight=(False, False, False, False))
"""Of a picture that reaches to all sides."""


def find_bars(small_hwc: NDArray[np.uint8]) -> Bars | None:
    """Return the bars of a small RGB picture; None where all is black, which tells nothing."""
    if min(small_hwc.shape[:2]) < MIN_SIDE:
        return NO_BARS
    edges = (small_hwc[0], small_hwc[-1], small_hwc[:, 0], small_hwc[:, -1])
    if all((edge_nc.max(axis=1) > BLACK).mean() > MAX_LIT for edge_nc in edges):
        return NO_BARS  # most pictures, at a tenth of the time
    red_hw, green_hw, blue_hw = cv2.split(small_hwc)
    level_hw = np.asarray(cv2.max(cv2.max(red_hw, green_hw), blue_hw), np.uint8)
    is_lit_hw = level_hw > BLACK
    rows = columns = slice(None)
    # Rows count between the columns that are lit, and these between those rows.
    for _ in range(2):
        rows = _lit(is_lit_hw[:, columns].mean(axis=1), first_row=_past_text)
        if rows.stop - rows.start < MIN_INSIDE:
            return None
        columns = _lit(is_lit_hw[rows].mean(axis=0), first_row=_first_lit)
        if columns.stop - columns.start < MIN_INSIDE:
            return None
    (left, right), (top, bottom) = (
        _ends(level_hw[rows].T, columns),
        _ends(level_hw[:, columns], rows),
    )
    return _bars(left, top, right, bottom)


def _bars(left: _Side, top: _Side, right: _Side, bottom: _Side) -> Bars:
    return Bars(
        widths=(left[0], top[0], right[0], bottom[0]),
        are_straight=(left[1], top[1], right[1], bottom[1]),
    )


def common_bars(seen: Iterable[Bars | None]) -> Bars:
    """Return the bars of a shot from those of its pictures: the narrowest on each side.

    Where a picture is dark at a side, the others tell whether there is a bar.
    """
    known = [bars for bars in seen if bars is not None]
    if not known:
        return NO_BARS
    widths_ts = np.array([bars.widths for bars in known])
    is_bar_ts = np.array([bars.are_straight for bars in known])
    is_bar_ts &= widths_ts < widths_ts.min(axis=0) + NEAR
    left, top, right, bottom = (
        (float(np.median(widths[is_bar])), True) if is_bar.any() else (float(widths.min()), False)
        for widths, is_bar in zip(widths_ts.T, is_bar_ts.T, strict=True)
    )
    return _bars(left, top, right, bottom)


def are_changing(seen: Iterable[Bars | None]) -> bool:
    """Whether many pictures of a shot agree on wider bars than the others have."""
    known = [bars for bars in seen if bars is not None]
    left, top, right, bottom = common_bars(known).inside
    for side, width in enumerate((left, top, 1 - right, 1 - bottom)):
        widths = [bars.widths[side] for bars in known if bars.are_straight[side]]
        wider = np.array([other for other in widths if other > width + OTHERS])
        alike = np.abs(wider - np.median(wider)) < NEAR if len(wider) else wider
        if float(alike.sum()) > OTHER_FRAMES * len(known):
            return True
    return False


def pixels_inside(inside: Sides, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns between the bars, as near to them as they come."""
    left, top, right, bottom = inside
    rows, columns = (
        slice(math.ceil(start * size - SPLIT_PX), math.floor(stop * size + SPLIT_PX))
        for start, stop, size in ((top, bottom, height), (left, right, width))
    )
    return rows, columns


def part_inside(inside: Sides, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of a picture that hold nothing of its bars.

    Beside a bar one more is left out, as coding smears it.
    """
    left, top, right, bottom = inside
    return _within(top, bottom, height), _within(left, right, width)


def _within(start: float, stop: float, size: int) -> slice:
    # A hundredth of a row is no row.
    first = math.ceil(start * size - 0.01) + 1 if start > 0 else 0
    last = math.floor(stop * size + 0.01) - 1 if stop < 1 else size
    return slice(first, last)


def _lit(share_n: Shares, *, first_row: Callable[[Shares], int]) -> slice:
    """Return where the picture begins and ends among rows, or columns, of which shares are lit."""
    return slice(first_row(share_n), len(share_n) - first_row(share_n[::-1]))


def _first_lit(share_n: Shares) -> int:
    """Return the first row that is not black; all rows if none is."""
    is_lit_n = share_n > MAX_LIT
    return int(is_lit_n.argmax()) if is_lit_n.any() else len(share_n)


def _past_text(share_n: Shares) -> int:
    """Return the same, but past text that stands between black rows."""
    first = _first_lit(share_n)
    is_lit_n = share_n > MAX_LIT
    begins_n = np.flatnonzero(is_lit_n[1:] & ~is_lit_n[:-1]) + 1
    near = begins_n[begins_n <= first + MAX_TEXT * len(share_n)].tolist() if first else []
    return next((start for start in near if _is_straight(share_n, start)), first)


def _is_straight(share_n: Shares, start: int) -> bool:
    return bool(share_n[start:][STRAIGHT_ROWS].min(initial=1.0) >= MIN_STRAIGHT)


def _ends(level_nm: NDArray[np.uint8], lit: slice) -> tuple[_Side, _Side]:
    """Return how wide it is black before and after the rows that are lit, and if it is a bar."""
    share_n, mean_n = (level_nm > BLACK).mean(axis=1), level_nm.mean(axis=1)
    before, after = lit.start, len(share_n) - lit.stop
    return _end(share_n, mean_n, before), _end(share_n[::-1], mean_n[::-1], after)


def _end(share_n: Shares, mean_n: NDArray[np.float64], start: int) -> _Side:
    if not start or not _is_straight(share_n, start):
        return start / len(share_n), False
    # The bar's edge lies within the first row by as much as that is darker than the next one.
    mixed = min(float(mean_n[start] / mean_n[start + 1]), 1.0)
    return (start + 1 - mixed) / len(share_n), True
