"""Choose the colour correction of each shot, from measures of its frames.

White balance takes the light's colour from shades of gray and leaves green alone; exposure draws
black and white apart and bends the curve until brightness is a usual one. Most pictures are right
as they are, and no measure can tell a small fault from the scene's own colours: a small deviation
is left alone, and so is one so large that it must be the scene (night, snow). Brightness is judged
twice, by the whole picture and by what has detail in it, and only what both find is a fault.

Code values are used throughout: a gain of linear light is a gain of code values too, by a power.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgen.post.deflicker import smoothed
from vgen.post.shots import split_shots
from vgen.post.stats import LUMA, FrameStats
from vgen.post_options import ColorOptions
from vgen.records import Record

CAST_IGNORED, CAST_CERTAIN = 0.065, 0.09
"""Cast, as a logarithm of red or blue by green, up to which nothing is done and from which on all.
On half of the good clips shades of gray reads less than 0.05."""
MAX_CAST = math.log(1.25)
"""Largest correction of red or blue against green."""
USUAL_MEAN, USUAL_DETAIL = 0.53, 0.37
"""Mean luma of ordinary clips, and of what has detail in them; the second is put lower than it
mostly is, so that the two disagree about many good pictures, which are then left alone."""
RESPONSE = 0.8
"""How far a power is taken to move the logarithms of these luma's logarithms, as a share of its
own: a smaller one corrects more."""
BEND_IGNORED, BEND_CERTAIN = 0.04, 0.1
"""Logarithm of the power towards the usual luma: below the first nothing is done."""
BEND_DOUBTED, BEND_ABSURD = 0.45, 0.7
"""The same: from the first on less and less is done, from the second on nothing."""
MAX_BEND = math.log(1.45)
"""Largest power, and its inverse the smallest."""
DULL_BLACK, DULL_WHITE = 0.25, 0.65
"""Only a picture whose darkest or brightest luma does not reach these is drawn apart."""
DARK_WHITE = (0.05, 0.25)
"""Brightest luma up to which a picture is no picture, such as the black before a film, and from
which on it is."""
MAX_STRETCH = 1.3
"""Largest factor of contrast."""
MATCH_LIMITS = (0.5, 2.0)
"""Smallest and largest factor of contrast when a reference is matched."""
KNOTS_PER_DRIFT = 4
"""Knots in the time that a drifting correction takes to change."""
_YCC = np.array([LUMA, np.array([0, 0, 1]) - LUMA, np.array([1, 0, 0]) - LUMA])


class Grade(Record):
    """One correction: ``clamp(matrix rgb1) ** power``."""

    frame: int
    """The frame it holds at; between two it is interpolated."""
    matrix: tuple[float, ...]
    """Three rows of four, the last column is added."""
    power: float
    """Applied to each code value."""


class ShotColor(Record):
    """The corrections of one shot; a single one is constant."""

    start: int
    """Number of the shot's first frame."""
    grades: tuple[Grade, ...]
    """In the order of their frames, at least one."""


class ColorPlan(Record):
    """The corrections of all shots, in order."""

    shots: tuple[ShotColor, ...] = ()


def plan_color(
    stats: Sequence[FrameStats],
    cuts: Sequence[int],
    options: ColorOptions,
    *,
    reference: FrameStats | None = None,
) -> ColorPlan:
    """Choose the correction of each shot.

    Args:
        stats: A row a frame, in order and without a gap.
        cuts: Numbers of the frames that start a shot.
        options: What the person asked for.
        reference: What was measured of the still to match (``measure_picture``), which takes
            the place of white balance and exposure.

    Raises:
        ValueError: the options name a reference and none is given, or the reverse.
    """
    if (options.reference is None) != (reference is None):
        raise ValueError(f"the options name the reference {options.reference!r}, got {reference}")
    shots = []
    for shot in split_shots(stats, cuts):
        looks = _looks(shot, options)
        grades = [
            _automatic(look, options) if reference is None else _matched(look, reference)
            for look in looks
        ]
        shots.append(ShotColor(start=shot[0].frame, grades=tuple(grades)))
    return ColorPlan(shots=tuple(shots))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What a shot, or a moment of it, looks like."""

    frame: int
    cast: tuple[float, float]
    """Red and blue against green, logarithms."""
    black: float
    white: float
    detail: float
    mean_ycc: NDArray[np.float64]
    spread_ycc: NDArray[np.float64]


def _looks(shot: Sequence[FrameStats], options: ColorOptions) -> list[_Look]:
    table = np.array([_figures(row) for row in shot])
    frames = np.array([row.frame for row in shot])
    table = _known(table)
    if options.drift_frames == 0 or len(shot) <= options.drift_frames:
        return [_look(shot[0].frame, np.median(table, axis=0))]
    columns = [smoothed(column, half_period=options.drift_frames) for column in table.T]
    slow = np.stack(columns, axis=1)
    count = 2 + KNOTS_PER_DRIFT * len(shot) // options.drift_frames
    at = np.unique(np.linspace(0, len(shot) - 1, count).round().astype(int))
    return [_look(int(frames[t]), slow[t]) for t in at]


def _figures(row: FrameStats) -> list[float]:
    red, green, blue = row.illuminant or (math.nan, math.nan, math.nan)
    cast = [red - green, blue - green]
    return [*cast, row.luma[0], row.luma[-1], row.detail, *row.mean_ycc, *row.spread_ycc]


def _known(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill what single frames do not tell with what the shot's others do; with 0 if none does."""
    typical = [np.median(c[~np.isnan(c)]) if not np.isnan(c).all() else 0.0 for c in table.T]
    return np.where(np.isnan(table), np.array(typical), table)


def _look(frame: int, row: NDArray[np.float64]) -> _Look:
    return _Look(
        frame=frame,
        cast=(float(row[0]), float(row[1])),
        black=float(row[2]),
        white=float(row[3]),
        detail=float(row[4]),
        mean_ycc=row[5:8],
        spread_ycc=row[8:11],
    )


def _automatic(look: _Look, options: ColorOptions) -> Grade:
    gains = _balance(look.cast, options.white_balance)
    stretch, shift = _stretch(look.black, look.white, options.exposure)
    mean = float(LUMA @ (gains * (np.linalg.inv(_YCC) @ look.mean_ycc)))
    detail = look.detail * mean / max(float(look.mean_ycc[0]), 1e-6)
    bend = options.exposure * _bend(mean * stretch + shift, detail * stretch + shift)
    matrix = np.concatenate([np.diag(gains * stretch), np.full((3, 1), shift)], axis=1)
    return _grade(look.frame, matrix, math.exp(bend))


def _balance(cast: tuple[float, float], share: float) -> NDArray[np.float64]:
    """Return the gains of red, green and blue."""
    certainty = _rise(max(map(abs, cast)), CAST_IGNORED, CAST_CERTAIN)
    red, blue = (share * certainty * min(max(-c, -MAX_CAST), MAX_CAST) for c in cast)
    return np.array([math.exp(red), 1.0, math.exp(blue)])


def _stretch(black: float, white: float, share: float) -> tuple[float, float]:
    """Return factor and summand that draw black and white apart; of a dark screen, hardly any."""
    share *= _rise(white, *DARK_WHITE)
    low, high = max(black - DULL_BLACK, 0.0) * share, 1 - max(DULL_WHITE - white, 0.0) * share
    factor = min(1 / max(high - low, 1e-3), MAX_STRETCH)
    # Where the factor is limited, what is missing is shared between both ends.
    middle = low / max(1 - (high - low), 1e-9)
    return factor, middle * (1 - factor)


def _bend(mean: float, detail: float) -> float:
    """Return the logarithm of the power towards the usual luma, the lesser of the two found."""
    if not (0 < mean < 1 and 0 < detail < 1):
        return 0.0
    usual = ((mean, USUAL_MEAN), (detail, USUAL_DETAIL))
    bends = [math.log(math.log(aim) / math.log(luma)) / RESPONSE for luma, aim in usual]
    if min(bends) < 0 < max(bends):
        return 0.0
    bend = min(bends, key=abs)
    certainty = _rise(abs(bend), BEND_IGNORED, BEND_CERTAIN)
    certainty *= 1 - _rise(abs(bend), BEND_DOUBTED, BEND_ABSURD)
    return certainty * min(max(bend, -MAX_BEND), MAX_BEND)


def _matched(look: _Look, reference: FrameStats) -> Grade:
    """Give each axis of luma and colour difference the reference's mean and spread.

    Reinhard et al., "Color transfer between images", 2001, on the axes of code values.
    """
    ratio = np.array(reference.spread_ycc) / np.maximum(look.spread_ycc, 1e-4)
    ratio = np.clip(ratio, *MATCH_LIMITS)
    shift = np.array(reference.mean_ycc) - ratio * look.mean_ycc
    back = np.linalg.inv(_YCC)
    matrix = np.concatenate([back @ (ratio[:, None] * _YCC), (back @ shift)[:, None]], axis=1)
    return _grade(look.frame, matrix, 1.0)


def _grade(frame: int, matrix: NDArray[np.float64], power: float) -> Grade:
    numbers = tuple(round(float(number), 6) for number in matrix.ravel())
    return Grade(frame=frame, matrix=numbers, power=round(power, 6))


def _rise(value: float, start: float, stop: float) -> float:
    """Return 0 up to ``start`` and 1 from ``stop`` on, smooth between."""
    t = min(max((value - start) / (stop - start), 0.0), 1.0)
    return t * t * (3 - 2 * t)
