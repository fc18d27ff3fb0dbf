"""What is done with fields follows from flags and pictures; spans and times follow from that."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chunked import video_info
from tests.media_factory import run_ffmpeg
from tests.spans import ref_of, spans_at
from tests.vgen.media import field_clips
from vgen.config import EncodeSettings, Limits
from vgen.errors import ProbeError
from vgen.media.combing import follows_film, has_pulldown, judge_fields, picture_lines
from vgen.media.encoders import resolve_encoding
from vgen.media.field_survey import NUM_RUNS, RUN_FRAMES, FieldEvidence, survey_fields
from vgen.media.fields import (
    CONTEXT,
    FieldPlan,
    as_decoded,
    decoded_span,
    plan_fields,
    presented,
    presented_span,
)
from vgen.media.pixels import frame_from_planes
from vgen.media.probe import probe_video
from vgen.media.timeline import Timeline

FIELD = FieldPlan(rate="field", order="tff", trusts_flags=True, takes_unclear=True)
FRAME = FIELD.model_copy(update={"rate": "frame"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fields")


def decided(path, mode="auto"):
    """Plan and notes of a clip."""
    info, timeline = probe_video(ref_of(path), Limits())
    return plan_fields(info, survey_fields(str(path), info, timeline), mode)


@pytest.mark.parametrize(
    ("make", "order", "trusts", "takes", "says"),
    [
        (lambda at: field_clips.interlaced(at), "tff", True, True, "top field first, by flags"),
        (
            lambda at: field_clips.interlaced(at, order="bff"),
            "bff", True, True, "interlaced, bottom field first, by flags",
        ),
        (
            lambda at: field_clips.interlaced(at, flag="prog"),
            "tff", False, True, "top field first, by its pictures, not flagged",
        ),
        (
            lambda at: field_clips.interlaced(at, order="bff", flag="prog"),
            "bff", False, True, "bottom field first, by its pictures, not flagged",
        ),
        (
            lambda at: field_clips.interlaced(at, order="bff", flag="tff"),
            "bff", False, True, "bottom field first, by its pictures, against its flags",
        ),
        (
            lambda at: field_clips.mixed(at, flag="tff"),
            "tff", True, False, "interlaced in part, top field first, by flags",
        ),
        (
            lambda at: field_clips.mixed(at, flag="prog"),
            "tff", False, False, "interlaced in part, top field first, by its pictures",
        ),
        (
            lambda at: field_clips.progressive(at, flag="bff"),
            "bff", False, False, "flagged as interlaced, bottom field first, but progressive",
        ),
        (
            lambda at: field_clips.telecined(at),
            "tff", False, False, "3:2 pulldown (telecine), top field first",
        ),
        (
            lambda at: field_clips.telecined(at, order="bff"),
            "bff", False, False, "3:2 pulldown (telecine), bottom field first",
        ),
        (
            lambda at: field_clips.telecined(at, flag="prog"),
            "tff", False, False, "3:2 pulldown",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["auto", "frame", "field"])
def test_what_is_interlaced_is_deinterlaced_and_the_note_says_why(
    folder, make, order, trusts, takes, says, mode
):
    rate = "field" if mode == "field" else "frame"
    plan, [note] = decided(make(folder).path, mode)
    assert (plan.rate, plan.order) == (rate, order)
    assert (plan.trusts_flags, plan.takes_unclear) == (trusts, takes)
    assert says in note
    assert f"deinterlaced with bwdif at {rate} rate" in note
    assert plan.has_pulldown == ("3:2" in note)


@pytest.mark.parametrize("mode", ["auto", "frame", "field", "never"])
def test_a_progressive_video_is_left_as_it_is(folder, mode):
    assert decided(field_clips.progressive(folder).path, mode) == (None, ())


def test_never_leaves_what_is_interlaced(folder):
    assert decided(field_clips.interlaced(folder).path, "never") == (None, ())


@pytest.mark.parametrize(("mode", "is_taken"), [("auto", False), ("frame", True), ("field", True)])
def test_where_nothing_tells_only_who_asks_gets_it(tmp_path, mode, is_taken):
    still = tmp_path / "still.mkv"
    picture = "testsrc2=size=64x48:rate=25:duration=2,trim=end_frame=1,loop=-1:1,trim=end_frame=40"
    run_ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "ffv1", still)
    plan, notes = decided(still, mode)
    assert (plan is not None) == is_taken
    if is_taken:
        told = "interlaced, top field first, assumed, as nothing tells"
        assert notes == (f"{told}: deinterlaced with bwdif at {mode} rate",)


@pytest.mark.parametrize(
    ("video", "reason"),
    [({"height": 2}, "64x2 is too small for bwdif"), ({"width": 2}, "2x48 is too small"),
     ({"pixel_format": "gray10le"}, "bwdif does not take gray10le")],
)  # fmt: skip
def test_pictures_that_bwdif_does_not_take_are_left_with_a_note(video, reason):
    info = video_info(**video, field_order="tff")
    plan, [note] = plan_fields(info, FieldEvidence(flagged=Counter(tff=30)), "auto")
    assert plan is None
    assert note.startswith("interlaced, and left so: ")
    assert reason in note


@pytest.mark.parametrize(
    "seen",
    [
        Counter(tff=11, progressive=30),
        Counter(tff=12, progressive=50),
        Counter(tff=30, bff=4),
    ],
)
def test_neither_a_few_doubtful_frames_nor_two_orders_make_a_video_interlaced(seen):
    """Progressive video in motion has frames that look interlaced, of either order."""
    evidence = FieldEvidence(flagged=Counter(progressive=55), seen=seen)
    assert plan_fields(video_info(), evidence, "auto") == (None, ())


@pytest.mark.parametrize("seen", [Counter(bff=12, progressive=40), Counter(tff=30, bff=3)])
def test_enough_frames_of_one_order_make_an_unflagged_video_interlaced(seen):
    evidence = FieldEvidence(flagged=Counter(progressive=55), seen=seen)
    plan, [note] = plan_fields(video_info(), evidence, "auto")
    assert plan.order == ("bff" if seen["bff"] > seen["tff"] else "tff")
    assert "not flagged" in note


PROGRESSIVE = [
    "h264_mp4", "h264_ts", "vfr_mp4", "ntsc_mp4", "ten_bit_mkv", "hdr10_mkv", "odd_size_mkv",
    "mpeg2_ps", "mpeg4_avi", "vp8_webm", "av1_mp4", "prores_mov", "gray_mkv", "rgb_mkv", "gif",
]  # fmt: skip


@pytest.mark.parametrize("clip", PROGRESSIVE)
def test_small_progressive_clips_of_all_kinds_stay_on_the_exact_path(media, clip):
    assert decided(media[clip]) == (None, ())


@pytest.mark.parametrize("picture", ["testsrc2", "testsrc", "mandelbrot", "cellauto=rule=110"])
@pytest.mark.parametrize("size", ["96x64", "128x96", "160x120", "320x240", "640x360"])
def test_synthetic_pictures_that_move_in_jumps_are_not_taken_for_fields(tmp_path, picture, size):
    path, sep = tmp_path / "jumps.mkv", ":" if "=" in picture else "="
    source = f"{picture}{sep}size={size}:rate=25,trim=end_frame=70"
    run_ffmpeg("-f", "lavfi", "-i", source, "-c:v", "ffv1", "-g", "7", "-pix_fmt", "yuv420p", path)
    assert decided(path) == (None, ())


def test_who_asks_for_fields_still_gets_what_is_no_interlaced_video_untouched():
    seen = Counter(progressive=1, unclear=50)
    evidence = FieldEvidence(flagged=Counter(progressive=51), seen=seen)
    assert plan_fields(video_info(height=480), evidence, "field") == (None, ())


@pytest.mark.parametrize("mode", ["frame", "field"])
@pytest.mark.parametrize(
    ("seen", "height"), [(Counter(), 2160), (Counter(), 1153), (Counter(unclear=9), 1280)]
)
def test_who_asks_for_fields_is_told_where_there_are_more_lines_than_fields_have(
    seen, height, mode
):
    evidence = FieldEvidence(seen=seen)
    plan, [note] = plan_fields(video_info(height=height), evidence, mode)
    assert plan is None
    assert f"taken for progressive though deinterlace is {mode!r}" in note
    assert f"no interlaced system has its {height} lines" in note
    assert plan_fields(video_info(height=height), evidence, "auto") == (None, ())
    flagged = FieldEvidence(flagged=Counter(tff=30))
    assert plan_fields(video_info(height=height), flagged, mode)[0] is not None


def test_the_flag_of_the_first_frames_counts_where_the_survey_saw_none():
    plan, [note] = plan_fields(video_info(field_order="bff"), FieldEvidence(), "auto")
    assert (plan.order, plan.trusts_flags) == ("bff", True)
    assert "by flags" in note


def test_the_survey_is_short_and_spread(media):
    info, timeline = probe_video(ref_of(media["h264_mp4"]), Limits())
    evidence = survey_fields(str(media["h264_mp4"]), info, timeline)
    assert RUN_FRAMES < evidence.flagged.total() <= NUM_RUNS * RUN_FRAMES


@pytest.mark.parametrize(
    "clip", ["mpeg2_raw", "h264_avi", "torn.mkv", "damaged.ts", "cut_start.ts"]
)
def test_sources_of_every_access_are_surveyed(media, clip):
    info, timeline = probe_video(ref_of(media[clip]), Limits())
    evidence = survey_fields(str(media[clip]), info, timeline)
    assert evidence.flagged["progressive"] > RUN_FRAMES
    assert set(evidence.flagged) == {"progressive"}


def test_a_place_that_cannot_be_reached_is_passed_over(media):
    info, timeline = probe_video(ref_of(media["y4m"]), Limits())
    far = Timeline(
        pts=(*timeline.pts[:20], 10**12, 10**12 + 1), keyframes=(0, 20), access="seek",
        time_base=timeline.time_base, last_duration=1,
    )  # fmt: skip
    # Key frames 0 and 20 are asked for, and the second is past the file's end.
    evidence = survey_fields(str(media["y4m"]), info, far)
    assert 0 < evidence.flagged.total() <= NUM_RUNS * RUN_FRAMES


def test_a_picture_larger_than_any_interlaced_system_is_not_surveyed(media):
    info, timeline = probe_video(ref_of(media["h264_mp4"]), Limits())
    tall = info.model_copy(update={"video": info.video.model_copy(update={"height": 2160})})
    assert survey_fields(str(media["h264_mp4"]), tall, timeline) == FieldEvidence()


def test_a_source_that_went_away_is_told(media, tmp_path):
    info, timeline = probe_video(ref_of(media["h264_mp4"]), Limits())
    with pytest.raises(ProbeError):
        survey_fields(str(tmp_path / "gone.mp4"), info, timeline)


# Pictures whose comb teeth are known: a ramp that moves by whole columns a field.
def moment(time: int, width=80, height=40):
    rows, columns = np.mgrid[:height, :width]
    return np.where((columns - 4 * time + rows // 8) % 20 < 10, 40, 200).astype(np.int16)


def woven(first: int, second: int, *, order="tff"):
    """Fields of two moments as one frame."""
    top, bottom = (first, second) if order == "tff" else (second, first)
    frame = moment(top)
    frame[1::2] = moment(bottom)[1::2]
    return frame


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_fields_of_two_moments_are_told_with_their_order(order):
    frames = [woven(2 * n, 2 * n + 1, order=order) for n in range(3)]
    assert judge_fields(*frames) == order


def test_fields_of_one_moment_are_progressive():
    assert judge_fields(moment(0), moment(2), moment(4)) == "progressive"


@pytest.mark.parametrize("frames", [(0, 0, 0), (0, 0, None), (None, 0, 2)])
def test_nothing_is_told_without_motion_or_neighbours(frames):
    assert judge_fields(*(None if at is None else moment(at) for at in frames)) == "unclear"


def test_a_picture_of_three_lines_tells_nothing():
    assert judge_fields(moment(0)[:3], moment(2)[:3], moment(4)[:3]) == "unclear"


def test_a_repeated_frame_and_a_cut_are_not_taken_for_fields():
    """Both change on one side only, which a measure of motion alone takes for an order."""
    other = moment(3)[::-1].copy()
    assert judge_fields(moment(0), moment(0), moment(2)) not in ("tff", "bff")
    assert judge_fields(moment(0), moment(2), other) not in ("tff", "bff")


def test_pulldown_is_known_by_its_rhythm_alone():
    film = [moment(3 * n) for n in range(12)]
    pattern = [(0, 0), (1, 1), (1, 2), (2, 3), (3, 3)]
    frames = []
    for cycle in range(3):
        for top, bottom in pattern:
            frame = film[4 * cycle + top].copy()
            frame[1::2] = film[4 * cycle + bottom][1::2]
            frames.append(frame)
    assert has_pulldown(frames[:11])
    assert has_pulldown(frames[2:13])
    assert not has_pulldown(frames[:10])
    assert not has_pulldown(film[:11])
    assert not has_pulldown([woven(2 * n, 2 * n + 1) for n in range(11)])


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_a_woven_film_frame_follows_the_frame_whose_field_it_shares(order):
    film = [moment(3 * n) for n in range(3)]
    between = woven(3, 6, order=order)
    assert follows_film(film[1], between, order)
    assert not follows_film(film[0], between, order)
    assert not follows_film(None, between, order)
    assert not follows_film(film[1][:3], between[:3], order)
    assert not follows_film(woven(0, 1, order=order), woven(2, 3, order=order), order)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
def test_lines_are_kept_and_columns_thinned_in_8_bit_levels(pixel_format):
    shift = 2 if pixel_format.endswith("10le") else 0
    luma = (np.arange(48)[:, None] + np.zeros((1, 1000), int)) << shift
    chroma = np.zeros((24, 500), int)
    dtype = "<u2" if shift else np.uint8
    planes = [plane.astype(dtype) for plane in (luma, chroma, chroma)]
    lines = picture_lines(frame_from_planes(planes, pixel_format, 0, None))
    assert lines.shape == (48, 500)
    assert np.array_equal(lines[:, 7], np.arange(48))


@st.composite
def timelines(draw):
    steps = draw(st.lists(st.integers(1, 9), min_size=1, max_size=60))
    start = draw(st.integers(-50, 50))
    pts = tuple(np.cumsum([start, *steps[1:]]).tolist())
    return Timeline(
        pts=pts, keyframes=(0,), access="seek", time_base=Fraction(1, 90), last_duration=steps[0]
    )


@given(timeline=timelines(), cuts=st.sets(st.integers(1, 59)), context=st.integers(0, 5))
def test_output_spans_undo_and_cover_two_pictures_a_frame(timeline, cuts, context):
    spans = spans_at(timeline, cuts, lead=context, tail=context)
    shown = [presented_span(span, FIELD, timeline.last_duration) for span in spans]
    assert [decoded_span(span, FIELD) for span in shown] == spans
    owned = [pts for span in shown for pts in span.pts if span.owns(pts)]
    ends = (*timeline.pts[1:], timeline.pts[-1] + timeline.last_duration)
    halves = [t for a, b in zip(timeline.pts, ends, strict=True) for t in (2 * a, a + b)]
    assert owned == halves
    assert all(a < b for a, b in pairwise(halves))
    assert [span.stop for span in shown][-1] == 2 * len(timeline)
    for span in shown:
        assert len(span.pts) == span.lead + span.stop - span.start + span.tail


@given(timeline=timelines(), cuts=st.sets(st.integers(1, 59)))
def test_at_frame_rate_spans_stay(timeline, cuts):
    for span in spans_at(timeline, cuts, lead=2, tail=2):
        assert presented_span(span, FRAME, timeline.last_duration) == span
        assert decoded_span(span, FRAME) == span


def test_field_rate_doubles_frames_and_halves_ticks():
    info = video_info(time_base=Fraction(1001, 30000), average_rate=Fraction(30000, 1001))
    shown = presented(info, FIELD)
    assert shown.num_frames == 2 * info.num_frames
    assert shown.video.time_base == Fraction(1001, 60000)
    assert shown.video.average_rate == Fraction(60000, 1001)
    assert as_decoded(shown, FIELD) == info
    assert presented(info, FRAME) == as_decoded(info, FRAME) == info


def test_context_is_counted_in_source_frames():
    assert [FRAME.context(n) for n in (0, 1, 5)] == [CONTEXT, CONTEXT + 1, CONTEXT + 5]
    assert [FIELD.context(n) for n in (0, 1, 5)] == [CONTEXT, CONTEXT + 1, CONTEXT + 3]


@pytest.mark.parametrize("codec", ["h264", "hevc", "prores", "ffv1", "av1"])
def test_what_was_deinterlaced_is_encoded_as_progressive(codec):
    info = video_info(field_order="tff")
    settings = EncodeSettings(codec=codec)
    plan = resolve_encoding(info, settings, scale=1, is_deinterlaced=True)
    whole = resolve_encoding(video_info(field_order="progressive"), settings, scale=1)
    assert plan == whole
    assert plan.field_order == "progressive"
