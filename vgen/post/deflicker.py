"""Take out flicker of the brightness, shot by shot; slower changes stay.

The brightness of a shot is followed from frame to frame by the logarithm of its ratio, a robust one
that does not see what merely moves. Its smooth part is Whittaker's (1923): the series that is
nearest to the measured one with the least squared second difference, so that straight fades are
kept exactly, ends need no special case, and nothing is delayed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor

from vgen.post.options import DeflickerOptions
from vgen.post.shots import split_shots
from vgen.post.stats import FrameStats
from vgen.records import Record


class DeflickerPlan(Record):
    """A factor a frame."""

    first: int = 0
    """Number of the first frame."""
    gains: tuple[float, ...] = ()
    """What each frame's code values are multiplied by."""


def plan_deflicker(
    stats: Sequence[FrameStats], cuts: Sequence[int], options: DeflickerOptions
) -> DeflickerPlan:
    """Choose the factors; those of a shot do not depend on other shots."""
    logs = [
        _flicker(np.array([0.0] + [row.log_gain for row in shot[1:]]), options)
        for shot in split_shots(stats, cuts)
    ]
    gains = [round(float(gain), 6) for log in logs for gain in np.exp(-log)]
    return DeflickerPlan(first=stats[0].frame if stats else 0, gains=tuple(gains))


def smoothed(series: NDArray[np.float64], *, half_period: float) -> NDArray[np.float64]:
    """Return the slow part of a series; half of a wave of ``2 * half_period`` samples is kept."""
    if len(series) < 3:
        return series
    # The smoother's response is 1 / (1 + weight (2 sin(w / 2))^4).
    weight = (2 * np.sin(np.pi / (2 * half_period) / 2)) ** -4
    bands = np.zeros((3, len(series)))
    for at in range(3):
        # The pentadiagonal D'D of second differences, as sums over its rows (1, -2, 1).
        stop = len(series) - 2 + at
        bands[2, at:stop] += weight * (1.0, 4.0, 1.0)[at]
    bands[1, 1:-1] += weight * -2.0
    bands[1, 2:] += weight * -2.0
    bands[0, 2:] += weight
    bands[2] += 1.0
    return np.asarray(linalg.solveh_banded(bands, series))


class Deflicker:
    """Multiplies every frame by its factor."""

    lead = tail = 0

    def __init__(self, plan: DeflickerPlan) -> None:
        """Frames outside the plan stay as they are."""
        self._plan = plan

    def apply(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return the frames with steady brightness."""
        gains_t = frames_tchw.new_tensor([self._gain(number) for number in numbers])
        return (frames_tchw * gains_t[:, None, None, None]).clamp(0, 1)

    def _gain(self, number: int) -> float:
        at = number - self._plan.first
        return self._plan.gains[at] if 0 <= at < len(self._plan.gains) else 1.0


def _flicker(steps: NDArray[np.float64], options: DeflickerOptions) -> NDArray[np.float64]:
    brightness = np.cumsum(steps)
    flicker = brightness - smoothed(brightness, half_period=options.smoothness)
    limit = np.log1p(options.max_change)
    return np.clip(flicker, -limit, limit)
