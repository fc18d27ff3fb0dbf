"""Small RGB pictures of decoded frames, for whoever measures a video before it is restored.

Everything is done on the planes as they lie, without torch: most of the cost of looking at a frame
is making it small, and workers that only look should start at once.

Axes: h height, w width, c channel (R, G, B).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vgen.enhance.coding import Coding

Plane = NDArray[np.uint8] | NDArray[np.uint16]

SHORTER_SIDE = 240
"""Rows of a small picture, or columns where it stands upright; smaller ones stay as they are."""


def small_rgb(planes: Sequence[Plane], coding: Coding, *, uri: str) -> NDArray[np.uint8]:
    """Return R'G'B' ``[h, w, 3]``, 8 bits, each pixel the mean of an area.

    Args:
        planes: Of one frame.
        coding: What they stand for.
        uri: The video, for errors.

    Raises:
        ProbeError: a colour matrix that cannot be converted.
    """
    size = small_size(*planes[0].shape)
    small = [_resized(plane, size) for plane in planes]
    if coding.format.is_gray:
        small *= 3
    # One map takes code values to 8-bit levels: invert what takes R'G'B' to the planes' signals.
    scales = coding.scales() * (3 if coding.format.is_gray else 1)
    gains, offsets = (np.array(part) for part in zip(*scales, strict=True))
    inverse = np.eye(3) if coding.format.is_gray else np.linalg.inv(coding.signal_matrix(uri=uri))
    matrix = 255 * inverse / gains
    shift = -(matrix @ offsets)
    merged_hwc = cv2.merge(small)
    if merged_hwc.dtype != np.uint8:
        merged_hwc = merged_hwc.astype(np.float32)
    rgb_hwc = cv2.transform(merged_hwc, np.concatenate([matrix, shift[:, None]], axis=1))
    if rgb_hwc.dtype != np.uint8:
        rgb_hwc = np.clip(rgb_hwc + np.float32(0.5), 0, 255).astype(np.uint8)
    return np.asarray(rgb_hwc, np.uint8)


def small_size(height: int, width: int) -> tuple[int, int]:
    """Return columns and rows of the small picture."""
    share = min(SHORTER_SIDE / min(height, width), 1.0)
    return max(round(width * share), 1), max(round(height * share), 1)


def _resized(plane_hw: Plane, size: tuple[int, int]) -> Plane:
    # Halving is four times as fast as any other ratio, and what is left to do then is little.
    while min(plane_hw.shape[1] // size[0], plane_hw.shape[0] // size[1]) >= 2:
        half = plane_hw.shape[1] // 2, plane_hw.shape[0] // 2
        plane_hw = _area(plane_hw, half)
    return plane_hw if plane_hw.shape[::-1] == size else _area(plane_hw, size)


def _area(plane_hw: Plane, size: tuple[int, int]) -> Plane:
    made: Plane = cv2.resize(plane_hw, size, interpolation=cv2.INTER_AREA)
    return made


def luma_levels(planes: Sequence[Plane], coding: Coding) -> tuple[NDArray[np.uint8], float]:
    """Return luma, or green, ``[h, w]`` in full size with 8 bits, and its levels by R'G'B''s."""
    first = planes[0]
    extra_bits = coding.format.bit_depth - 8
    luma_hw = first if extra_bits == 0 else (first >> extra_bits).astype(np.uint8)
    gain, _ = coding.scales()[0]
    return np.asarray(luma_hw, np.uint8), gain / (1 << extra_bits) / 255
