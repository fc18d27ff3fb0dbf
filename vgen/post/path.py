"""The steadiest camera path that keeps the crop window inside the frames.

With ``F_t`` the map from frame t to frame t - 1 and ``B_t`` the map from the stable picture to
frame t, the path is ``P_t = F_1 .. F_t B_t``. Its first difference relative to frame t is
``R_t = F_t+1 B_t+1 - B_t``, linear in B, as is "the window lies in the frame" (Grundmann, Kwatra,
Essa, "Auto-directed video stabilization with robust L1 optimal camera paths", CVPR 2011).

Their sum of absolute differences prefers straight pieces and bends sharply between them; the sum
of squares is a string drawn tight through the room that the window leaves, and keeps less of the
shake that is left (docs/benchmarks). The quadratic program is solved for a shot as a whole by a
primal-dual interior point method (Mehrotra, "On the implementation of a primal-dual interior
point method", SIAM J. Optim. 1992), whose matrix is a band: cost grows with the frames only.

A map is a row ``(dx, dy, a, b)`` in the coordinates of ``vgen.post.motion``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage, sparse

Maps = NDArray[np.float64]
"""``[T, 4]``, a row a frame: dx, dy, a, b."""
Vector = NDArray[np.float64]

MAX_ROTATION = 0.1
"""Largest ``b``, about the sine of the angle by which a frame may be turned."""
MAX_SCALE = 1.1
"""Largest ``a``; the least is 1, as a smaller one would crop more than was asked for."""
ROUNDS = 60
"""Newton steps after which a program counts as without a solution; 10 to 20 are usual."""
TOLERANCE = 1e-11
"""Largest violation of a condition of the solution, in widths; a hundredth of it on average."""
HOPELESS = 1e6
"""Mean of slack times pressure, 1e-5 at the start, that only a program without a solution sees."""
BAND = 11
"""Diagonals above the main one: four numbers a frame, and second differences reach two frames."""
_IDENTITY = np.array([0.0, 0.0, 1.0, 0.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much the squares of the path's first and second difference count."""

    first: float
    second: float


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
        scale: Side of the crop window as a share of the frame's, below 1.
        aspect: Width by height of the frame.
        weights: Of the path's differences.

    Raises:
        ArithmeticError: no solution was found, as where the window is larger than the frame.
    """
    band, cost, slope = _shake(steps, aspect=aspect, weights=weights)
    walls, room = _walls(scale=scale, aspect=aspect)
    state = _State.start(len(steps), walls, room)
    for _ in range(ROUNDS):
        errors = state.errors(cost, slope, walls, room)
        if errors.are_small():
            return state.maps
        if errors.gap > HOPELESS:
            break
        state = _improved(state, errors, band, walls)
    raise ArithmeticError(f"no camera path for {len(steps)} frames in {ROUNDS} rounds")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Errors:
    """How far a state is from the conditions of Karush, Kuhn and Tucker."""

    slope: Maps
    """``[T, 4]``: of the cost, with the walls' pressure."""
    room: Maps
    """``[T, M]``: of the equation between maps and slack."""
    gap: float
    """Mean of slack times pressure."""

    def are_small(self) -> bool:
        largest = max(float(np.abs(self.slope).max()), float(np.abs(self.room).max()))
        return largest < TOLERANCE and self.gap < TOLERANCE / 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A point of the interior: maps, and at each wall ``[T, M]`` the slack and the pressure."""

    maps: Maps
    slack: Maps
    pressure: Maps

    @classmethod
    def start(cls, num_frames: int, walls: Maps, room: Vector) -> "_State":
        maps = np.tile(_IDENTITY, (num_frames, 1))
        # Off the walls, although the identity touches the one of the least scale.
        slack = np.maximum(room - maps @ walls.T, 1e-3)
        return cls(maps=maps, slack=slack, pressure=np.full_like(slack, 1e-4))

    def errors(self, cost: sparse.csr_matrix, slope: Vector, walls: Maps, room: Vector) -> _Errors:
        own = (cost @ self.maps.ravel() + slope).reshape(-1, 4)
        return _Errors(
            slope=own + self.pressure @ walls,
            room=self.maps @ walls.T + self.slack - room,
            gap=float((self.slack * self.pressure).mean()),
        )

    def moved(self, step: "_State", share: float) -> "_State":
        return _State(
            maps=self.maps + share * step.maps,
            slack=self.slack + share * step.slack,
            pressure=self.pressure + share * step.pressure,
        )

    def reach(self, step: "_State") -> float:
        """Return the largest share of ``step``, up to 1, that leaves the interior nowhere."""
        pairs = ((self.slack, step.slack), (self.pressure, step.pressure))
        shares = [-(at[by < 0] / by[by < 0]) for at, by in pairs]
        return float(min(1.0, *(share.min(initial=1.0) for share in shares)))


def _improved(state: _State, errors: _Errors, band: Maps, walls: Maps) -> _State:
    """Return the state after one step of Mehrotra's predictor and corrector."""
    stiff = band.copy()
    curves = np.einsum("tm,mi,mj->tij", state.pressure / state.slack, walls, walls)
    for i in range(4):
        for j in range(i, 4):
            stiff[BAND - (j - i), j::4] += curves[:, i, j]
    try:
        factor = linalg.cholesky_banded(stiff, check_finite=False)
    except linalg.LinAlgError as error:
        raise ArithmeticError(f"no camera path for {len(state.maps)} frames: {error}") from error

    def towards(product: Maps) -> _State:
        wanted = errors.slope + ((state.pressure * errors.room - product) / state.slack) @ walls
        solved = linalg.cho_solve_banded((factor, False), -wanted.ravel(), check_finite=False)
        maps = solved.reshape(-1, 4)
        slack = -errors.room - maps @ walls.T
        pressure = -(product + state.pressure * slack) / state.slack
        return _State(maps=maps, slack=slack, pressure=pressure)

    product = state.slack * state.pressure
    guess = towards(product)
    ahead = state.moved(guess, state.reach(guess))
    centring = (float((ahead.slack * ahead.pressure).mean()) / errors.gap) ** 3
    step = towards(product + guess.slack * guess.pressure - centring * errors.gap)
    return state.moved(step, 0.99 * state.reach(step))


def _shake(
    steps: Maps, *, aspect: float, weights: Weights
) -> tuple[Maps, sparse.csr_matrix, Vector]:
    """Return the cost of a path: its matrix as an upper band, the matrix, and the linear term."""
    rows, offset = _residuals(steps)
    # What a change of a or b moves: the mean square distance of a point from the centre.
    share = np.array([1.0, 1.0, *[(1 + aspect**-2) / 12] * 2])
    cost = sparse.csr_matrix((4 * len(steps), 4 * len(steps)))
    slope = np.zeros(4 * len(steps))
    for weight in (weights.first, weights.second):
        scaled = rows.T @ sparse.diags(weight * np.resize(share, rows.shape[0]))
        cost, slope = cost + scaled @ rows, slope + scaled @ offset
        count = rows.shape[0]
        # Between one frame's four numbers and the next one's.
        step = sparse.eye(count - 4, count, k=4) - sparse.eye(count - 4, count)
        rows, offset = step @ rows, step @ offset
    norm = float(cost.diagonal().max())
    cost, slope = sparse.csr_matrix(cost / norm), slope / norm
    band = np.zeros((BAND + 1, 4 * len(steps)))
    for k in range(BAND + 1):
        band[BAND - k, k:] = cost.diagonal(k)
    # A path far from every wall may be moved as a whole, at no cost.
    band[BAND] += 1e-13
    return band, cost, slope


def _residuals(steps: Maps) -> tuple[sparse.csr_matrix, Vector]:
    """Return matrix and constant of ``F_t+1 B_t+1 - B_t`` as functions of all B, flattened."""
    dx, dy, a, b = steps[1:].T
    zero = np.zeros_like(a)
    turns = np.zeros((len(a), 4, 4))
    turns[:, :2, :2] = turns[:, 2:, 2:] = np.moveaxis(np.array([[a, -b], [b, a]]), -1, 0)
    ahead = sparse.block_diag(list(turns))
    rows = sparse.hstack([sparse.csr_matrix((4 * len(a), 4)), ahead])
    return rows - sparse.eye(4 * len(a), 4 * len(steps)), np.stack([dx, dy, zero, zero], 1).ravel()


def _walls(*, scale: float, aspect: float) -> tuple[Maps, Vector]:
    """Return ``walls @ B_t <= room``: the window's corners lie in the frame, a and b in bounds."""
    walls = [[0.0, 0, -1, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, -1]]
    room = [-1.0, MAX_SCALE, MAX_ROTATION, MAX_ROTATION]
    for x, y in scale * _corners(aspect):
        for sign in (1, -1):
            walls.append([sign, 0, sign * x, sign * -y])
            walls.append([0, sign, sign * y, sign * x])
            room += [0.5, 0.5 / aspect]
    return np.array(walls), np.array(room)
