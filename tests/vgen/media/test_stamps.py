"""Timelines follow from the stamps of packets alone."""

from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgen.media.stamps import Stamp, judge_access, noted, plan_timeline

TICK = Fraction(1, 90_000)


def steady(num_frames=10, step=3600, start=0, key_every=5):
    return [Stamp(start + n * step, start + n * step, step, n % key_every == 0)
            for n in range(num_frames)]  # fmt: skip


def judged(stamps, format_name="mpegts", codec="h264", is_reordered=True):
    return judge_access(
        stamps, format_name=format_name, codec=codec, is_reordered=is_reordered, time_base=TICK
    )


def planned(stamps, access="seek", first_pts=None, rate=25):
    return plan_timeline(
        stamps, access=access, time_base=TICK, rate=Fraction(rate), first_pts=first_pts
    )


@pytest.mark.parametrize(
    ("extradata", "is_reordered", "access"),
    [
        (b"\0\0\1\xb2DivX503b1393p", True, "ordinal"),
        (b"\0\0\1\xb2DivX503b1393p", False, "seek"),  # no B picture that could be packed
        (b"\0\0\1\xb2DivX503b1393", True, "seek"),
        (b"\0\0\1\xb2Lavc63.1.102", True, "seek"),
        (None, True, "seek"),
    ],
)
def test_packed_pictures_are_counted(extradata, is_reordered, access):
    judge = partial(judge_access, steady(), is_reordered=is_reordered, time_base=TICK)
    for name in ("avi", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"):
        assert judge(format_name=name, codec="mpeg4", extradata=extradata) == access


@given(st.permutations(steady()))
def test_packets_in_any_order_give_frames_in_order_of_display(stamps):
    timeline = planned(stamps)
    assert timeline.pts == tuple(range(0, 36_000, 3600))
    assert timeline.keyframes == (0, 5)
    assert timeline.last_duration == 3600


def test_frames_before_the_first_that_decodes_are_not_planned():
    timeline = planned(steady(), first_pts=2 * 3600)
    assert timeline.pts[0] == 7200
    assert timeline.keyframes == (0, 3)


def test_frames_that_share_a_pts_are_planned_once():
    timeline = planned([*steady(), Stamp(3600, 36_000, 3600, False)])
    assert (len(timeline), timeline.num_hidden) == (10, 1)
    assert planned(steady()).num_hidden == 0


def test_single_packets_without_pts_are_damage_and_leave_the_rest_as_it_is():
    stamps = steady(200)
    stamps[7] = stamps[7]._replace(pts=None)
    assert judged(stamps) == "seek"
    assert len(planned(stamps)) == 199


def test_packets_without_pts_are_counted():
    stamps = [stamp._replace(pts=None, dts=None) for stamp in steady()]
    assert judged(stamps) == "ordinal"
    assert planned(stamps, "ordinal").pts == tuple(range(0, 36_000, 3600))


def test_counted_frames_follow_the_dts_where_all_packets_have_one():
    stamps = [stamp._replace(pts=None) for stamp in steady(start=900)]
    del stamps[3]  # a frame that AVI left out to be shown longer
    assert planned(stamps, "ordinal", rate=10).pts == tuple(stamp.dts for stamp in stamps)


def test_counted_frames_keep_apart_where_ticks_are_coarse():
    stamps = [Stamp(None, None, 0, True)] * 4
    timeline = plan_timeline(
        stamps, access="ordinal", time_base=Fraction(1, 10), rate=Fraction(25), first_pts=None
    )
    assert timeline.pts == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("step_back", "access"), [(3600, "seek"), (9000, "seek"), (12_600, "sequential")]
)
def test_a_clock_that_steps_back_by_more_than_a_tenth_of_a_second_has_jumped(step_back, access):
    stamps = steady(5)
    stamps += steady(5, start=stamps[-1].dts - step_back)
    assert judged(stamps) == access


@pytest.mark.parametrize(("gap_s", "access"), [(10, "seek"), (11, "sequential")])
def test_a_clock_that_leaps_by_more_than_ten_seconds_has_jumped(gap_s, access):
    assert judged(steady(5) + steady(5, start=4 * 3600 + gap_s * 90_000)) == access


def test_long_gaps_are_no_jump_where_the_container_has_an_index():
    assert judged(steady(step=30 * 90_000), "matroska,webm") == "seek"


def test_a_stray_pts_asks_for_repair():
    stamps = steady()
    stamps[4] = stamps[4]._replace(pts=1 << 33)
    assert judged(stamps) == "sequential"


@pytest.mark.parametrize("format_name", ["gif", "h264", "mpegvideo", "ivf"])
def test_formats_that_cannot_seek_are_read_from_the_start(format_name):
    assert judged(steady(), format_name) == "sequential"


@pytest.mark.parametrize(
    ("codec", "is_reordered", "access"),
    [("h264", True, "ordinal"), ("h264", False, "seek"), ("mpeg4", True, "seek")],
)
def test_reordered_h264_in_avi_is_counted(codec, is_reordered, access):
    assert judged(steady(), "avi", codec, is_reordered) == access


@pytest.mark.parametrize(
    ("durations", "last"),
    [
        ((3600, 3600, 3600, 1800), 1800),
        ((1, 1, 1, 1), 3600),  # a container that takes every frame for a millisecond
        ((0, 0, 0, 0), 3600),
        ((3600, 3600, 3600, 0), 3600),
        ((90_000, 90_000, 90_000, 90_000), 3600),
    ],
)
def test_the_last_frame_lasts_as_its_packet_says_if_packets_are_credible(durations, last):
    stamps = [s._replace(duration=d) for s, d in zip(steady(4), durations, strict=True)]
    assert planned(stamps).last_duration == last


@pytest.mark.parametrize(("duration", "last"), [(1234, 1234), (0, 3600)])
def test_a_single_frame_lasts_as_its_packet_or_the_rate_says(duration, last):
    assert planned([Stamp(5, 5, duration, True)]).last_duration == last


def test_packets_outside_the_edit_list_and_before_the_first_keyframe_are_not_noted():
    def packet(pts, *, is_keyframe=False, is_discard=False):
        return SimpleNamespace(
            pts=pts, dts=pts, duration=1, is_keyframe=is_keyframe, is_discard=is_discard
        )

    packets = [
        packet(0),
        packet(1, is_keyframe=True, is_discard=True),
        packet(2),
        packet(3, is_discard=True),
    ]
    stamps = []
    assert list(noted(packets, "h264", stamps)) == packets
    assert stamps == [Stamp(2, 2, 1, False)]
