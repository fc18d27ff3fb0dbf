import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vgen.post.shaky import boxed, scene
from vgen.post.bars import NO_BARS, WHOLE, Bars, common_bars, find_bars, part_inside
from vgen.post.stats import Observer, measure_noise, measure_picture

SIZE = (120, 160)
PICTURE = scene(*SIZE)
ROW, COLUMN = 1 / SIZE[0], 1 / SIZE[1]


def bars(*widths, are_straight=(True, True, True, True)):
    return Bars(widths=widths, are_straight=are_straight)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.sampled_from([0, 1, 2, 7, 15, 30, 45])] * 4), st.integers(0, 6))
def test_bars_of_any_widths_are_found_in_spite_of_the_noise_of_coding(widths, noise):
    left, top, right, bottom = widths
    coded = boxed(PICTURE, *widths)
    coded += np.random.default_rng(0).integers(0, noise + 1, coded.shape, np.uint8)
    found = find_bars(coded)
    assert found.are_straight == tuple(width > 0 for width in widths)
    for width, share, size in zip(widths, found.widths, SIZE[::-1] * 2, strict=True):
        assert width <= share * size + 1e-9 <= width + 0.3
    rows, columns = part_inside(found.inside, *SIZE)
    # Nothing of the bars, and of the picture all but a row or two beside them.
    assert top <= rows.start <= top + 2 * (top > 0)
    assert SIZE[0] - bottom >= rows.stop >= SIZE[0] - bottom - 2 * (bottom > 0)
    assert left <= columns.start <= left + 2 * (left > 0)
    assert SIZE[1] - right >= columns.stop >= SIZE[1] - right - 2 * (right > 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 70), st.integers(1, 70))
def test_a_picture_that_reaches_to_all_sides_is_measured_whole(seed, height, width):
    picture = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    picture[[0, -1]] |= 16
    picture[:, [0, -1]] |= 16
    found = find_bars(picture)
    assert found == NO_BARS
    assert found.inside == WHOLE
    assert part_inside(WHOLE, height, width) == (slice(0, height), slice(0, width))


def test_an_edge_between_two_rows_is_placed_between_them():
    """The picture begins 50 of 480 rows down and 83 of 640 columns in, made four times smaller."""
    large = boxed(scene(480, 640), 83, 50, 0, 0)
    small = cv2.resize(large, SIZE[::-1], interpolation=cv2.INTER_AREA)
    left, top, right, bottom = find_bars(small).widths
    assert top == pytest.approx(50 / 480, abs=0.2 * ROW)
    assert left == pytest.approx(83 / 640, abs=0.2 * COLUMN)
    assert right == bottom == 0
    rows, columns = part_inside(find_bars(small).inside, *SIZE)
    assert (rows.start, columns.start) == (14, 22)  # row 12 and column 20 are mixed


def test_black_frames_have_no_bars_to_speak_of():
    black = np.full((*SIZE, 3), 3, np.uint8)
    assert find_bars(black) is None
    black[40:44, 40:44] = 200
    assert find_bars(black) is None
    assert measure_picture(black).bars is None
    assert measure_picture(black).luma[-1] > 0.01


def test_a_dark_scene_and_a_title_have_no_bars():
    night = np.zeros((*SIZE, 3), np.uint8)
    rng = np.random.default_rng(0)
    # Roofs against a black sky, higher and lower.
    for x, height in enumerate(np.repeat(rng.integers(20, 80, 16), 10)):
        night[SIZE[0] - height :, x] = 70
    title = np.zeros((*SIZE, 3), np.uint8)
    for line in range(30, 90, 15):
        cv2.putText(title, "A long title", (20, line), 0, 0.5, (230, 230, 230))
    for picture in (night, title):
        found = find_bars(picture)
        assert max(found.widths) > 0.05
        assert found.inside == WHOLE


def test_a_subtitle_in_a_bar_belongs_to_the_bar():
    plain = boxed(PICTURE, 0, 24, 0, 30)
    titled = plain.copy()
    cv2.putText(titled, "Said in a bar", (25, 110), 0, 0.5, (230, 230, 230))
    assert find_bars(titled) == find_bars(plain)
    assert measure_picture(titled) == measure_picture(plain)


def test_a_shot_has_the_narrowest_bars_of_its_frames():
    wide, narrow = bars(0.0, 0.126, 0.0, 0.2), bars(0.0, 0.12, 0.0, 0.12)
    assert common_bars([wide, None, narrow]).widths == pytest.approx((0.0, 0.123, 0.0, 0.12))
    assert common_bars([]) == common_bars([None]) == NO_BARS
    assert common_bars([narrow, NO_BARS]).inside == WHOLE


def test_a_frame_that_is_dark_at_a_side_does_not_hide_the_bar_that_others_show():
    no = (False, False, False, False)
    dark, clear = bars(0.0, 0.3, 0.0, 0.12, are_straight=no), bars(0.0, 0.12, 0.0, 0.121)
    assert common_bars([dark, clear]).inside == clear.inside
    # Nor does it prove one by itself.
    assert common_bars([dark, dark]).inside == WHOLE


@pytest.mark.parametrize("widths", [(0, 15, 0, 15), (20, 0, 20, 0), (12, 9, 31, 20)])
def test_what_is_measured_between_bars_is_what_is_measured_without_them(widths):
    left, top, right, bottom = widths
    rng = np.random.default_rng(3)
    stills = [
        np.clip(PICTURE * light + rng.normal(0, 4, PICTURE.shape), 16, 255).astype(np.uint8)
        for light in (1.0, 1.07)
    ]
    framed, alone = (Observer(with_motion=False, with_light=True) for _ in range(2))
    for number, still in enumerate(stills):
        picture = boxed(still, *widths)
        rows, columns = part_inside(find_bars(picture).inside, *SIZE)
        inner = np.ascontiguousarray(still[rows, columns])
        large = cv2.resize(picture[..., 1], None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
        large += rng.normal(6, 2, large.shape).round().clip(0, 20).astype(np.uint8)
        seen, expected = framed.see(number, picture, luma_hw=large), alone.see(number, inner)
        assert seen.luma == expected.luma
        assert seen.detail == pytest.approx(expected.detail, abs=1e-6)
        assert seen.illuminant == pytest.approx(expected.illuminant, abs=1e-6)
        assert seen.mean_ycc == pytest.approx(expected.mean_ycc, abs=1e-6)
        assert seen.spread_ycc == pytest.approx(expected.spread_ycc, abs=1e-6)
        # Every fourth pixel of the blocks alone says the same of the noise.
        inside = large[4 * top : 4 * (SIZE[0] - bottom), 4 * left : 4 * (SIZE[1] - right)]
        assert seen.sigma == pytest.approx(measure_noise(inside), rel=0.1)
        if number:
            assert seen.log_gain == pytest.approx(expected.log_gain, abs=1e-3)
            assert seen.log_gain == pytest.approx(np.log(1.07), abs=0.01)
