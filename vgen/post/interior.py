"""The least of a quadratic cost between walls, where both couple neighbouring frames only.

A primal-dual interior point method (Mehrotra, "On the implementation of a primal-dual interior
point method", SIAM J. Optim. 1992) whose matrix is a band: cost grows with the frames only. The
corrector counts by how far the predictor reaches (Colombo and Gondzio, "Further development of
multiple centrality correctors for interior point methods", Comput. Optim. Appl. 2008): at its full
size the method now and then goes round in circles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

Rows = NDArray[np.float64]
"""Two axes; the unknowns are ``[T, K]``, K numbers a frame."""
Vector = NDArray[np.float64]

ROUNDS = 60
"""Newton steps after which a program counts as without a solution; 15 to 25 are usual."""
TOLERANCE = 1e-9
"""Largest violation of a condition of the solution; a hundredth of it on average."""
ROUNDING = 1e-15
"""What a slope is uncertain by, as a share of the cost's largest entry."""
HOPELESS = 1e6
"""Mean of slack times pressure, 1e-5 at the start, that only a program without a solution sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Minimise ``x cost x / 2 + slope x``, where ``walls @ x_t <= room`` in every frame t."""

    cost: sparse.csr_matrix
    """``[T K, T K]``, symmetric and positive semidefinite, the stiffness of the unknowns."""
    slope: Vector
    """``[T K]``"""
    walls: Rows
    """``[M, K]``"""
    room: Vector
    """``[M]``"""

    def band(self) -> Rows:
        """Return the cost's diagonals from the outermost to the main one, ``[D + 1, T K]``."""
        entries = self.cost.tocoo()
        width = int((entries.col - entries.row).max())
        band = np.zeros((width + 1, self.cost.shape[0]))
        for k in range(width + 1):
            band[width - k, k:] = self.cost.diagonal(k)
        # What is far from every wall may be free to move at no cost.
        band[width] += 1e-13
        return band


def least(program: Program, start: Rows) -> Rows:
    """Return the unknowns ``[T, K]`` of the least cost.

    Args:
        program: What to solve.
        start: Where to begin, ``[T, K]``; it may touch walls or lie beyond them.

    Raises:
        ArithmeticError: no solution was found, as where no point lies between the walls.
    """
    band, state = program.band(), _State.beginning(program, start)
    steepest = TOLERANCE + ROUNDING * float(band[-1].max())
    for _ in range(ROUNDS):
        errors = state.errors(program)
        if errors.are_small(steepest):
            return state.unknowns
        if errors.gap > HOPELESS:
            break
        state = _improved(state, errors, band, program.walls)
    raise ArithmeticError(f"no solution in {ROUNDS} rounds")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Errors:
    """How far a state is from the conditions of Karush, Kuhn and Tucker."""

    slope: Rows
    """``[T, K]``: of the cost, with the walls' pressure."""
    room: Rows
    """``[T, M]``: of the equation between unknowns and slack."""
    gap: float
    """Mean of slack times pressure."""

    def are_small(self, steepest: float) -> bool:
        slope, room = float(np.abs(self.slope).max()), float(np.abs(self.room).max())
        return slope < steepest and room < TOLERANCE and self.gap < TOLERANCE / 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A point of the interior: unknowns, and at each wall ``[T, M]`` the slack and the pressure."""

    unknowns: Rows
    slack: Rows
    pressure: Rows

    @classmethod
    def beginning(cls, program: Program, start: Rows) -> "_State":
        # Off the walls, which the start may touch.
        slack = np.maximum(program.room - start @ program.walls.T, 1e-3)
        return cls(unknowns=start, slack=slack, pressure=np.full_like(slack, 1e-4))

    def errors(self, program: Program) -> _Errors:
        own = (program.cost @ self.unknowns.ravel() + program.slope).reshape(self.unknowns.shape)
        return _Errors(
            slope=own + self.pressure @ program.walls,
            room=self.unknowns @ program.walls.T + self.slack - program.room,
            gap=float((self.slack * self.pressure).mean()),
        )

    def moved(self, step: "_State", share: float) -> "_State":
        return _State(
            unknowns=self.unknowns + share * step.unknowns,
            slack=self.slack + share * step.slack,
            pressure=self.pressure + share * step.pressure,
        )

    def reach(self, step: "_State") -> float:
        """Return the largest share of ``step``, up to 1, that leaves the interior nowhere."""
        pairs = ((self.slack, step.slack), (self.pressure, step.pressure))
        shares = [-(at[by < 0] / by[by < 0]) for at, by in pairs]
        return float(min(1.0, *(share.min(initial=1.0) for share in shares)))


def _improved(state: _State, errors: _Errors, band: Rows, walls: Rows) -> _State:
    """Return the state after one step of Mehrotra's predictor and corrector."""
    try:
        factor = linalg.cholesky_banded(_stiffened(band, state, walls), check_finite=False)
    except linalg.LinAlgError as error:
        raise ArithmeticError(f"no solution: {error}") from error

    def towards(product: Rows) -> _State:
        wanted = errors.slope + ((state.pressure * errors.room - product) / state.slack) @ walls
        solved = linalg.cho_solve_banded((factor, False), -wanted.ravel(), check_finite=False)
        unknowns = solved.reshape(state.unknowns.shape)
        slack = -errors.room - unknowns @ walls.T
        pressure = -(product + state.pressure * slack) / state.slack
        return _State(unknowns=unknowns, slack=slack, pressure=pressure)

    product = state.slack * state.pressure
    guess = towards(product)
    reach = state.reach(guess)
    ahead = state.moved(guess, reach)
    centring = (float((ahead.slack * ahead.pressure).mean()) / errors.gap) ** 3
    step = towards(product + reach * guess.slack * guess.pressure - centring * errors.gap)
    return state.moved(step, 0.99 * state.reach(step))


def _stiffened(band: Rows, state: _State, walls: Rows) -> Rows:
    """Return the band with the curvature that the walls' pressure adds within each frame."""
    stiff, count = band.copy(), walls.shape[1]
    curves = np.einsum("tm,mi,mj->tij", state.pressure / state.slack, walls, walls, optimize=True)
    for i in range(count):
        for j in range(i, count):
            stiff[len(band) - 1 - (j - i), j::count] += curves[:, i, j]
    return stiff
