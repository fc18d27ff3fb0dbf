import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from vgen.post.path import Weights, accumulate, compose, gaussian, inverse, largest_crop, steadiest

IDENTITY = np.array([0.0, 0.0, 1.0, 0.0])
WEIGHTS = Weights(first=1, second=0.25)
ASPECT = 16 / 9


def matrix(row):
    dx, dy, a, b = row
    return np.array([[a, -b, dx], [b, a, dy], [0, 0, 1]])


def shaken(num_frames, *, size=0.004, seed=0):
    rng = np.random.default_rng(seed)
    steps = np.tile(IDENTITY, (num_frames, 1))
    steps[1:, :2] += rng.normal(0, size, (num_frames - 1, 2))
    steps[1:, 3] = rng.normal(0, size / 4, num_frames - 1)
    return steps


maps = st.tuples(*[st.floats(-0.3, 0.3)] * 2, st.floats(0.7, 1.3), st.floats(-0.3, 0.3))


@settings(deadline=None)
@given(maps, maps)
def test_maps_compose_and_invert_as_matrices_do(outer, inner):
    outer, inner = np.array(outer), np.array(inner)
    assert matrix(compose(outer, inner)) == pytest.approx(matrix(outer) @ matrix(inner))
    assert matrix(inverse(outer)) == pytest.approx(np.linalg.inv(matrix(outer)), abs=1e-9)


def slow_crop(rows, aspect):
    """Shrink the frame's corners step by step until all of them lie in every frame."""
    for share in np.arange(1, 0, -0.0005):
        corners = np.array([[x, y / aspect, 1] for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
        corners[:, :2] *= share
        places = np.concatenate([corners @ matrix(row).T for row in rows])
        if (np.abs(places[:, 0]) <= 0.5).all() and (np.abs(places[:, 1]) <= 0.5 / aspect).all():
            return share
    return 0.0


@settings(max_examples=30, deadline=None)
@given(st.lists(maps, min_size=1, max_size=4))
def test_the_largest_crop_is_the_one_found_by_shrinking(rows):
    rows = [(dx / 3, dy / 3, a, b) for dx, dy, a, b in rows]
    found = largest_crop(np.array(rows), aspect=ASPECT)
    assert found == pytest.approx(slow_crop(rows, ASPECT), abs=0.001)


def test_the_steadiest_path_keeps_its_window_inside_every_frame():
    steps = shaken(60)
    found = steadiest(steps, scale=0.92, aspect=ASPECT, weights=WEIGHTS)
    assert slow_crop(found, ASPECT) >= 0.919
    assert (found[:, 2] >= 1 - 1e-9).all()


def test_the_steadiest_path_is_much_steadier():
    steps = shaken(60)
    before = accumulate(steps)
    after = compose(before, steadiest(steps, scale=0.9, aspect=ASPECT, weights=WEIGHTS))
    energies = [(np.diff(p, 2, axis=0) ** 2).sum() for p in (before, after)]
    assert energies[1] < 0.01 * energies[0]


def test_a_straight_pan_stays_straight():
    steps = np.tile([0.003, 0.001, 1.0, 0.0], (40, 1))
    found = steadiest(steps, scale=0.98, aspect=ASPECT, weights=WEIGHTS)
    pan = compose(accumulate(steps), found)
    assert np.abs(np.diff(pan, 2, axis=0)).max() < 1e-5


def slow_cost(steps, maps, weights):
    """The cost as the docstring says it, by matrices: differences relative to each frame."""
    share = np.array([1, 1, *[(1 + ASPECT**-2) / 12] * 2])
    ahead, here = compose(steps[1:], maps[1:]), maps[:-1]
    first = ahead - here
    second = np.diff(first, axis=0)
    return weights.first * (share * first**2).sum() + weights.second * (share * second**2).sum()


@pytest.mark.parametrize("second", [0.0, 0.25, 10.0])
def test_no_general_solver_finds_a_steadier_path(second):
    steps, weights = shaken(7, size=0.02), Weights(first=1, second=second)
    found = steadiest(steps, scale=0.95, aspect=ASPECT, weights=weights)
    corners = 0.95 * np.array([[x, y / ASPECT, 1] for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
    corners[:, 2] = 1

    def room(flat):
        places = np.concatenate([corners @ matrix(row).T for row in flat.reshape(-1, 4)])
        x, y = np.abs(places[:, 0]), np.abs(places[:, 1])
        return np.concatenate([0.5 - x, 0.5 / ASPECT - y, flat.reshape(-1, 4)[:, 2] - 1])

    slow = optimize.minimize(
        lambda flat: 1e3 * slow_cost(steps, flat.reshape(-1, 4), weights),
        np.tile(IDENTITY, 7),
        constraints={"type": "ineq", "fun": room},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-9},
    )
    assert slow.success
    assert room(found.ravel()).min() > -1e-8
    assert 1e3 * slow_cost(steps, found, weights) <= slow.fun * (1 + 1e-5)


def test_a_long_shot_is_solved_as_a_whole():
    steps = shaken(3000)
    before = accumulate(steps)
    after = compose(before, steadiest(steps, scale=0.9, aspect=1.5, weights=WEIGHTS))
    jolts, raw = (np.abs(np.diff(p[:, :2], 2, axis=0)).max() for p in (after, before))
    assert jolts < 0.2 * raw


def test_the_gaussian_path_is_the_smoothed_one():
    steps = shaken(50)
    steps[:, 3] = 0.0
    smooth = compose(accumulate(steps), gaussian(steps, sigma=5))
    at = np.arange(50)
    for t in (20, 30):
        weights = np.exp(-0.5 * ((at - t) / 5) ** 2)
        slow = (accumulate(steps) * weights[:, None]).sum(axis=0) / weights.sum()
        assert smooth[t] == pytest.approx(slow, abs=2e-4)


def test_no_maps_crop_nothing():
    assert largest_crop(np.empty((0, 4)), aspect=1.0) == 1.0


def test_a_solver_without_a_solution_is_told():
    with pytest.raises(ArithmeticError, match="no camera path for 12 frames"):
        # A window larger than the frame cannot lie inside.
        steadiest(shaken(12), scale=1.5, aspect=1.0, weights=WEIGHTS)
