"""Take out flicker of the brightness, shot by shot; slower changes stay.

The brightness of a shot is followed from frame to frame by the logarithm of its ratio, which does
not see what merely moves (``vgen.post.light``); their sum strays, but slowly, as what is kept. Its
smooth part is Whittaker's (1923): the series that is nearest to the measured one with the least
second difference, so that straight fades are kept exactly, ends need no special case, and nothing
is delayed. Where a light is switched, and stays so, what lies before and after is smoothed apart.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor

from vgen.post.shots import split_shots
from vgen.post.stats import FrameStats
from vgen.post_options import DeflickerOptions
from vgen.records import Record

ROUNDS = 6
"""How often the smooth part is found; bends are sharp by then."""
BEND = 1e-4
"""Second difference of the logarithm from which on a bend counts as one."""
LASTING, LASTING_SHARE = 0.25, 0.25
"""Least change of the logarithm that counts as a light being switched, and how long it stays so and
was not so before, as a share of the half wave that is kept. At 0.15, random flicker of 8 % on a
fade is taken for it now and then."""
LEAST_FRAMES = 5
"""Fewer on either side do not tell a switch from flicker."""
AT_ONCE, STRAY = 0.45, 0.22
"""Share of that change that comes from one frame to the next, and the largest one by which four
fifths of the frames on either side stray from their middle: a fade has less of the first and more
of the second."""


class DeflickerPlan(Record):
    """A factor a frame."""

    first: int = 0
    """Number of the first frame."""
    gains: tuple[float, ...] = ()
    """What each frame's code values are multiplied by."""
    unclear: int = 0
    """Frames whose change from the frame before could not be told, and is taken for none."""


def plan_deflicker(
    stats: Sequence[FrameStats], cuts: Sequence[int], options: DeflickerOptions
) -> DeflickerPlan:
    """Choose the factors; those of a shot do not depend on other shots."""
    shots = [[row.log_gain for row in shot[1:]] for shot in split_shots(stats, cuts)]
    logs = [_flicker(np.array([0.0, *(step or 0.0 for step in shot)]), options) for shot in shots]
    gains = [round(float(gain), 6) for log in logs for gain in np.exp(-log)]
    return DeflickerPlan(
        first=stats[0].frame if stats else 0,
        gains=tuple(gains),
        unclear=sum(shot.count(None) for shot in shots),
    )


def smoothed(series: NDArray[np.float64], *, half_period: float) -> NDArray[np.float64]:
    """Return the slow part of a series, with its bends where there are any.

    Half of a wave of ``2 * half_period`` samples is kept. Where the slow part bends sharply, as at
    either end of a fade, the next of a few rounds lets it (L1 trend filtering: Kim et al. 2009).
    """
    if len(series) < 3:
        return series
    # The plain smoother's response is 1 / (1 + weight (2 sin(w / 2))^4).
    weight = (2 * np.sin(np.pi / (2 * half_period))) ** -4
    weights = np.full(len(series) - 2, weight)
    for _ in range(ROUNDS):
        slow = _whittaker(series, weights)
        weights = weight * BEND / (np.abs(np.diff(slow, 2)) + BEND)
    return slow


def _whittaker(series: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    # I + D'WD in bands, upper ones first, where each row of D is (1, -2, 1).
    bands = np.zeros((3, len(series)))
    bands[2] = 1.0
    for at, square in enumerate((1.0, 4.0, 1.0)):
        bands[2, at : at + len(weights)] += square * weights
    bands[1, 1:-1] -= 2 * weights
    bands[1, 2:] -= 2 * weights
    bands[0, 2:] = weights
    return np.asarray(linalg.solveh_banded(bands, series))


class Deflicker:
    """Multiplies every frame by its factor."""

    lead = tail = 0

    def __init__(self, plan: DeflickerPlan) -> None:
        """Frames outside the plan stay as they are."""
        self._plan = plan

    def apply(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return the frames with steady brightness."""
        gains = [self._gain(number) for number in numbers]
        if all(gain == 1 for gain in gains):
            return frames_tchw
        return frames_tchw * frames_tchw.new_tensor(gains)[:, None, None, None]

    def _gain(self, number: int) -> float:
        at = number - self._plan.first
        return self._plan.gains[at] if 0 <= at < len(self._plan.gains) else 1.0


def _flicker(steps: NDArray[np.float64], options: DeflickerOptions) -> NDArray[np.float64]:
    brightness = np.cumsum(steps)
    frames = max(round(LASTING_SHARE * options.smoothness), LEAST_FRAMES)
    parts = np.split(brightness, _switches(brightness, frames))
    slow = [smoothed(part, half_period=options.smoothness) for part in parts]
    limit = np.log1p(options.max_change)
    return np.clip(brightness - np.concatenate(slow), -limit, limit)


def _switches(brightness: NDArray[np.float64], frames: int) -> list[int]:
    """Return where the light changes at once and stays so for as many frames as it was before."""
    changes = np.abs(np.diff(brightness))
    sudden = np.flatnonzero(changes >= AT_ONCE * LASTING) + 1
    inside = sudden[(sudden >= frames) & (sudden <= len(brightness) - frames)]
    return [at for at in inside.tolist() if _is_switch(brightness[at - frames : at + frames])]


def _is_switch(around: NDArray[np.float64]) -> bool:
    halves = around.reshape(2, -1)
    middles = np.median(halves, axis=1)
    change, sudden = abs(float(middles[1] - middles[0])), abs(float(halves[1, 0] - halves[0, -1]))
    stray = float(np.quantile(np.abs(halves - middles[:, None]), 0.8))
    return change >= LASTING and sudden >= AT_ONCE * change and stray <= STRAY * change
