"""Whether a cut lies between two neighbouring frames.

A pure function of the two frames, so that every span says the same about the same pair
without any state. The idea is x264's: there is a cut where blocks of one frame, looked for in
the other within reach of motion, are explained little better than by their own mean. Means
are taken out on both sides, so that flashes and fades are not cuts.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 32
"""Thumbnail size; its pixels need not be square."""
BLOCK = 16
"""Side of the blocks that are looked for, in thumbnail pixels; smaller ones match by chance."""
REACH = 6
"""Farthest motion looked for: a tenth of the width, a fifth of the height, in one frame."""
LEAST_CHANGE = 6.0
"""Mean absolute difference in 8-bit levels below which there is no cut; fades stay below."""
LEAST_UNEXPLAINED = 0.45
"""Share of a frame's texture energy that is left unexplained from which on there is a cut.

Between frames of 31 real clips 98 in 100 shares lie above it, and the rest are clips of the same
scene; between neighbours in a shot 99 in 100 lie below 0.2.
"""
NOISE = 1.0
"""Texture energy a pixel, in squared levels, that counts as unexplained whatever the match.

Flat pictures explain each other perfectly once their means are gone; this makes two of them
that differ visibly two shots.
"""

Thumbnail = NDArray[np.float32]


def thumbnail(luma_hw: NDArray[np.uint8] | NDArray[np.uint16], bit_depth: int) -> Thumbnail:
    """Return the plane as ``[32, 64]`` float32 in 8-bit levels, each pixel the mean of an area."""
    # A few rows of each area are enough, and reading all is most of the cost.
    step = max(luma_hw.shape[0] // (4 * HEIGHT), 1)
    small_hw = cv2.resize(luma_hw[::step], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(small_hw, np.float32) / np.float32(1 << (bit_depth - 8))


def is_cut(previous_hw: Thumbnail, current_hw: Thumbnail) -> bool:
    """Whether ``current_hw`` starts a shot; both as ``thumbnail`` makes them."""
    if float(np.abs(current_hw - previous_hw).mean()) < LEAST_CHANGE:
        return False
    # Both ways: light that doubles is too weak to explain what follows, but not the reverse.
    return _is_new(current_hw, previous_hw) and _is_new(previous_hw, current_hw)


def _is_new(picture_hw: Thumbnail, other_hw: Thumbnail) -> bool:
    around_hw = cv2.copyMakeBorder(other_hw, REACH, REACH, REACH, REACH, cv2.BORDER_REPLICATE)
    area = BLOCK * BLOCK
    texture = unexplained = NOISE * picture_hw.size
    for top in range(0, HEIGHT, BLOCK):
        for left in range(0, WIDTH, BLOCK):
            block_hw = picture_hw[top : top + BLOCK, left : left + BLOCK]
            searched_hw = around_hw[top : top + BLOCK + 2 * REACH, left : left + BLOCK + 2 * REACH]
            energy = float(block_hw.var()) * area
            products_hw = cv2.matchTemplate(searched_hw, block_hw, cv2.TM_CCOEFF)
            errors_hw = energy + _energies(searched_hw) - 2 * products_hw
            texture += energy
            unexplained += min(max(float(errors_hw.min()), 0.0), energy)
    return unexplained >= LEAST_UNEXPLAINED * texture


def _energies(picture_hw: Thumbnail) -> Thumbnail:
    """Return the texture energy of the block at every position, as ``matchTemplate`` has them."""
    sums, squares = cv2.integral2(picture_hw.astype(np.float64))
    area = BLOCK * BLOCK
    energies = _boxes(squares) - _boxes(sums) ** 2 / area
    return energies.astype(np.float32)


def _boxes(integral: NDArray[np.float64]) -> NDArray[np.float64]:
    b = BLOCK
    return integral[b:, b:] - integral[:-b, b:] - integral[b:, :-b] + integral[:-b, :-b]
