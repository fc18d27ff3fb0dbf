"""Stills show the frame that changed most, in its own colours."""

import base64

import cv2
import numpy as np
import pytest

from tests.vgen.enhance.toys import flat_frame, noise_frames, video_of
from vgen.enhance import stills
from vgen.enhance.stills import MAX_WIDTH, STRIDE, StillPicker
from vgen.media.pixels import frame_from_planes

GRAY = video_of("gray", 16, 12, is_full_range=True)


def decoded(jpeg):
    raw = np.frombuffer(base64.b64decode(jpeg, validate=True), np.uint8)
    return cv2.imdecode(raw, cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def gray(level, pts):
    return flat_frame("gray", 16, 12, level, pts)


def test_the_pair_that_changed_most_is_kept():
    picker = StillPicker(is_enabled=True, video=GRAY)
    for index in range(4 * STRIDE):
        change = {0: 3, STRIDE: 20, 2 * STRIDE: 5}.get(index, 90)
        picker.observe(gray(100, index), gray(100 + change, index))
    # Index 3 * STRIDE changed by 90, all between the strides are not looked at.
    still = picker.still()
    assert (still.pts, round(still.change, 3)) == (3 * STRIDE, 90)
    assert abs(decoded(still.before_jpeg) - 100).max() <= 2
    assert abs(decoded(still.after_jpeg) - 190).max() <= 2


def test_few_frames_of_a_span_are_looked_at():
    picker = StillPicker(is_enabled=True, video=GRAY)
    for index in range(1, STRIDE):
        picker.observe(gray(100, 0), gray(100, 0))
        picker.observe(gray(100, index), gray(200, index))
        assert picker.still().change == 0
        picker = StillPicker(is_enabled=True, video=GRAY)


def test_frames_that_pass_through_are_measured_once(monkeypatch):
    measured = []
    monkeypatch.setattr(
        stills, "_rgb", lambda frame, *_: measured.append(frame) or np.zeros((2, 2, 3))
    )
    picker = StillPicker(is_enabled=True, video=GRAY)
    for index in range(3 * STRIDE):
        frame = gray(100, index)
        picker.observe(frame, frame)
    assert len(measured) == 2
    assert (picker.still().pts, picker.still().change) == (0, 0)


def test_no_frame_gives_no_still():
    assert StillPicker(is_enabled=True, video=GRAY).still() is None


def test_switched_off_it_keeps_nothing():
    picker = StillPicker(is_enabled=False, video=GRAY)
    frames = [gray(10, 0), gray(20, 1)]
    assert list(picker.after(picker.before(frames))) == frames
    picker.observe(frames[0], frames[1])
    assert picker.still() is None


def test_frames_are_paired_by_pts_on_their_way():
    picker = StillPicker(is_enabled=True, video=GRAY)

    def restored(frames):
        """Lags, and drops the context frame at either end."""
        for frame in list(frames)[1:-1]:
            yield gray(50 + frame.pts, frame.pts)

    sources = [gray(50, pts) for pts in range(5)]
    out = list(picker.after(restored(picker.before(sources))))
    assert [frame.pts for frame in out] == [1, 2, 3]
    assert (picker.still().pts, round(picker.still().change, 3)) == (1, 1)


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p10le", "gbrp"])
@pytest.mark.parametrize("matrix", [1, 6])
def test_colours_are_those_of_the_frame(name, matrix):
    red = (200, 40, 60)
    video = video_of(name, 32, 24, matrix=matrix)
    frame = coloured(red, name, matrix)
    picker = StillPicker(is_enabled=True, video=video)
    picker.observe(frame, frame)
    assert np.abs(decoded(picker.still().before_jpeg) - red).max() <= 6
    assert picker.still().change == 0


def test_the_output_is_shown_by_its_own_tags():
    video = video_of("gbrp", 32, 24)
    tags = video.color.model_copy(update={"matrix": 6, "is_full_range": False})
    picker = StillPicker(is_enabled=True, video=video, out_color=tags)
    colour = (30, 180, 90)
    picker.observe(coloured(colour, "gbrp", 0), coloured(colour, "yuv444p", 6))
    assert np.abs(decoded(picker.still().after_jpeg) - colour).max() <= 6
    assert picker.still().change < 1


def test_frames_in_an_exotic_matrix_have_stills_too():
    picker = StillPicker(is_enabled=True, video=video_of("yuv420p", 16, 12, matrix=14))
    frame = flat_frame("yuv420p", 16, 12, 128, 0)
    picker.observe(frame, frame)
    assert picker.still().change == 0


def test_stills_are_small_and_enlarged_output_is_compared_at_the_sources_size():
    video = video_of("yuv420p", 700, 40)
    before, after = flat_frame("yuv420p", 700, 40, 90, 0), flat_frame("yuv420p", 1400, 80, 99, 0)
    picker = StillPicker(is_enabled=True, video=video)
    picker.observe(before, after)
    for jpeg in (picker.still().before_jpeg, picker.still().after_jpeg):
        assert decoded(jpeg).shape == (27, MAX_WIDTH, 3)
    assert picker.still().change > 5


def test_the_same_frames_give_the_same_still():
    pairs = list(
        zip(noise_frames("yuv420p", 64, 48, 3), noise_frames("yuv420p", 64, 48, 3, 5), strict=True)
    )
    stills = []
    for _ in range(2):
        picker = StillPicker(is_enabled=True, video=video_of("yuv420p", 64, 48))
        for before, after in pairs:
            picker.observe(before, after)
        stills.append(picker.still())
    assert stills[0] == stills[1]


def coloured(rgb, name, matrix):
    """A flat frame whose code values come from the standard's equations."""
    red, green, blue = (value / 255 for value in rgb)
    if name == "gbrp":
        return frame_from_planes(
            [np.full((24, 32), v, np.uint8) for v in (rgb[1], rgb[2], rgb[0])], name, 0, None
        )
    kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}[matrix]
    y = kr * red + (1 - kr - kb) * green + kb * blue
    codes = [
        16 + 219 * y,
        128 + 112 * (blue - y) / (1 - kb),
        128 + 112 * (red - y) / (1 - kr),
    ]
    is_deep = "10" in name
    shapes = [(24, 32)] + [(12, 16) if "420" in name else (24, 32)] * 2
    planes = [
        np.full(shape, round(code * (4 if is_deep else 1)), np.uint16 if is_deep else np.uint8)
        for shape, code in zip(shapes, codes, strict=True)
    ]
    return frame_from_planes(planes, name, 0, None)
