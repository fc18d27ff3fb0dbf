"""Spans deinterlace as an independent bwdif does the whole video, and leave whole frames alone.

The program's bwdif (FFmpeg 9) and the library's (8.1) read other lines at the picture's edge in the
first and last field of a video, which have one neighbour only: compared away from the edge.
"""

import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.media_factory import made, run_ffmpeg
from tests.spans import ref_of, spans_at
from tests.vgen.media import field_clips
from tests.vgen.media.field_clips import FieldClip, Luma
from vgen.config import Limits
from vgen.media.decode import DecodeStats, frame_crc
from vgen.media.deinterlace import decode_pictures
from vgen.media.fields import CONTEXT, FieldPlan, presented, presented_span
from vgen.media.pixels import planes_of
from vgen.media.probe import probe_video

EDGE = 6  # lines that may differ there, of more than 8 bits
TRUSTING = {"trusts_flags": True, "takes_unclear": True}
DOUBTING = {"trusts_flags": False, "takes_unclear": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fields")


def plan_of(rate="frame", order="tff", **more) -> FieldPlan:
    return FieldPlan(rate=rate, order=order, **(TRUSTING | more))


def pictures(path: Path, plan: FieldPlan | None, cuts=(), *, context=CONTEXT, **more):
    """Yield the frames that spans cut before the source frames ``cuts`` own."""
    info, timeline = probe_video(ref_of(path), Limits())
    shown = info if plan is None else presented(info, plan)
    for span in spans_at(timeline, cuts, lead=context, tail=context):
        wanted = span if plan is None else presented_span(span, plan, timeline.last_duration)
        frames = decode_pictures(
            str(path), shown, wanted, plan=plan, last_duration=timeline.last_duration,
            threads=1, salvage=True, stats=DecodeStats(), **more,
        )  # fmt: skip
        for frame in frames:
            assert frame.time_base == shown.video.time_base
            if wanted.owns(frame.pts):
                yield frame


def seen(path: Path, plan: FieldPlan | None, cuts=(), **more) -> list[tuple[Fraction, int]]:
    """Time in seconds and checksum of every frame."""
    frames = pictures(path, plan, cuts, **more)
    return [(frame.pts * frame.time_base, frame_crc(frame)) for frame in frames]


def luma(clip: FieldClip, plan: FieldPlan | None) -> Luma:
    return np.stack([planes_of(frame)[0].copy() for frame in pictures(clip.path, plan)])


def wanted(path: Path, rate: str) -> list[tuple[Fraction, int]]:
    """The same from the independent program's bwdif over the whole file."""
    text = run_ffmpeg(
        "-threads", "1", "-copyts", "-i", path, "-vf", f"bwdif=mode=send_{rate}", "-an",
        "-fps_mode", "passthrough", "-enc_time_base", "filter",
        "-f", "framehash", "-hash", "crc32", "-",
    )  # fmt: skip
    found = re.search(r"#tb 0: (\d+)/(\d+)", text)
    time_base = Fraction(int(found[1]), int(found[2]))
    rows = [line.split(",") for line in text.splitlines() if line and line[0] != "#"]
    return [(int(row[2]) * time_base, int(row[5], 16)) for row in rows]


@pytest.mark.parametrize("rate", ["frame", "field"])
@pytest.mark.parametrize("clip", ["interlaced_tff_ts", "interlaced_bff_mkv", "paff.ts"])
def test_spans_give_what_an_independent_bwdif_gives_of_the_whole(media, clip, rate):
    made_of_spans = seen(media[clip], plan_of(rate), cuts=(1, 7, 8, 40, 61))
    oracle = wanted(media[clip], rate)
    assert len(made_of_spans) == len(oracle)
    assert made_of_spans[1:-1] == oracle[1:-1]
    assert [when for when, _ in made_of_spans] == [when for when, _ in oracle]


@pytest.mark.parametrize("rate", ["frame", "field"])
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_the_first_and_last_field_are_those_of_an_independent_bwdif(folder, order, rate):
    clip = field_clips.interlaced(folder, order=order)
    own, oracle = luma(clip, plan_of(rate)), field_clips.blind(clip, rate, folder)
    assert own.shape == oracle.shape
    assert np.array_equal(own[:, EDGE:-EDGE], oracle[:, EDGE:-EDGE])
    assert np.array_equal(own[1:-1], oracle[1:-1])


def lossless(path: Path, pixel_format: str) -> Path:
    fields = f"testsrc2=size=64x48:rate=50:duration=1,format={pixel_format},interlace=lowpass=off"
    run_ffmpeg(*made("-c:v", "ffv1", "-level", "3", "-threads", "1", picture=fields), path)
    return path


@pytest.mark.parametrize("pixel_format", ["yuv444p", "gray", "yuv411p"])
def test_other_pixel_formats_are_deinterlaced_as_they_are(tmp_path, pixel_format):
    path = lossless(tmp_path / "other.mkv", pixel_format)
    assert {frame.format.name for frame in pictures(path, plan_of())} == {pixel_format}
    assert seen(path, plan_of("field"), cuts=(9,))[1:-1] == wanted(path, "field")[1:-1]


def test_ten_bits_are_deinterlaced_as_ten_bits(tmp_path):
    """The two programs differ at the picture's edge in all frames of more than 8 bits."""
    path, raw = lossless(tmp_path / "ten.mkv", "yuv422p10le"), tmp_path / "ten.raw"
    run_ffmpeg("-i", path, "-vf", "bwdif=mode=send_frame", "-f", "rawvideo", raw)
    oracle = np.fromfile(raw, "<u2").reshape(-1, 2 * 48, 64)[:, :48]
    own = np.stack([planes_of(frame)[0].copy() for frame in pictures(path, plan_of(), (9,))])
    assert own.max() > 255
    assert np.array_equal(own[:, EDGE:-EDGE], oracle[:, EDGE:-EDGE])
    assert seen(path, plan_of(), (3, 9)) == seen(path, plan_of())


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("rate", ["frame", "field"])
def test_a_video_of_a_few_frames_gives_all_of_them(folder, frames, rate):
    clip = field_clips.interlaced(folder, frames=frames)
    own, oracle = luma(clip, plan_of(rate)), field_clips.blind(clip, rate, folder)
    assert own.shape == oracle.shape
    assert np.array_equal(own[:, EDGE:-EDGE], oracle[:, EDGE:-EDGE])


CASES = {
    "interlaced, by flags": (lambda at: field_clips.interlaced(at), plan_of("field")),
    "interlaced, against flags": (
        lambda at: field_clips.interlaced(at, flag="prog"),
        plan_of(trusts_flags=False),
    ),
    "in part, by flags": (lambda at: field_clips.mixed(at), plan_of("field")),
    "in part, all flagged": (lambda at: field_clips.mixed(at, flag="tff"), plan_of("frame")),
    "in part, none flagged": (
        lambda at: field_clips.mixed(at, flag="prog"),
        plan_of("frame", **DOUBTING),
    ),
    "telecined": (
        lambda at: field_clips.telecined(at),
        plan_of("field", has_pulldown=True, **DOUBTING),
    ),
}


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=8, deadline=None)
@given(cuts=st.sets(st.integers(1, 79), max_size=6), more=st.integers(0, 3))
def test_frames_do_not_depend_on_where_spans_are_cut(folder, case, cuts, more):
    make, plan = CASES[case]
    path = make(folder).path
    assert seen(path, plan, cuts, context=CONTEXT + more) == seen(path, plan)


def test_damage_is_deinterlaced_alike_for_all_spans(media):
    """Read from the start, as damage is, all spans see the same frames."""
    whole = seen(media["damaged_paff.ts"], plan_of("field"), from_start=True)
    cut = seen(media["damaged_paff.ts"], plan_of("field"), (3, 5, 8), from_start=True)
    assert cut == whole
    assert all(a[0] < b[0] for a, b in pairwise(whole))


@pytest.mark.parametrize("flag", [None, "tff", "prog"])
@pytest.mark.parametrize("rate", ["frame", "field"])
def test_a_mixed_video_is_nearer_to_the_truth_than_by_deinterlacing_all(folder, flag, rate):
    clip = field_clips.mixed(folder, flag=flag, whole_from=30)
    plan = plan_of(rate, **({} if flag != "prog" else {"trusts_flags": False}))
    truth = clip.truth_thw[:: 2 // plan.pictures]
    own = luma(clip, plan)
    blind = field_clips.blind(clip, rate, folder, parity="tff")
    assert field_clips.psnr_db(own, truth) > field_clips.psnr_db(blind, truth) + 2
    inside = slice(39 * plan.pictures, 71 * plan.pictures)
    assert np.array_equal(own[inside], truth[inside])
    fields = slice(1, 28 * plan.pictures)
    assert np.array_equal(own[fields], blind[fields])


def test_fields_flagged_right_are_deinterlaced_up_to_where_whole_frames_start(folder):
    clip = field_clips.mixed(folder, whole_from=30)
    own, truth = luma(clip, plan_of()), clip.truth_thw[::2]
    assert np.array_equal(own[30:], truth[30:])
    blind = field_clips.blind(clip, "frame", folder, parity="tff")
    assert np.array_equal(own[1:30], blind[1:30])


def test_what_is_flagged_but_whole_stays_bit_for_bit(folder):
    clip = field_clips.progressive(folder, flag="tff")
    plan = plan_of("field", **DOUBTING)
    assert np.array_equal(luma(clip, plan), clip.truth_thw)
    assert seen(clip.path, plan)[::2] == seen(clip.path, None)


def test_the_order_of_the_plan_is_used_where_flags_lie(folder):
    lying = field_clips.interlaced(folder, order="bff", flag="tff")
    right = field_clips.interlaced(folder, order="bff")
    plan = plan_of("field", order="bff", trusts_flags=False)
    assert np.array_equal(luma(lying, plan), luma(right, plan_of("field")))
    assert not np.array_equal(luma(lying, plan_of("field")), luma(right, plan_of("field")))


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_field_rate_brings_back_the_motion_that_was_interlaced(folder, order):
    clip = field_clips.interlaced(folder, order=order)
    own = luma(clip, plan_of("field", order=order))
    woven = luma(clip, None).repeat(2, axis=0)
    gain_db = field_clips.psnr_db(own, clip.truth_thw) - field_clips.psnr_db(woven, clip.truth_thw)
    assert gain_db > 6
    kept = [own[n, (n + (order == "bff")) % 2 :: 2] for n in range(len(own))]
    lines = [clip.truth_thw[n, (n + (order == "bff")) % 2 :: 2] for n in range(len(own))]
    assert np.array_equal(kept, lines), "the lines of a field are the camera's own"


@pytest.mark.parametrize("rate", ["frame", "field"])
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_film_frames_of_a_telecined_video_are_put_together_again(folder, order, rate):
    clip = field_clips.telecined(folder, order=order)
    plan = plan_of(rate, order, has_pulldown=True, **DOUBTING)
    own, film = luma(clip, plan), clip.truth_thw
    fourths = [4 * (n // 5) + (0, 1, 1, 2, 3)[n % 5] for n in range(len(own) // plan.pictures)]
    assert np.array_equal(own, film[fourths].repeat(plan.pictures, axis=0))
    assert not np.array_equal(luma(clip, None), film[fourths])


def test_video_in_a_telecined_programme_is_interpolated_and_not_joined(folder):
    """A plan is made for the whole video; what is no film in it fits no field before."""
    clip = field_clips.interlaced(folder)
    own = luma(clip, plan_of(has_pulldown=True, **DOUBTING))
    assert np.array_equal(own[1:-1], field_clips.blind(clip, "frame", folder)[1:-1])


def test_the_second_field_is_shown_half_way_to_the_next_frame(tmp_path):
    path = tmp_path / "uneven.mkv"
    uneven = "interlace=lowpass=off,settb=1/1000,setpts='40*N+10*mod(N,3)'"
    run_ffmpeg(
        *made("-c:v", "ffv1", "-level", "3", "-threads", "1", "-fps_mode", "passthrough",
              "-enc_time_base", "1:1000", "-vf", uneven,
              picture="testsrc2=size=64x48:rate=50:duration=2"), path,
    )  # fmt: skip
    own, oracle = seen(path, plan_of("field"), cuts=(5, 20)), wanted(path, "field")
    assert [when for when, _ in own][:-1] == [when for when, _ in oracle][:-1]
    firsts = [when for when, _ in own][::2]
    assert len({b - a for a, b in pairwise(firsts)}) > 1
    assert firsts == [when for when, _ in seen(path, None)]


def test_a_span_with_too_little_around_it_is_refused(media):
    frames = pictures(media["interlaced_tff_ts"], plan_of(), (30,), context=CONTEXT - 1)
    with pytest.raises(ValueError, match=rf"span.tail=8 must be {CONTEXT} source frames"):
        list(frames)


def test_without_a_plan_the_frames_are_those_of_the_decoder(media):
    clip = media["interlaced_tff_ts"]
    assert seen(clip, None, cuts=(10,)) == [
        (Fraction(line[0]), line[1]) for line in decoder_lines(clip)
    ]


def decoder_lines(path: Path) -> list[tuple[Fraction, int]]:
    text = run_ffmpeg(
        "-threads", "1", "-copyts", "-i", path, "-an", "-fps_mode", "passthrough",
        "-enc_time_base", "demux", "-f", "framehash", "-hash", "crc32", "-",
    )  # fmt: skip
    rows = [line.split(",") for line in text.splitlines() if line and line[0] != "#"]
    return [(Fraction(int(row[2]), 90_000), int(row[5], 16)) for row in rows]
