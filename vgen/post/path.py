"""Camera paths as chains of maps: how they compose, what they crop, and how to smooth them.

A map is a row ``(dx, dy, a, b)`` in the coordinates of ``vgen.post.motion``: it takes (x, y) to
``(a x - b y + dx, b x + a y + dy)``.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Maps = NDArray[np.float64]
"""``[T, 4]``, a row a frame: dx, dy, a, b."""

IDENTITY = np.array([0.0, 0.0, 1.0, 0.0])
"""The map that moves nothing."""


def compose(outer: Maps, inner: Maps) -> Maps:
    """Return the maps ``x -> outer(inner(x))``, row by row; either may be one row."""
    dx, dy, a, b = np.moveaxis(outer, -1, 0)
    ix, iy, ia, ib = np.moveaxis(inner, -1, 0)
    return np.stack(
        [a * ix - b * iy + dx, b * ix + a * iy + dy, a * ia - b * ib, b * ia + a * ib], axis=-1
    )


def inverse(maps: Maps) -> Maps:
    """Return the maps that undo ``maps``."""
    dx, dy, a, b = np.moveaxis(maps, -1, 0)
    norm = a * a + b * b
    a, b = a / norm, -b / norm
    return np.stack([-(a * dx - b * dy), -(b * dx + a * dy), a, b], axis=-1)


def place_of(inside: tuple[float, float, float, float], aspect: float) -> Maps:
    """Return the map from the coordinates of a part of the frame to those of the frame.

    Args:
        inside: Left, top, right and bottom of the part, as shares of the frame's width and height.
        aspect: Width by height of the frame.
    """
    left, top, right, bottom = inside
    return np.array([(left + right - 1) / 2, (top + bottom - 1) / 2 / aspect, right - left, 0.0])


def aspect_of(inside: tuple[float, float, float, float], aspect: float) -> float:
    """Return the width by height of a part of a frame of that aspect."""
    left, top, right, bottom = inside
    return aspect * (right - left) / (bottom - top)


def seen_from(place: Maps, maps: Maps) -> Maps:
    """Return what ``maps`` of the frame do in the coordinates of the part at ``place``."""
    return compose(inverse(place), compose(maps, place))


def accumulate(steps: Maps) -> Maps:
    """Return ``F_1 .. F_t`` for every t; ``steps[0]`` is the first of them."""
    path = np.empty_like(steps)
    so_far = IDENTITY
    for t, step in enumerate(steps):
        so_far = path[t] = compose(so_far, step)
    return path


def gaussian(steps: Maps, *, sigma: float) -> Maps:
    """Return ``B_t`` that smooths the accumulated path; the crop window is not looked at."""
    path = accumulate(np.concatenate([IDENTITY[None], steps[1:]]))
    smooth = ndimage.gaussian_filter1d(path, sigma, axis=0, mode="nearest")
    return compose(inverse(path), np.asarray(smooth))


def in_windows(
    steps: Maps, solve: Callable[[Maps], Maps], *, most_frames: int, shared_frames: int
) -> Maps:
    """Return ``B_t`` for a chain of any length, solved a window at a time.

    Neighbouring windows share frames, in which one solution passes into the other. What is asked of
    single maps, such as that a crop window lies inside, bounds a convex set: a blend keeps to it.

    Args:
        steps: ``F_t`` of all frames.
        solve: Returns ``B_t`` of a window's frames.
        most_frames: Of a window.
        shared_frames: Of two neighbours, fewer; the solutions should agree by the middle of them.
    """
    maps = np.empty_like(steps)
    for start in range(0, max(len(steps) - shared_frames, 1), most_frames - shared_frames):
        found = solve(steps[start : start + most_frames])
        shared = shared_frames if start else 0
        # A window knows least where it starts and ends, so that there the other one counts alone.
        weight = np.linspace(-0.5, 1.5, shared).clip(0, 1)[:, None]
        old = maps[start : start + shared].copy()
        maps[start : start + len(found)] = found
        maps[start : start + shared] = old + weight * (found[:shared] - old)
    return maps


def largest_crop(maps: Maps, *, aspect: float) -> float:
    """Return the share of the frame's side that the stable picture can show throughout."""
    if not len(maps):
        return 1.0
    x, y = corners(aspect).T
    reach = np.abs(maps[:, 2:3] * x - maps[:, 3:4] * y)
    rise = np.abs(maps[:, 3:4] * x + maps[:, 2:3] * y)
    across = (0.5 - np.abs(maps[:, 0:1])) / reach
    down = (0.5 / aspect - np.abs(maps[:, 1:2])) / rise
    return float(min(across.min(), down.min(), 1.0))


def corners(aspect: float) -> NDArray[np.float64]:
    """Return the corners of the whole frame, ``[4, 2]``."""
    x, y = 0.5, 0.5 / aspect
    return np.array([[-x, -y], [x, -y], [x, y], [-x, y]])
