"""The steadiest camera path that keeps the crop window inside the frames.

With ``F_t`` the map from frame t to frame t - 1 and ``B_t`` the map from the stable picture to
frame t, the path is ``P_t = F_1 .. F_t B_t``. Its first difference relative to frame t is
``F_t+1 B_t+1 - B_t``, linear in B, as is "the window lies in the frame" (Grundmann, Kwatra, Essa,
"Auto-directed video stabilization with robust L1 optimal camera paths", CVPR 2011).

What is intended and what is shake is told apart by a second path ``U_t``, the trend, of least third
differences (Whittaker, "On a new method of graduation", 1923): the distance ``B_t - U_t`` is the
shake that is left, of whatever frequency above the trend's cut. The first difference alone, a
string drawn tight through the room, counts a wave by its frequency, and so resists intended motion
and leaves what lies just above the cut; a little of it keeps the path from swaying where there is
room not to (docs/benchmarks).

The quadratic program is solved for a shot as a whole; a map is a row as in ``vgen.post.path``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from vgen.post.interior import Program, Vector, least
from vgen.post.path import IDENTITY, Maps, corners

MAX_ROTATION = 0.1
"""Largest ``b``, about the sine of the angle by which a frame may be turned."""
MAX_SCALE = 1.1
"""Largest ``a``; the least is 1, as a smaller one would crop more than was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much squares count beside those of the shake that is left."""

    trend: float
    """Of the trend's third difference: ``(wave / (2 pi)) ** 6`` for a cut at ``wave`` frames."""
    speed: float
    """Of the path's first difference."""
    bend: float
    """Of the path's second difference."""
    middle: float
    """Of the window's distance from the middle of the frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steadied:
    """A path and how steady it is."""

    maps: Maps
    """``B_t``, ``[T, 4]``."""
    shake: float
    """Squares of the shake that is left and weighted ones of the bends, the sum over the frames."""


def steadiest(steps: Maps, *, scale: float, aspect: float, weights: Weights) -> Steadied:
    """Return the path of a shot whose crop window stays in every frame.

    Args:
        steps: ``F_t``, the map from frame t to frame t - 1, at least 4; the first is not used.
        scale: Side of the crop window as a share of the frame's, below 1.
        aspect: Width by height of the frame.
        weights: Of what is not shake.

    Raises:
        ArithmeticError: no solution was found, as where the window is larger than the frame.
    """
    terms = list(_terms(steps, aspect=aspect, weights=weights))
    walls, room = _walls(scale=scale, aspect=aspect)
    program = Program(
        cost=sparse.csr_matrix(sum(term.curvature() for term in terms)),
        slope=np.sum([term.slope() for term in terms], axis=0),
        # The trend knows no walls.
        walls=np.pad(walls, ((0, 0), (0, 4))),
        room=room - walls @ IDENTITY,
    )
    try:
        found = least(program, np.zeros((len(steps), 8)))
    except ArithmeticError as error:
        raise ArithmeticError(f"no camera path for {len(steps)} frames: {error}") from error
    shake = sum(term.cost(found.ravel()) for term in terms if term.is_shake)
    return Steadied(maps=found[:, :4] + IDENTITY, shake=shake)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """The weighted squares of ``rows x + offset``; x is ``B_t - 1`` and ``U_t - 1`` by turns."""

    rows: sparse.csr_matrix
    offset: Vector
    weight: Vector
    is_shake: bool

    def curvature(self) -> sparse.csr_matrix:
        return self.rows.T @ sparse.diags(self.weight) @ self.rows

    def slope(self) -> Vector:
        return np.asarray(self.rows.T @ (self.weight * self.offset))

    def cost(self, at: Vector) -> float:
        return float(self.weight @ (self.rows @ at + self.offset) ** 2)


def _terms(steps: Maps, *, aspect: float, weights: Weights) -> Iterator[_Term]:
    """Yield the parts of the cost."""
    # What a change of a or b moves: the mean square distance of a point from the centre.
    share = np.array([1.0, 1.0, *[(1 + aspect**-2) / 12] * 2])
    frames = sparse.eye(len(steps))
    path, trend = sparse.kron(frames, np.eye(4, 8)), sparse.kron(frames, np.eye(4, 8, k=4))

    def term(
        rows: sparse.csr_matrix, offset: Vector, weight: float, *, is_shake: bool = False
    ) -> _Term:
        weights = weight * np.resize(share, len(offset))
        return _Term(rows=sparse.csr_matrix(rows), offset=offset, weight=weights, is_shake=is_shake)

    still = np.zeros(4 * len(steps))
    yield term(path, still, weights.middle)
    yield term(path - trend, still, 1.0, is_shake=True)
    (first, speed), (second, bend), (third, turn) = _differences(steps)
    yield term(first @ path, speed, weights.speed)
    yield term(second @ path, bend, weights.bend, is_shake=True)
    yield term(third @ trend, turn, weights.trend)


def _differences(steps: Maps) -> Iterator[tuple[sparse.csr_matrix, Vector]]:
    """Yield matrix and constant of a path's first three differences, each relative to its frame.

    The path is given by its maps less the identity, flattened.
    """
    dx, dy, a, b = steps[1:].T
    turns = np.zeros((len(a), 4, 4))
    turns[:, :2, :2] = turns[:, 2:, 2:] = np.moveaxis(np.array([[a, -b], [b, a]]), -1, 0)
    ahead = sparse.hstack(
        [sparse.csr_matrix((4 * len(a), 4)), sparse.block_diag(list(turns), format="csr")]
    )
    rows = ahead - sparse.eye(4 * len(a), 4 * len(steps))
    offset = np.stack([dx, dy, a - 1, b], axis=1).ravel()
    yield rows, offset
    for _ in range(2):
        count = rows.shape[0]
        # Between one frame's four numbers and the next one's.
        step = sparse.eye(count - 4, count, k=4) - sparse.eye(count - 4, count)
        rows, offset = step @ rows, step @ offset
        yield rows, offset


def _walls(*, scale: float, aspect: float) -> tuple[Maps, Vector]:
    """Return ``walls @ B_t <= room``: the window's corners lie in the frame, a and b in bounds."""
    walls = [[0.0, 0, -1, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, -1]]
    room = [-1.0, MAX_SCALE, MAX_ROTATION, MAX_ROTATION]
    for x, y in scale * corners(aspect):
        for sign in (1, -1):
            walls.append([sign, 0, sign * x, sign * -y])
            walls.append([0, sign, sign * y, sign * x])
            room += [0.5, 0.5 / aspect]
    return np.array(walls), np.array(room)
