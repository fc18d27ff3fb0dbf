import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vgen.post.shaky import matrix, shaken, slow_crop
from vgen.post.path import accumulate, compose, gaussian, in_windows, inverse, largest_crop

ASPECT = 16 / 9


maps = st.tuples(*[st.floats(-0.3, 0.3)] * 2, st.floats(0.7, 1.3), st.floats(-0.3, 0.3))


@settings(deadline=None)
@given(maps, maps)
def test_maps_compose_and_invert_as_matrices_do(outer, inner):
    outer, inner = np.array(outer), np.array(inner)
    assert matrix(compose(outer, inner)) == pytest.approx(matrix(outer) @ matrix(inner))
    assert matrix(inverse(outer)) == pytest.approx(np.linalg.inv(matrix(outer)), abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(maps, min_size=1, max_size=4))
def test_the_largest_crop_is_the_one_found_by_shrinking(rows):
    rows = [(dx / 3, dy / 3, a, b) for dx, dy, a, b in rows]
    found = largest_crop(np.array(rows), aspect=ASPECT)
    assert found == pytest.approx(slow_crop(rows, ASPECT), abs=0.001)


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


@pytest.mark.parametrize("frames", [1, 3, 4, 10, 11, 16, 17, 100])
def test_windows_cover_every_frame_once_and_are_no_longer_than_asked(frames):
    steps, seen = np.arange(4.0 * frames).reshape(-1, 4), []

    def solve(window):
        seen.append(len(window))
        return window

    maps = in_windows(steps, solve, most_frames=10, shared_frames=4)
    assert np.allclose(maps, steps)
    assert max(seen) <= 10
    assert sum(seen) == frames + 4 * (len(seen) - 1)


def test_one_window_passes_into_the_next_without_a_jump():
    """Of windows that say 0, 1, 2: each counts alone at the edges of the others."""
    numbers = iter(range(9))
    steps = np.zeros((50, 4))
    maps = in_windows(steps, lambda window: window + next(numbers), most_frames=20, shared_frames=8)
    assert np.abs(np.diff(maps[:, 0])).max() < 0.3
    assert maps[[0, 13, 18, 25, 30, 49], 0].tolist() == [0, 0, 1, 1, 2, 3]
