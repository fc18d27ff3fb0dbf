import cv2
import numpy as np
import pytest

from tests.vgen.post.shaky import boxed, scene, shown_from
from vgen.post.motion import IDENTITY, estimate_motion

SIZE = (120, 160)


def gray(picture):
    return np.ascontiguousarray(picture[..., 1])


@pytest.mark.parametrize(("x", "y"), [(3.0, -2.0), (0.5, 0.25), (-6.4, 4.6)])
def test_a_known_shift_is_found_to_a_twentieth_of_a_pixel(x, y):
    still = scene(200, 240)
    before, after = (shown_from(still, 40 + dx, 40 + dy, SIZE) for dx, dy in ((0, 0), (x, y)))
    motion = estimate_motion(gray(before), gray(after))
    found = np.array([motion.similarity.dx, motion.similarity.dy]) * SIZE[1]
    assert found == pytest.approx([-x, -y], abs=0.05)
    assert motion.similarity.a == pytest.approx(1, abs=1e-3)
    assert motion.quality > 0.8


def test_a_motion_holds_for_anamorphic_pictures():
    still = scene(200, 240)
    before, after = (shown_from(still, 40 + dx, 40 + dx, SIZE) for dx in (0, 3))
    similarity = estimate_motion(gray(before), gray(after), aspect=8 / 3).similarity
    # The same 3 pixels down are half as much of a picture shown twice as wide.
    assert similarity.dx * 160 == pytest.approx(-3, abs=0.1)
    assert similarity.dy * 160 == pytest.approx(-1.5, abs=0.1)


def test_flat_and_unlike_pictures_are_no_measurement():
    flat = np.full(SIZE, 90, np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, (2, *SIZE), np.uint8)
    assert estimate_motion(flat, flat).quality == 0
    unlike = estimate_motion(noise[0], noise[1])
    assert unlike.quality == 0
    assert unlike.similarity == IDENTITY


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (240, 1), (2, 2), (3, 300)])
def test_pictures_too_thin_for_corners_are_no_measurement(size):
    noise = np.random.default_rng(0).integers(0, 255, (2, *size), np.uint8)
    assert estimate_motion(noise[0], noise[1]).quality == 0


def test_someone_moving_does_not_make_a_still_camera_move():
    still = scene(*SIZE)
    later = still.copy()
    later[30:90, 30:80] = np.roll(still, 5, axis=1)[30:90, 30:80]
    motion = estimate_motion(gray(still), gray(later))
    assert motion.still > 0.5
    assert motion.similarity.dx * 160 == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("x", [1, 3, -2.5])
def test_what_moves_slowly_does_not_pull_the_camera_along(x):
    size = (240, 426)
    still = scene(280, 480)
    before, after = (gray(shown_from(still, 20 + dx, 20, size)) for dx in (0, x))
    # A quarter of the picture, all over it, drifts near enough to count as support.
    drifting = gray(shown_from(still, 20.8 + x, 20, size))
    for top in range(0, 240, 80):
        for left in range(0, 426, 80):
            after[top : top + 40, left : left + 40] = drifting[top : top + 40, left : left + 40]
    motion = estimate_motion(before, after)
    assert motion.quality > 0.9
    assert motion.similarity.dx * size[1] == pytest.approx(-x, abs=0.05)


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"shapes differ: \(4, 4\) and \(4, 5\)"):
        estimate_motion(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))


def test_bars_that_stand_still_are_left_out_and_the_motion_is_that_of_the_whole_picture():
    still = scene(200, 240)
    turn = cv2.getRotationMatrix2D((140.0, 90.0), 1.5, 1.01)
    places = (still[30:150, 40:200], cv2.warpAffine(still, turn, (240, 200))[30:150, 40:200])
    whole = estimate_motion(*(gray(place) for place in places)).similarity
    framed = [gray(boxed(place, 37, 24, 0, 30)) for place in places]
    inside = (slice(25, 89), slice(38, 160))
    motion = estimate_motion(*framed, inside=inside)
    assert motion.quality > 0.9
    for name in ("dx", "dy", "a", "b"):
        found, expected = getattr(motion.similarity, name), getattr(whole, name)
        assert found == pytest.approx(expected, abs=2e-4)
    assert abs(whole.b) > 0.02
