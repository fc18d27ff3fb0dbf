"""Whether a clip is good enough to be what a network learns to restore.

A network trained on blocks, blur or stills in disguise learns to keep them. All measures are made
on luma of 8 bits and none of them is learned.

Clips are uint8 RGB arrays ``[T, H, W, 3]``.
"""

from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vgen.training.codec import Clip, Plane
from vgen.training.selection import FitnessLimits

Reason = Literal[
    "too small", "too short", "interlaced", "damaged", "dark", "static", "blurred", "blocky"
]
"""Why a clip, a shot or a source was not taken."""

_BLUR_PX = 9  # of the blur that a sharp picture loses much to and a blurred one little
_GRID_PX = 8  # transform blocks of JPEG and all MPEG codecs before H.264; larger ones are multiples


def unfit_because(clip_thwc: Clip, limits: FitnessLimits) -> Reason | None:
    """Return the first reason against ``clip_thwc``, or None; a single frame is never static."""
    lumas = [luma(frame) for frame in clip_thwc]
    middle_hw = lumas[len(lumas) // 2]
    if middle_hw.mean() < limits.min_brightness:
        return "dark"
    if len(lumas) > 1 and greatest_change(lumas) < limits.min_change:
        return "static"
    if blur_effect(middle_hw) > limits.max_blur:
        return "blurred"
    if blockiness(middle_hw) > limits.max_blockiness:
        return "blocky"
    return None


def luma(frame_hwc: NDArray[np.uint8]) -> Plane:
    """Return luma by BT.601, float32 in 0 to 255."""
    return np.asarray(cv2.cvtColor(frame_hwc, cv2.COLOR_RGB2GRAY), np.float32)


def greatest_change(lumas: list[Plane]) -> float:
    """Return the largest mean absolute difference of neighbouring frames, in levels."""
    return max(float(np.abs(after - before).mean()) for before, after in pairwise(lumas))


def blur_effect(luma_hw: Plane) -> float:
    """Return how blurred a picture is, from 0 for sharp to 1, whatever its contrast.

    Crete, Dolmiere, Ladret and Nicolas, "The blur effect" (SPIE 6492, 2007): the share of the
    differences between neighbours that one more blur leaves. A flat picture counts as blurred.
    """
    shares = []
    for axis, kernel in ((0, (1, _BLUR_PX)), (1, (_BLUR_PX, 1))):
        softer_hw = cv2.blur(luma_hw, kernel)
        steps = np.abs(np.diff(luma_hw, axis=axis))
        lost = np.maximum(0, steps - np.abs(np.diff(softer_hw, axis=axis)))
        total = float(steps.sum())
        shares.append(1 - float(lost.sum()) / total if total > 0 else 1.0)
    return max(shares)


def blockiness(luma_hw: Plane) -> float:
    """Return how much larger steps are along a grid of 8 pixels than beside it; 1 for no grid.

    After Wang, Bovik and Evans, "Blind measurement of blocking artifacts in images" (ICIP 2000),
    in the pixel domain: the grid may start anywhere, as pictures are cropped.
    """
    ratios = []
    for axis in (0, 1):
        steps = np.abs(np.diff(luma_hw, axis=axis)).mean(axis=1 - axis)
        phases = np.array([steps[phase::_GRID_PX].mean() for phase in range(_GRID_PX)])
        usual = float(np.median(phases))
        # Noise of a level: a flat picture has no grid to speak of.
        ratios.append((float(phases.max()) + 0.25) / (usual + 0.25))
    return min(ratios)
