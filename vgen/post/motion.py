"""How the camera moved between two neighbouring frames.

Corners (Shi and Tomasi 1994) are followed by pyramidal Lucas-Kanade (Bouguet 2001) and back
again; what returns to where it started votes, by RANSAC, for one similarity. It is then fitted to
all votes by the weights of Geman and McClure (1987), the closest most, as what moves slowly through
the picture is near enough to pull a plain fit along.

Coordinates are those of a picture of width 1, its centre at the origin, y downwards, square
pixels: a motion holds for every size of the same picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CORNERS = 400
"""Corners looked for, over the picture evenly; 200 leave a fifth more noise."""
WINDOW = (11, 11)
"""Pixels around a corner that are followed; 15 x 15 cost half as much again and are no better."""
PATIENCE = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.02)
"""Rounds, and the step in pixels, after which a corner's place is taken for found; the usual 30 and
0.01 cost twice as much, and RANSAC's mean over corners is no better for it."""
CELLS = (4, 5)
"""Rows and columns that share the corners out, so that one textured spot does not decide."""
MAX_ROUND_TRIP_PX = 0.5
"""Farthest from its start that a corner may return to."""
MAX_RESIDUAL_PX = 1.0
"""Farthest from the similarity that a corner may lie and support it, in the small picture."""
FIT_PX = (1.0, 0.5, 0.25)
"""Distances from the similarity at which a corner counts a quarter, one fit after the other, in the
small picture; together they take two thirds of the error away."""
MIN_SUPPORT = 12
"""Fewer supporting corners are no measurement."""
MIN_SIDE = 2
"""Thinner pictures, which cannot be halved to choose corners, are no measurement."""
STILL_PX = 0.15
"""Corners that move less, in the small picture, count as still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """The map ``x' = a x - b y + dx``, ``y' = b x + a y + dy``."""

    dx: float
    dy: float
    a: float
    b: float


IDENTITY = Similarity(dx=0.0, dy=0.0, a=1.0, b=0.0)
"""Nothing moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Where the scene's points went, from the previous frame to this one."""

    similarity: Similarity
    quality: float
    """Share of the followed corners that agree with it, in [0, 1]; 0 is no measurement."""
    still: float = 0.0
    """Share of the followed corners that did not move, whatever the similarity says."""


def estimate_motion(
    previous_hw: NDArray[np.uint8],
    luma_hw: NDArray[np.uint8],
    *,
    aspect: float | None = None,
    inside: tuple[slice, slice] = (slice(None), slice(None)),
) -> Motion:
    """Measure the motion from ``previous_hw`` to ``luma_hw``.

    Args:
        previous_hw: Luma of the frame before, about 180 to 360 rows.
        luma_hw: Luma of the frame, of the same shape.
        aspect: Width by height of the shown picture; None where pixels are square.
        inside: Rows and columns between black bars, whose edges stand still; the motion is that of
            the whole picture all the same.

    Raises:
        ValueError: the shapes differ.
    """
    if previous_hw.shape != luma_hw.shape:
        raise ValueError(f"shapes differ: {previous_hw.shape} and {luma_hw.shape}")
    rows, columns = inside
    from_n2, to_n2 = _tracked(previous_hw[rows, columns], luma_hw[rows, columns])
    if len(from_n2) < MIN_SUPPORT:
        return Motion(similarity=IDENTITY, quality=0.0)
    for points_n2 in (from_n2, to_n2):
        points_n2 += np.array([columns.start or 0, rows.start or 0], np.float32)
    height, width = luma_hw.shape
    unit = _Unit(height=height, width=width, aspect=aspect or width / height)
    matrix, inliers = cv2.estimateAffinePartial2D(
        unit.of(from_n2),
        unit.of(to_n2),
        method=cv2.RANSAC,
        ransacReprojThreshold=MAX_RESIDUAL_PX / width,
        maxIters=500,
        confidence=0.995,
        refineIters=0,
    )
    if matrix is None or int(inliers.sum()) < MIN_SUPPORT:
        return Motion(similarity=IDENTITY, quality=0.0)
    moved_px = np.abs(to_n2 - from_n2).max(axis=1)
    return Motion(
        similarity=_fitted(matrix, unit.of(from_n2), unit.of(to_n2), width=width),
        quality=float(inliers.mean()),
        still=float((moved_px < STILL_PX).mean()),
    )


def _tracked(
    previous_hw: NDArray[np.uint8], luma_hw: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return corners of the frame before and where they went, those that find back."""
    if min(previous_hw.shape) < MIN_SIDE:
        nowhere_n2 = np.empty((0, 2), np.float32)
        return nowhere_n2, nowhere_n2
    corners_n2 = _corners(previous_hw)
    if len(corners_n2) < MIN_SUPPORT:
        return corners_n2, corners_n2
    there_n2 = _followed(previous_hw, luma_hw, corners_n2)
    back_n2 = _followed(luma_hw, previous_hw, there_n2)
    returned = np.abs(back_n2 - corners_n2).max(axis=1) < MAX_ROUND_TRIP_PX
    return corners_n2[returned], there_n2[returned]


def _fitted(
    matrix: NDArray[np.float64],
    from_n2: NDArray[np.float32],
    to_n2: NDArray[np.float32],
    *,
    width: int,
) -> Similarity:
    """Return the similarity of the most points, starting from the one of ``matrix``.

    As complex numbers, a similarity is ``z' = turn z + shift``.
    """
    z, goal = (points @ np.array([1, 1j]) for points in (from_n2, to_n2))
    turn, shift = complex(matrix[0, 0], matrix[1, 0]), complex(matrix[0, 2], matrix[1, 2])
    for reach_px in FIT_PX:
        distance = np.abs(turn * z + shift - goal) * width / reach_px
        weight = (1 + distance**2) ** -2
        z_mean, goal_mean = (weight @ points / weight.sum() for points in (z, goal))
        spread, moved = z - z_mean, goal - goal_mean
        turn = complex(np.vdot(weight * spread, moved) / np.vdot(weight * spread, spread))
        shift = complex(goal_mean - turn * z_mean)
    return Similarity(dx=shift.real, dy=shift.imag, a=turn.real, b=turn.imag)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    height: int
    width: int
    aspect: float

    def of(self, points_n2: NDArray[np.float32]) -> NDArray[np.float32]:
        x = (points_n2[:, 0] + 0.5) / self.width - 0.5
        y = ((points_n2[:, 1] + 0.5) / self.height - 0.5) / self.aspect
        return np.stack([x, y], axis=1).astype(np.float32)


def _corners(luma_hw: NDArray[np.uint8]) -> NDArray[np.float32]:
    # Half the size is enough to choose them, at a quarter of the cost.
    size = (luma_hw.shape[1] // 2, luma_hw.shape[0] // 2)
    half_hw = cv2.resize(luma_hw, size, interpolation=cv2.INTER_AREA)
    height, width = half_hw.shape
    rows, columns = CELLS
    # One response for the picture; the strongest of each cell, apart from each other.
    response_hw = cv2.cornerMinEigenVal(half_hw, 3)
    peak_hw = cv2.dilate(response_hw, np.ones((3, 3), np.uint8))
    is_corner = (response_hw == peak_hw) & (response_hw > 1e-6 + 0.002 * float(response_hw.max()))
    found = np.argwhere(is_corner)
    cells = found[:, 0] * rows // height * columns + found[:, 1] * columns // width
    order = np.lexsort((-response_hw[found[:, 0], found[:, 1]], cells))
    found, cells = found[order], cells[order]
    starts = np.searchsorted(cells, np.arange(rows * columns))
    rank = np.arange(len(found)) - starts[cells]
    kept = found[rank < CORNERS // (rows * columns)]
    return np.asarray(2 * kept[:, ::-1] + 0.5, np.float32)


def _followed(
    from_hw: NDArray[np.uint8], to_hw: NDArray[np.uint8], points_n2: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return where the points went; far away where they were lost."""
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        from_hw,
        to_hw,
        points_n2.reshape(-1, 1, 2),
        None,
        winSize=WINDOW,
        maxLevel=3,
        criteria=PATIENCE,
    )
    found_n2 = np.asarray(found, np.float32).reshape(-1, 2)
    found_n2[np.asarray(status).ravel() == 0] = -1e6
    return found_n2
