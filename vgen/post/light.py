"""How much brighter a frame is than the one before, whatever moves in it.

The mean of a picture also changes with what comes into it. So the frame before is laid over this
one first, by dense inverse search (Kroeger et al., "Fast optical flow using dense inverse search",
ECCV 2016), and each pixel is compared with its own past; what moves unlike the rest, and hides or
uncovers, is left out, and of what remains the median counts.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

ROWS = 60
"""The shorter side of the pictures that are compared; 80 cost half as much again and are no
better."""
LEAST_SIDE = 16
"""The flow needs so many pixels either way; smaller pictures are enlarged."""
BLACK, WHITE = 16, 240
"""Levels outside are clipped or nearly so, or mostly noise, and say nothing of the light."""
MIN_OPEN = 0.05
"""A pair with a smaller share of pixels between them is not comparable."""
WITH_THE_REST_PX = 1.0
"""Pixels whose motion differs less from the median motion move with the rest of the picture."""
MAX_SPREAD = 0.12
"""Median absolute deviation of the logarithms from which on two frames do not show the same. Within
shots of real clips the largest is 0.06, across cuts the least 0.2."""
LEVELS_PER_UNIT = 45.0
"""Logarithms of levels, up to 5.55, as 8-bit pictures for the flow."""


def measure_log_gain(previous_hw: NDArray[np.uint8], luma_hw: NDArray[np.uint8]) -> float | None:
    """Return the natural logarithm of the brightness by that of the frame before.

    Args:
        previous_hw: Luma of the frame before, 8-bit levels.
        luma_hw: Luma of the frame, of the same shape.

    Returns:
        None where it cannot be told: nearly all is black or white, or the two do not show the same.

    Raises:
        ValueError: the shapes differ.
    """
    if previous_hw.shape != luma_hw.shape:
        raise ValueError(f"shapes differ: {previous_hw.shape} and {luma_hw.shape}")
    before_hw, was_open_hw = _logarithms(previous_hw)
    here_hw, is_open_hw = _logarithms(luma_hw)
    both_hw = was_open_hw & is_open_hw
    if both_hw.mean() < MIN_OPEN:
        return None
    # A first guess without motion, as the flow takes what is left of the change for motion.
    guess = float(np.median((here_hw - before_hw)[both_hw]))
    flow_hw2 = _search().calc(_as_levels(here_hw), _as_levels(before_hw + guess), None)
    dx_hw, dy_hw = cv2.split(flow_hw2)
    before_hw[~was_open_hw] = -np.inf
    laid_hw = _laid_over(before_hw, dx_hw, dy_hw)
    both_hw = is_open_hw & np.isfinite(laid_hw)
    if both_hw.mean() < MIN_OPEN:
        return None
    apart_n = np.maximum(*(np.abs(d[both_hw] - np.median(d[both_hw])) for d in (dx_hw, dy_hw)))
    with_the_rest = apart_n <= max(WITH_THE_REST_PX, float(np.median(apart_n)))
    logs_n = (here_hw - laid_hw)[both_hw][with_the_rest]
    gain = float(np.median(logs_n))
    spread = float(np.median(np.abs(logs_n - gain)))
    return gain if spread < MAX_SPREAD else None


def _logarithms(luma_hw: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the small picture's logarithms, and where it is neither black nor white."""
    share = min(ROWS / min(luma_hw.shape), 1.0)
    height, width = (max(round(side * share), LEAST_SIDE) for side in luma_hw.shape)
    small_hw = cv2.resize(luma_hw, (width, height), interpolation=cv2.INTER_AREA)
    is_open_hw = (small_hw > BLACK) & (small_hw < WHITE)
    return np.log(np.maximum(small_hw, 1).astype(np.float32)), is_open_hw


def _as_levels(logs_hw: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(logs_hw * LEVELS_PER_UNIT, 0, 255), np.uint8)


def _laid_over(
    before_hw: NDArray[np.float32], dx_hw: NDArray[np.float32], dy_hw: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the frame before at this one's pixels; not finite where it shows nothing."""
    x_hw, y_hw = _places(*before_hw.shape)
    laid_hw = cv2.remap(
        before_hw,
        x_hw + dx_hw,
        y_hw + dy_hw,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=-np.inf,
    )
    return np.asarray(laid_hw, np.float32)


@cache
def _places(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y_hw, x_hw = np.mgrid[:height, :width].astype(np.float32)
    return x_hw, y_hw


def _search() -> cv2.DISOpticalFlow:
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    # The preset stops two halvings early, which is too coarse for so small a picture.
    search.setFinestScale(1)
    return search
