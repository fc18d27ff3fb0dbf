"""Spans decode to exactly what one decoder shows of the whole file, damaged or not."""

import random
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import pytest

from tests.media_factory import FrameLine, frame_lines
from tests.spans import ref_of, spans_at, whole
from vgen.config import Limits
from vgen.errors import DecodeError, MediaError, ProbeError
from vgen.media.decode import DecodeStats, NeedsSequential, decode_span, frame_crc
from vgen.media.facts import VideoInfo
from vgen.media.pixels import planes_of
from vgen.media.probe import probe_video
from vgen.media.timeline import Timeline
from vgen.records import Span

SOUND_CLIPS = [
    "h264_mp4", "faststart_mp4", "fragmented_mp4", "open_gop_mp4", "open_gop_mkv", "open_gop_ts",
    "h264_ts", "h264_mkv", "h264_mov", "h264_flv", "intra_refresh_mp4", "hevc_open_gop_mp4",
    "hevc_ts", "ten_bit_mkv", "vfr_mp4", "ntsc_mp4", "late_start_mp4", "negative_ts",
    "odd_size_mkv", "interlaced_tff_ts", "interlaced_bff_mkv", "mpeg2_ps", "mpeg4_avi", "wmv_asf",
    "theora_ogv", "vp8_webm", "vp8_hidden.mkv", "vp9_webm", "av1_mp4", "ffv1_mkv", "rgb_mkv",
    "alpha_mov", "prores_mov", "gray_mkv", "full_range_mp4", "gif", "y4m", "nut", "one_frame_mp4",
    "edit_list.mp4", "rotated.mp4", "cover.mp4", "two_sizes_mkv", "default_second_mkv",
    "slideshow.mkv", "cut_start.ts", "torn.mkv", "paff.ts",
]  # fmt: skip
# Their timestamps are vgen's own, so only the pictures can be compared with the program's.
RESTAMPED_CLIPS = ["h264_raw", "h264_avi", "mpeg2_raw", "joined.ts", "jumped.ts"]
DAMAGED_CLIPS = ["damaged.mp4", "damaged.ts"]
# Damage that depends on the decoder's state, or of which it says nothing.
SILENT_CLIPS = ["damaged_paff.ts", "damaged_ffv1.mkv", "stray.mkv"]


@dataclass
class Decoded:
    """What a decode of one span gave."""

    frames: list[tuple[int, int]]
    stats: DecodeStats
    is_redone: bool


def probed(path: Path) -> tuple[VideoInfo, Timeline]:
    return probe_video(ref_of(path), Limits())


def decoded(path, info, span: Span, *, threads=2, salvage=True) -> Decoded:
    """Decode as a pipeline does: once more from the start where that is asked for."""
    for from_start in (False, True):
        stats = DecodeStats()
        frames = decode_span(
            str(path), info, span, threads=threads, salvage=salvage, stats=stats,
            from_start=from_start,
        )  # fmt: skip
        try:
            return Decoded([(f.pts, frame_crc(f)) for f in frames], stats, from_start)
        except NeedsSequential:
            assert not from_start
    raise AssertionError


def reference(path, info, timeline) -> Decoded:
    return decoded(path, info, whole(timeline), threads=1)


@pytest.mark.parametrize("clip", SOUND_CLIPS)
def test_frames_and_their_pts_are_those_of_the_ffmpeg_program(media, clip):
    info, timeline = probed(media[clip])
    shown = frame_lines(
        media[clip],
        info.video.time_base,
        stream=f"0:{info.video.index}",
        pixel_format=info.video.planar_format,
    )
    got = reference(media[clip], info, timeline)
    assert [FrameLine(pts, f"{crc:08x}") for pts, crc in got.frames] == shown
    assert timeline.pts == tuple(line.pts for line in shown)
    assert (got.stats.num_missing, got.stats.num_unplanned) == (0, 0)
    assert got.stats.num_damaged_packets == 0


@pytest.mark.parametrize("clip", RESTAMPED_CLIPS)
def test_frames_of_files_without_good_clocks_are_those_of_the_ffmpeg_program(media, clip):
    info, timeline = probed(media[clip])
    shown = frame_lines(media[clip], info.video.time_base)
    got = reference(media[clip], info, timeline)
    assert [f"{crc:08x}" for _, crc in got.frames] == [line.crc for line in shown]
    assert tuple(pts for pts, _ in got.frames) == timeline.pts
    steps = {b - a for a, b in pairwise(timeline.pts)}
    assert steps == {round(1 / (25 * info.video.time_base))}


@pytest.mark.parametrize("clip", SOUND_CLIPS + RESTAMPED_CLIPS + DAMAGED_CLIPS + SILENT_CLIPS)
def test_any_cut_reproduces_the_whole(media, clip):
    info, timeline = probed(media[clip])
    want = reference(media[clip], info, timeline)
    dice = random.Random(clip)
    for num_cuts, lead, tail in ((1, 0, 0), (3, 2, 2), (5, 5, 0), (len(timeline) // 7, 1, 3)):
        cuts = [dice.randrange(len(timeline)) for _ in range(num_cuts)]
        spans = spans_at(timeline, cuts, lead=lead, tail=tail)
        parts = [decoded(media[clip], info, span) for span in spans]
        own = [
            frame
            for span, part in zip(spans, parts, strict=True)
            for frame in part.frames
            if span.owns(frame[0])
        ]
        assert own == want.frames
        for span, part in zip(spans, parts, strict=True):
            begin, end = span.begin_pts, span.end_pts
            assert part.frames == [
                frame
                for frame in want.frames
                if (begin is None or frame[0] >= begin) and (end is None or frame[0] < end)
            ]
        assert sum(p.stats.num_missing for p in parts) == want.stats.num_missing
        assert sum(p.stats.num_unplanned for p in parts) == want.stats.num_unplanned


@pytest.mark.parametrize("clip", ["h264_mp4", "open_gop_ts", "h264_raw", "damaged.mp4"])
def test_neighbours_agree_on_the_frame_at_their_joint(media, clip):
    info, timeline = probed(media[clip])
    spans = spans_at(timeline, (5, 30, 50), lead=2)
    parts = [decoded(media[clip], info, span) for span in spans]
    for before, after in pairwise(parts):
        assert before.stats.after_crc == after.stats.first_crc is not None
    assert parts[-1].stats.after_crc is None
    assert parts[0].stats.first_crc == parts[0].frames[0]


@pytest.mark.parametrize("clip", ["h264_mp4", "hevc_open_gop_mp4", "h264_mkv", "h264_ts"])
def test_a_late_span_is_reached_by_seeking(media, clip):
    info, timeline = probed(media[clip])
    last = spans_at(timeline, (60,), lead=1)[1]
    part = decoded(media[clip], info, last)
    assert (part.is_redone, part.stats.is_from_start) == (False, False)
    assert part.stats.num_decoded < 45
    assert part.stats.num_yielded == len(part.frames) == 16
    assert part.stats.is_exhausted


def test_gradual_refresh_is_no_entry_point(media):
    info, timeline = probed(media["intra_refresh_mp4"])
    part = decoded(media["intra_refresh_mp4"], info, spans_at(timeline, (60,))[1])
    assert part.stats.is_from_start


def test_frames_are_planar_and_carry_the_time_base(media):
    info, timeline = probed(media["full_range_mp4"])
    assert info.video.pixel_format == "yuvj420p"
    stats = DecodeStats()
    uri = str(media["full_range_mp4"])
    frames = decode_span(uri, info, whole(timeline), threads=1, salvage=True, stats=stats)
    for frame in frames:
        assert frame.format.name == info.video.planar_format == "yuv420p"
        assert frame.time_base == info.video.time_base
    assert stats.num_yielded == 75


def test_a_span_ends_without_reading_on(media):
    info, timeline = probed(media["h264_mp4"])
    first = spans_at(timeline, (10,))[0]
    part = decoded(media["h264_mp4"], info, first, threads=1)
    assert part.stats.num_decoded == 12  # one past the end, and one to see that it is in order
    assert not part.stats.is_exhausted


def test_a_local_copy_is_read_in_place_of_the_source(media):
    info, timeline = probed(media["h264_mp4"])
    frames = decode_span(
        "s3://bucket/away.mp4", info, whole(timeline), threads=1, salvage=False,
        stats=DecodeStats(), open_path=str(media["h264_mp4"]),
    )  # fmt: skip
    assert sum(1 for _ in frames) == 75


@pytest.mark.parametrize("clip", DAMAGED_CLIPS)
def test_a_damaged_span_asks_to_be_decoded_from_the_start(media, clip):
    info, timeline = probed(media[clip])
    spans = spans_at(timeline, range(0, len(timeline), 8))
    parts = [decoded(media[clip], info, span) for span in spans]
    assert any(part.is_redone for part in parts)
    assert not parts[0].is_redone  # damage elsewhere does not concern it
    assert sum(part.stats.num_missing for part in parts) > 0


@pytest.mark.parametrize("clip", DAMAGED_CLIPS)
def test_damage_fails_the_file_where_it_is_not_salvaged(media, clip):
    info, timeline = probed(media[clip])
    with pytest.raises(DecodeError, match="damaged files are not salvaged"):
        decoded(media[clip], info, whole(timeline), salvage=False)


@pytest.mark.parametrize("clip", [*DAMAGED_CLIPS, *SILENT_CLIPS])
def test_damage_looks_the_same_however_many_frames_the_consumer_keeps(media, clip):
    info, timeline = probed(media[clip])

    def frames():
        return decode_span(
            str(media[clip]), info, whole(timeline), threads=1, salvage=True, stats=DecodeStats()
        )

    kept = [frame_crc(frame) for frame in list(frames())]
    assert kept == [frame_crc(frame) for frame in frames()]


def test_damaged_sound_does_not_end_the_picture(media, tmp_path):
    whole_file = bytearray(media["h264_mp4"].read_bytes())
    at = whole_file.rindex(b"stco")  # where the sound lies in the file; its track is the second
    (num_chunks,) = struct.unpack_from(">I", whole_file, at + 8)
    for chunk in range(num_chunks // 2, num_chunks):
        struct.pack_into(">I", whole_file, at + 12 + 4 * chunk, 1 << 30)
    path = tmp_path / "sound.mp4"
    path.write_bytes(whole_file)
    info, timeline = probed(path)
    clean = probed(media["h264_mp4"])
    want = reference(media["h264_mp4"], *clean).frames
    assert reference(path, info, timeline).frames == want
    parts = [decoded(path, info, span) for span in spans_at(timeline, (20, 50))]
    assert [frame for part in parts for frame in part.frames] == want


def test_a_stray_timestamp_costs_one_frame(media):
    info, timeline = probed(media["stray.mkv"])
    got = reference(media["stray.mkv"], info, timeline)
    clean = frame_lines(media["ffv1_mkv"], info.video.time_base)
    shown = [line for number, line in enumerate(clean) if number != 30]
    assert [FrameLine(pts, f"{crc:08x}") for pts, crc in got.frames] == shown


def test_needs_sequential_names_the_place(media):
    info, timeline = probed(media["damaged.mp4"])
    frames = decode_span(
        "a.mp4", info, whole(timeline), threads=2, salvage=True, stats=DecodeStats(),
        open_path=str(media["damaged.mp4"]),
    )  # fmt: skip
    with pytest.raises(NeedsSequential, match=r"decoded from the start \(a.mp4"):
        list(frames)


def test_frames_that_the_plan_does_not_know_are_kept_and_counted(media):
    info, timeline = probed(media["h264_mp4"])
    span = whole(timeline)
    span = span.model_copy(update={"pts": span.pts[:40] + span.pts[43:]})
    part = decoded(media["h264_mp4"], info, span)
    assert (part.is_redone, part.stats.num_unplanned) == (True, 3)
    assert len(part.frames) == 75


def test_planned_frames_that_do_not_come_are_counted(media):
    info, timeline = probed(media["h264_mp4"])
    span = whole(timeline)
    extra = (*span.pts[:40], span.pts[40] - 1, *span.pts[40:], span.pts[-1] + 512)
    part = decoded(media["h264_mp4"], info, span.model_copy(update={"pts": extra}))
    assert (part.is_redone, part.stats.num_missing) == (True, 2)


def test_counted_frames_beyond_the_plan_are_left_out_as_damage(media):
    info, timeline = probed(media["h264_raw"])
    span = whole(timeline)
    part = decoded(media["h264_raw"], info, span.model_copy(update={"pts": span.pts[:70]}))
    assert len(part.frames) == 70
    assert part.stats.num_damaged_packets == 5


def test_a_picture_that_changes_its_size_is_refused(media):
    info, timeline = probed(media["changing.ts"])
    with pytest.raises(DecodeError, match="changes from 64x48 yuv420p to 96x64 yuv420p; split"):
        decoded(media["changing.ts"], info, whole(timeline))


def test_a_video_of_which_nothing_decodes_any_more_is_refused(media):
    info, timeline = probed(media["h264_mp4"])
    with pytest.raises(DecodeError, match="not one frame of the video can be decoded"):
        decoded(media["zeros.mp4"], info, whole(timeline))


def test_a_stream_that_is_gone_is_named(media):
    info, timeline = probed(media["two_sizes_mkv"])
    with pytest.raises(DecodeError, match="stream 1 is gone"):
        decoded(media["h264_mp4"], info, whole(timeline))


def test_a_source_that_went_away_is_named(media, tmp_path):
    info, timeline = probed(media["h264_mp4"])
    with pytest.raises(ProbeError, match="no such file"):
        decoded(tmp_path / "gone.mp4", info, whole(timeline))


def test_closing_the_iterator_closes_the_file(media):
    info, timeline = probed(media["h264_mp4"])
    path = str(media["h264_mp4"])
    stats = DecodeStats()
    frames = decode_span(path, info, whole(timeline), threads=2, salvage=True, stats=stats)
    next(frames)
    assert path in open_files()
    frames.close()
    assert path not in open_files()


def open_files() -> set[str]:
    links = Path("/proc/self/fd").iterdir()
    return {str(link.readlink()) for link in links if link.is_symlink()}


def test_the_checksum_ignores_the_padding_of_lines(media):
    frame = av.VideoFrame(30, 20, "yuv420p")
    for plane in planes_of(frame):
        plane[:] = 7
    crc = frame_crc(frame)
    for plane in frame.planes:
        row = memoryview(plane).cast("B")
        row[plane.line_size - 1] = 99
    assert frame_crc(frame) == crc
    planes_of(frame)[2][3, 4] = 8
    assert frame_crc(frame) != crc


@pytest.mark.real
@pytest.mark.parametrize(
    ("max_pixels", "num_spans"),
    [(854 * 480, 2), pytest.param(8192 * 8192, 10**6, marks=pytest.mark.slow)],
)
def test_spans_of_real_clips_are_those_of_the_whole(real_clips, max_pixels, num_spans):
    used = []
    for path in real_clips:
        try:
            info, timeline = probe_video(ref_of(path), Limits(max_pixels=max_pixels))
        except ProbeError:
            continue
        want = reference(path, info, timeline).frames
        for size in (7, 48):
            spans = spans_at(timeline, range(0, len(timeline), size), lead=2, tail=2)
            for span in random.sample(spans, min(num_spans, len(spans))):
                own = [f for f in decoded(path, info, span).frames if span.owns(f[0])]
                assert own == [f for f in want if span.owns(f[0])], (path.name, span.name)
        used.append(path.name)
    print(f"{len(used)} real clips cut and compared")
    assert used


@pytest.mark.real
def test_corrupt_real_clips_end_in_an_error_of_the_file_or_in_frames(real_clips):
    corrupt = [path for path in real_clips if path.name.startswith("corrupt")]
    outcomes = {}
    for path in corrupt:
        try:
            info, timeline = probed(path)
            outcomes[path.name] = len(reference(path, info, timeline).frames)
        except MediaError as error:
            outcomes[path.name] = error.uri
    assert outcomes
    assert all(outcomes.values())
