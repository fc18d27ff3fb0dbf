import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse

from vgen.post.interior import Program, least


def boxed(matrix, wanted, *, low, high, width):
    """The least ``|matrix x - wanted|`` with every unknown between two bounds."""
    ones = np.eye(width)
    return Program(
        cost=sparse.csr_matrix(matrix.T @ matrix),
        slope=-matrix.T @ wanted,
        walls=np.concatenate([ones, -ones]),
        room=np.array([high] * width + [-low] * width),
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(2, 12))
@example(82, 1, 3)  # with the whole corrector the method went round in circles
def test_the_least_is_that_of_bounded_least_squares(seed, width, frames):
    rng = np.random.default_rng(seed)
    count = width * frames
    near = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) <= 2
    matrix = np.eye(count) + 0.3 * near * rng.normal(0, 1, (count, count))
    wanted = rng.normal(0, 1, count)
    program = boxed(matrix, wanted, low=-0.5, high=0.25, width=width)
    found = least(program, np.zeros((frames, width))).ravel()
    slow = optimize.lsq_linear(matrix, wanted, bounds=(-0.5, 0.25), tol=1e-12)
    assert found.min() >= -0.5 - 1e-8
    assert found.max() <= 0.25 + 1e-8
    assert ((matrix @ found - wanted) ** 2).sum() <= 2 * slow.cost + 1e-7


def test_a_start_beyond_the_walls_is_brought_back():
    program = boxed(np.eye(6), np.full(6, 9.0), low=0.0, high=1.0, width=2)
    assert least(program, np.full((3, 2), 50.0)) == pytest.approx(np.ones((3, 2)), abs=1e-6)


def test_walls_that_leave_no_room_have_no_solution():
    program = boxed(np.eye(6), np.zeros(6), low=1.0, high=-1.0, width=2)
    with pytest.raises(ArithmeticError, match="no solution in 60 rounds"):
        least(program, np.zeros((3, 2)))


def test_a_cost_without_a_least_is_refused():
    program = Program(
        cost=sparse.csr_matrix(-np.eye(4)),
        slope=np.ones(4),
        walls=np.ones((1, 2)),
        room=np.ones(1),
    )
    with pytest.raises(ArithmeticError, match=r"no solution: .*not positive definite"):
        least(program, np.zeros((2, 2)))
