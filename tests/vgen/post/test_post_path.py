import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgen.post import path
from vgen.post.path import Weights, accumulate, compose, gaussian, inverse, largest_crop, steadiest

IDENTITY = np.array([0.0, 0.0, 1.0, 0.0])
WEIGHTS = Weights(first=1, second=10, third=100)
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


def test_a_straight_pan_is_left_as_it_is():
    steps = np.tile([0.003, 0.001, 1.0, 0.0], (40, 1))
    found = steadiest(steps, scale=0.98, aspect=ASPECT, weights=WEIGHTS)
    pan = compose(accumulate(steps), found)
    assert np.abs(np.diff(pan, 2, axis=0)).max() < 1e-6


def test_windows_of_a_long_shot_join_without_a_jolt(monkeypatch):
    steps = shaken(90)
    monkeypatch.setattr(path, "WINDOW", 40)
    monkeypatch.setattr(path, "LOOK_AHEAD", 15)
    joined = compose(accumulate(steps), steadiest(steps, scale=0.9, aspect=1.5, weights=WEIGHTS))
    jolts, raw = (np.abs(np.diff(p, 2, axis=0)).max() for p in (joined, accumulate(steps)))
    assert jolts < 0.02 * raw
    assert len(joined) == 90


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
