"""Apply the colour correction of each shot, then what a person set by hand, then a table.

Axes: t time, c channel, h height, w width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vgen.post.color import ColorPlan, ShotColor
from vgen.post.lut import Lut
from vgen.post.shots import shot_of
from vgen.post.stats import LUMA
from vgen.post_options import ColorOptions

STRONGEST_TINT = 0.2
"""Logarithm of the gain of red against blue at temperature 1, and of green at tint -1."""
_NEUTRAL = np.array([1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1])


class Color:
    """Grades frames."""

    lead = tail = 0

    def __init__(self, plan: ColorPlan, options: ColorOptions, *, lut: Lut | None = None) -> None:
        """Take the plan of the whole video, or of the shots that will be seen.

        Raises:
            ValueError: the options name a table and none is given, or the reverse.
        """
        if (options.lut is None) != (lut is None):
            raise ValueError(f"the options name the table {options.lut!r}, got {lut}")
        self._plan, self._options, self._lut = plan, options, lut
        self._starts = [shot.start for shot in plan.shots]
        warmth, tint = (STRONGEST_TINT * x for x in (options.temperature, options.tint))
        gains = np.exp([warmth / 2, -tint, -warmth / 2]) * options.gain
        self._gains = gains.tolist()
        keep = options.saturation
        self._saturation = [
            [keep * (i == j) + (1 - keep) * LUMA[j] for j in range(3)] for i in range(3)
        ]

    def apply(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return the corrected frames; the same tensor where nothing is to be done."""
        out_tchw = self._corrected(frames_tchw, numbers)
        options = self._options
        if self._gains != [1.0, 1.0, 1.0]:
            out_tchw = (out_tchw * out_tchw.new_tensor(self._gains)[:, None, None]).clamp(0, 1)
        if options.gamma != 1:
            out_tchw = out_tchw.clamp(0, 1) ** (1 / options.gamma)
        if options.saturation != 1:
            matrix = out_tchw.new_tensor(self._saturation)
            out_tchw = torch.einsum("dc,tchw->tdhw", matrix, out_tchw).clamp(0, 1)
        return out_tchw if self._lut is None else self._lut.apply(out_tchw)

    def _corrected(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        grades = np.array([self._grade(number) for number in numbers]).reshape(-1, 13)
        if np.array_equal(grades, np.broadcast_to(_NEUTRAL, grades.shape)):
            return frames_tchw
        matrices = frames_tchw.new_tensor(grades[:, :12]).reshape(-1, 3, 4)
        powers = frames_tchw.new_tensor(grades[:, 12])[:, None, None, None]
        mixed_tchw = torch.einsum("tdc,tchw->tdhw", matrices[:, :, :3], frames_tchw)
        return (mixed_tchw + matrices[:, :, 3, None, None]).clamp(0, 1) ** powers

    def _grade(self, number: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the matrix and the power of a frame, interpolated between its shot's grades."""
        if not self._starts:
            return _NEUTRAL
        shot = self._plan.shots[shot_of(self._starts, number)]
        return _between(shot, number)


def _between(shot: ShotColor, number: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    frames = [grade.frame for grade in shot.grades]
    columns = np.array([[*grade.matrix, grade.power] for grade in shot.grades]).T
    return np.array([np.interp(number, frames, column) for column in columns])
