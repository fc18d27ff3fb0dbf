import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vgen.post.shaky import matrix, shaken, slow_crop
from vgen.post.path import (
    accumulate,
    aspect_of,
    compose,
    gaussian,
    in_windows,
    inverse,
    largest_crop,
    place_of,
    seen_from,
)

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


@settings(max_examples=30, deadline=None)
@given(maps, st.tuples(*[st.floats(0, 0.4)] * 4), st.tuples(*[st.floats(-0.5, 0.5)] * 2))
def test_a_part_of_the_frame_is_moved_as_the_frame_is(row, sides, at):
    """A point of the part, in pixels of a frame of 1600 x 900, ends where the frame's map says."""
    left, top, right, bottom = sides[0], sides[1], 1 - sides[2], 1 - sides[3]
    inside = (left, top, right, bottom)

    def pixels(x, y, a_left, a_top, a_right, a_bottom):
        wide, high = 1600 * (a_right - a_left), 900 * (a_bottom - a_top)
        return [1600 * a_left + wide / 2 + wide * x, 900 * a_top + high / 2 + wide * y]

    frame, part = np.array(row), seen_from(place_of(inside, ASPECT), np.array(row))
    x, y, _ = matrix(part) @ [*at, 1]
    here, there = pixels(*at, *inside), pixels(x, y, *inside)
    moved = matrix(frame) @ [(here[0] - 800) / 1600, (here[1] - 450) / 1600, 1]
    assert there == pytest.approx(pixels(moved[0], moved[1], 0, 0, 1, 1), abs=1e-6)
    assert seen_from(inverse(place_of(inside, ASPECT)), part) == pytest.approx(frame, abs=1e-9)
    shape = 1600 * (right - left) / (900 * (bottom - top))
    assert aspect_of(inside, ASPECT) == pytest.approx(shape)


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
