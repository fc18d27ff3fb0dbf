import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vgen.post.shaky import matrix, shaken, slow_crop
from vgen.post.path import accumulate, compose, gaussian, inverse, largest_crop

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
