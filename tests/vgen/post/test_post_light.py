import cv2
import numpy as np
import pytest

from tests.vgen.post.shaky import scene, shown_from
from vgen.post.light import measure_log_gain

SIZE = (96, 160)
STILL = scene(256, 320)


def luma(x=40.0, y=40.0, *, light=1.0, still=STILL):
    """What a camera sees from a place, in some light."""
    seen = shown_from(still, x, y, SIZE)[..., 1]
    return (seen * light).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("light", [0.75, 0.97, 1.004, 1.08, 1.2])
def test_light_of_known_size_is_measured(light):
    assert measure_log_gain(luma(), luma(light=light)) == pytest.approx(np.log(light), abs=0.002)


def test_a_camera_that_pans_to_brighter_things_is_not_taken_for_light():
    slope = np.linspace(0.6, 1.3, STILL.shape[1])[None, :, None]
    still = (STILL * slope).clip(0, 235).astype(np.uint8)
    before, after = luma(still=still), luma(52, 43, still=still, light=1.03)
    assert after.mean() / before.mean() > 1.045  # a mean would be wrong by half
    assert measure_log_gain(before, after) == pytest.approx(np.log(1.03), abs=0.004)


def test_the_measure_is_the_same_both_ways():
    before, after = luma(), luma(46, 41, light=1.1)
    there, back = measure_log_gain(before, after), measure_log_gain(after, before)
    assert there == pytest.approx(-back, abs=0.004)


def test_a_large_bright_thing_that_comes_in_is_not_taken_for_light():
    before, after = luma(), luma(light=0.95)
    cv2.circle(before, (0, 48), 40, 200, -1)
    cv2.circle(after, (24, 48), 40, 190, -1)
    assert measure_log_gain(before, after) == pytest.approx(np.log(0.95), abs=0.004)


def test_clipped_pixels_do_not_count():
    before = luma()
    before[:50] = 255
    after = np.clip(before * 0.9, 0, 255).round().astype(np.uint8)
    after[:50] = 255
    assert measure_log_gain(before, after) == pytest.approx(np.log(0.9), abs=0.004)


def test_the_light_of_a_flat_picture_is_measured_too():
    flat = np.full(SIZE, 100, np.uint8)
    assert measure_log_gain(flat, flat + 10) == pytest.approx(np.log(1.1), abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (4, 90), (200, 7), (300, 60)])
def test_pictures_of_any_size_are_compared(size):
    flat = np.full(size, 100, np.uint8)
    assert measure_log_gain(flat, flat + 10) == pytest.approx(np.log(1.1), abs=1e-4)


def test_black_and_white_say_nothing_of_the_light():
    black, white = np.zeros(SIZE, np.uint8), np.full(SIZE, 255, np.uint8)
    assert measure_log_gain(black, luma()) is None
    assert measure_log_gain(luma(), white) is None


def test_two_pictures_that_do_not_show_the_same_say_nothing_of_the_light():
    other = np.ascontiguousarray(STILL[::-1, ::-1])
    assert measure_log_gain(luma(), luma(still=other)) is None


def test_pictures_of_two_sizes_do_not_compare():
    with pytest.raises(ValueError, match=r"shapes differ: \(4, 4\) and \(4, 5\)"):
        measure_log_gain(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))
