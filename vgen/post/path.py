"""The steadiest camera path that keeps the crop window inside the frames.

Grundmann, Kwatra, Essa, "Auto-directed video stabilization with robust L1 optimal camera paths",
CVPR 2011. With ``F_t`` the map from frame t to frame t - 1 and ``B_t`` the map from the stable
picture to frame t, the path is ``P_t = F_1 .. F_t B_t``. The sum of absolute first, second and
third differences of P is least where the path is made of stills, straight pans and parabolas;
relative to frame t they are ``R_t = F_t+1 B_t+1 - B_t`` and its own differences, linear in B.

A map is a row ``(dx, dy, a, b)`` in the coordinates of ``vgen.post.motion``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize, sparse

Maps = NDArray[np.float64]
"""``[T, 4]``, a row a frame: dx, dy, a, b."""

WINDOW = 240
"""Frames solved together; the cost of a program grows faster than its length."""
LOOK_AHEAD = 60
"""Frames of a window that are solved again with the next one."""
FIXED = 3
"""Frames held where windows meet: as many as the third difference reaches."""
METHOD = "highs"
MAX_ROTATION = 0.1
"""Largest ``b``, about the sine of the angle by which a frame may be turned."""
MAX_SCALE = 1.1
"""Largest ``a``; the least is 1, as a smaller one would crop more than was asked for."""
_IDENTITY = np.array([0.0, 0.0, 1.0, 0.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much the first, second and third difference of the path count."""

    first: float
    second: float
    third: float


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


def accumulate(steps: Maps) -> Maps:
    """Return ``F_1 .. F_t`` for every t; ``steps[0]`` is the first of them."""
    path = np.empty_like(steps)
    so_far = _IDENTITY
    for t, step in enumerate(steps):
        so_far = path[t] = compose(so_far, step)
    return path


def steadiest(steps: Maps, *, scale: float, aspect: float, weights: Weights) -> Maps:
    """Return ``B_t`` for a shot, so that the crop window stays in every frame.

    Args:
        steps: ``F_t``, the map from frame t to frame t - 1; the first row is not used.
        scale: Side of the crop window as a share of the frame's.
        aspect: Width by height of the frame.
        weights: Of the path's differences.

    Raises:
        ArithmeticError: the solver found no solution, although the identity is one.
    """
    num_frames = len(steps)
    chosen = np.empty((0, 4))
    while len(chosen) < num_frames:
        kept = chosen[-FIXED:]
        start = len(chosen) - len(kept)
        window = steps[start : start + WINDOW + len(kept)]
        is_last = start + len(window) == num_frames
        solved = _solve(window, kept, scale=scale, aspect=aspect, weights=weights)
        stop = len(window) if is_last else len(window) - LOOK_AHEAD
        chosen = np.concatenate([chosen, solved[len(kept) : stop]])
    return chosen


def gaussian(steps: Maps, *, sigma: float) -> Maps:
    """Return ``B_t`` that smooths the accumulated path; the crop window is not looked at."""
    path = accumulate(np.concatenate([_IDENTITY[None], steps[1:]]))
    smooth = ndimage.gaussian_filter1d(path, sigma, axis=0, mode="nearest")
    return compose(inverse(path), np.asarray(smooth))


def largest_crop(maps: Maps, *, aspect: float) -> float:
    """Return the share of the frame's side that the stable picture can show throughout."""
    if not len(maps):
        return 1.0
    reach = np.abs(maps[:, 2:3] * _corners(aspect)[:, 0] - maps[:, 3:4] * _corners(aspect)[:, 1])
    rise = np.abs(maps[:, 3:4] * _corners(aspect)[:, 0] + maps[:, 2:3] * _corners(aspect)[:, 1])
    across = (0.5 - np.abs(maps[:, 0:1])) / reach
    down = (0.5 / aspect - np.abs(maps[:, 1:2])) / rise
    return float(min(across.min(), down.min(), 1.0))


def _corners(aspect: float) -> NDArray[np.float64]:
    """Return the corners of the whole frame, ``[4, 2]``."""
    x, y = 0.5, 0.5 / aspect
    return np.array([[-x, -y], [x, -y], [x, y], [-x, y]])


def _solve(steps: Maps, kept: Maps, *, scale: float, aspect: float, weights: Weights) -> Maps:
    """Solve one window whose first frames are held at ``kept``."""
    num_frames = len(steps)
    rows, offset = _residuals(steps)
    parts, offsets, costs = [rows], [offset], [np.full(rows.shape[0], weights.first)]
    for weight in (weights.second, weights.third):
        # Between one frame's four numbers and the next one's.
        step = sparse.eye(rows.shape[0] - 4, rows.shape[0], k=4)
        step = step - sparse.eye(rows.shape[0] - 4, rows.shape[0])
        rows, offset = step @ rows, step @ offset
        parts.append(rows)
        offsets.append(offset)
        costs.append(np.full(rows.shape[0], weight))
    cost, count = np.concatenate(costs), sum(part.shape[0] for part in parts)
    # |r| is u + v where r = u - v and neither is negative.
    eye = sparse.identity(count)
    inside, room = _inclusion(num_frames, scale=scale, aspect=aspect)
    unused = sparse.csr_matrix((inside.shape[0], 2 * count))
    solution = optimize.linprog(
        np.concatenate([np.zeros(4 * num_frames), cost, cost]),
        A_eq=sparse.hstack([sparse.vstack(parts), -eye, eye]).tocsc(),
        b_eq=-np.concatenate(offsets),
        A_ub=sparse.hstack([inside, unused]).tocsc(),
        b_ub=room,
        bounds=np.concatenate([_bounds(num_frames, kept), np.tile([0.0, np.inf], (2 * count, 1))]),
        method=METHOD,
    )
    if solution.x is None:
        raise ArithmeticError(f"no camera path for {num_frames} frames: {solution.message}")
    solved: Maps = np.asarray(solution.x[: 4 * num_frames], np.float64).reshape(-1, 4)
    return solved


def _residuals(steps: Maps) -> tuple[sparse.csr_matrix, NDArray[np.float64]]:
    """Return matrix and constant of ``F_t+1 B_t+1 - B_t`` as functions of all B, flattened."""
    dx, dy, a, b = steps[1:].T
    zero = np.zeros_like(a)
    turns = np.zeros((len(a), 4, 4))
    turns[:, :2, :2] = turns[:, 2:, 2:] = np.moveaxis(np.array([[a, -b], [b, a]]), -1, 0)
    ahead = sparse.block_diag(list(turns))
    rows = sparse.hstack([sparse.csr_matrix((4 * len(a), 4)), ahead])
    return rows - sparse.eye(4 * len(a), 4 * len(steps)), np.stack([dx, dy, zero, zero], 1).ravel()


def _inclusion(
    num_frames: int, *, scale: float, aspect: float
) -> tuple[sparse.csr_matrix, NDArray[np.float64]]:
    """Return ``rows @ B <= room``: the window's corners lie in the frame."""
    one, room = [], []
    for x, y in scale * _corners(aspect):
        for sign in (1, -1):
            one.append([sign, 0, sign * x, sign * -y])
            one.append([0, sign, sign * y, sign * x])
            room += [0.5, 0.5 / aspect]
    return sparse.kron(sparse.identity(num_frames), np.array(one)), np.tile(room, num_frames)


def _bounds(num_frames: int, kept: Maps) -> NDArray[np.float64]:
    free = np.array([[-0.5, 0.5], [-0.5, 0.5], [1.0, MAX_SCALE], [-MAX_ROTATION, MAX_ROTATION]])
    bounds = np.tile(free, (num_frames, 1))
    # A hair of room, because what a solver returned may break its own bounds by its tolerance.
    held = kept.ravel()
    bounds[: len(held)] = np.stack([held - 1e-9, held + 1e-9], axis=1)
    return bounds
