"""A timeline refuses what is not one, and finds the keyframe before any frame."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgen.media.timeline import Timeline


def timeline(**changes) -> Timeline:
    fields = {
        "pts": (-5, 0, 7, 8),
        "keyframes": (0, 2),
        "time_base": Fraction(1, 90_000),
        "access": "seek",
        "last_duration": 3,
    }
    return Timeline(**fields | changes)


def test_its_length_is_the_number_of_frames_and_its_duration_reaches_past_the_last():
    assert len(timeline()) == 4
    assert timeline().duration == 8 - -5 + 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pts": ()}, "at least one frame"),
        ({"keyframes": ()}, "starts on a keyframe"),
        ({"keyframes": (1, 2)}, "starts on a keyframe"),
        ({"keyframes": (0, 2, 2)}, "strictly increasing indices"),
        ({"keyframes": (0, 4)}, "strictly increasing indices"),
        ({"pts": (0, 1, 1, 2)}, "pts must be strictly increasing"),
        ({"pts": (0, 2, 1, 3)}, "pts must be strictly increasing"),
        ({"last_duration": 0}, "must be positive"),
        ({"time_base": Fraction(0)}, "must be positive"),
    ],
)
def test_what_is_no_timeline_is_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        timeline(**changes)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True),
    st.integers(0, 40),
)
def test_the_keyframe_before_a_frame_is_the_nearest_one(others, frame):
    keyframes = tuple(sorted({0, *others}))
    found = timeline(pts=tuple(range(41)), keyframes=keyframes).keyframe_at_or_before(frame)
    assert found == max(key for key in keyframes if key <= frame)


@pytest.mark.parametrize("frame", [-1, 4])
def test_a_frame_outside_is_refused(frame):
    with pytest.raises(IndexError, match=f"frame {frame} is not one of 4"):
        timeline().keyframe_at_or_before(frame)
