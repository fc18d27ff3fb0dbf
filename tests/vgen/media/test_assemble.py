"""Chunks become one stream without a seam, at the planned times, in step with the sound."""

import io
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from tests.chunked import copied, moving_frames, planned, probed, sealed_chunk
from tests.media_factory import frame_lines, run_ffmpeg
from vgen.config import EncodeSettings
from vgen.errors import EncodeError, StorageError
from vgen.media import chunk
from vgen.media.assemble import assemble_video
from vgen.media.carry import board, carried_packets
from vgen.media.concat import ChunkSource, checked_pts, concatenated_packets
from vgen.media.encoders import resolve_encoding
from vgen.media.matroska import TrackPatch, patch_tracks
from vgen.media.verify import verify_output
from vgen.records import ChunkFacts

FAST = {"preset": "ultrafast", "crf": 30}


def settings(codec: str) -> EncodeSettings:
    return EncodeSettings(codec=codec, **FAST)


def checked(source: Path, folder: Path, codec: str, span_frames=20):
    """A copy that our own gate and the independent program find without fault."""
    copy = copied(source, folder, settings(codec), span_frames=span_frames)
    verify_output(copy.path, copy.info, copy.plan, copy.frame_pts, copy.result, uri="copy")
    assert run_ffmpeg("-xerror", "-i", copy.path, "-map", "0:v", "-f", "null", "-") == ""
    return copy


def media_of(one: ChunkSource, folder: Path) -> Path:
    path = folder / f"{one.name}.media"
    with one.open() as file:
        path.write_bytes(chunk.media_reader(file).read())
    return path


def first_times(path: Path) -> dict[str, Fraction]:
    """First PTS of every kind of stream, in seconds, by the independent program."""
    times = {}
    for kind in ("v", "a"):
        text = run_ffmpeg("-copyts", "-i", path, "-map", f"0:{kind}:0?", f"-frames:{kind}", "1",
                          "-enc_time_base", "demux", "-f", "framehash", "-")  # fmt: skip
        for line in text.splitlines():
            if line.startswith("#tb 0:"):
                tick = Fraction(line.split()[-1])
            elif line[0] != "#":
                times[kind] = int(line.split(",")[2]) * tick
    return times


def mp4_copy(media, folder, **changes):
    """A job of two chunks for the plain mp4, with some of it changed."""
    source = media["h264_mp4"]
    info, timeline = probed(source)
    plan = resolve_encoding(info, settings("h264"), scale=1)
    chunks = [
        sealed_chunk(
            moving_frames(plan, timeline.pts[start:stop]), plan, folder / f"{start}", start, stop
        )
        for start, stop in ((0, 40), (40, len(timeline)))
    ]
    return {
        "source_uri": str(source), "info": info, "plan": plan, "chunks": chunks,
        "out_path": folder / "out.mp4", "last_duration": timeline.last_duration,
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("codec", "clip"),
    [
        ("h264", "ntsc_mp4"), ("h264", "vfr_mp4"), ("hevc", "ten_bit_mkv"), ("av1", "av1_mp4"),
        ("prores", "prores_mov"), ("ffv1", "h264_ts"), ("h264", "odd_size_mkv"),
        ("hevc", "vfr_mp4"), ("ffv1", "gray_mkv"), ("ffv1", "rgb_mkv"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("span_frames", [20, 33])
def test_the_whole_decodes_to_what_its_chunks_decode_to(codec, clip, span_frames, media, tmp_path):
    copy = checked(media[clip], tmp_path, codec, span_frames)
    tick = copy.plan.time_base
    whole = frame_lines(copy.path, tick)
    parts = [line.crc for one in copy.chunks for line in frame_lines(media_of(one, tmp_path), tick)]
    assert [line.crc for line in whole] == parts
    slack = 0 if copy.plan.container != "mkv" else Fraction(1, 1000) / tick
    assert len(whole) == len(copy.frame_pts) == len(copy.timeline)
    for line, pts in zip(whole, copy.timeline.pts, strict=True):
        assert abs(line.pts - pts) <= slack


@pytest.mark.parametrize(
    "clip", ["h264_mkv", "vfr_mp4", "odd_size_mkv", "gray_mkv", "rgb_mkv", "interlaced_tff_ts",
             "ten_bit_mkv", "negative_ts", "late_start_mp4"]
)  # fmt: skip
def test_a_lossless_copy_holds_the_sources_frames_bit_for_bit(clip, media, tmp_path):
    copy = checked(media[clip], tmp_path, "ffv1")
    tick = copy.plan.time_base
    assert [line.crc for line in frame_lines(copy.path, tick)] == [
        line.crc for line in frame_lines(media[clip], tick)
    ]


@pytest.mark.parametrize("clip", ["h264_mp4", "ntsc_mp4", "late_start_mp4", "edit_list.mp4",
                                  "h264_mov"])  # fmt: skip
def test_sound_and_picture_start_where_they_did(clip, media, tmp_path):
    copy = checked(media[clip], tmp_path, "h264")
    assert copy.plan.container == copy.info.container
    ours, theirs = first_times(copy.path), first_times(media[clip])
    # The frames before an edit list's start are not shown and not copied.
    assert ours["v"] == copy.timeline.pts[0] * copy.plan.time_base
    if "a" in theirs:
        assert ours["a"] == theirs["a"]


@pytest.mark.parametrize("clip", ["h264_mkv", "mpeg2_ps", "h264_ts", "joined.ts", "mpeg4_avi"])
def test_sound_and_picture_start_where_they_did_in_matroska(clip, media, tmp_path):
    copy = checked(media[clip], tmp_path, "h264")
    ours, theirs = first_times(copy.path), first_times(media[clip])
    for kind in theirs:
        assert abs(ours[kind] - theirs[kind]) <= Fraction(1, 1000)


@pytest.mark.parametrize(
    ("clip", "codec"),
    [("h264_mp4", "h264"), ("late_start_mp4", "h264"), ("edit_list.mp4", "h264"),
     ("h264_mov", "h264"), ("h264_mkv", "h264"), ("h264_mp4", "ffv1"), ("ntsc_mp4", "ffv1"),
     ("h264_mov", "ffv1"), ("multitrack.mkv", "ffv1")],
)  # fmt: skip
def test_sound_is_the_same_to_the_byte_and_decodes_to_the_same_samples(
    clip, codec, media, tmp_path
):
    copy = checked(media[clip], tmp_path, codec)
    for arguments in (("-c", "copy"), ()):
        sounds = [
            run_ffmpeg("-i", path, "-map", "0:a", *arguments, "-f", "md5", "-")
            for path in (media[clip], copy.path)
        ]
        assert sounds[0] == sounds[1]


def test_a_source_that_starts_before_zero_is_moved_to_zero_whole(media, tmp_path):
    source = tmp_path / "wrapped.ts"
    # Its clock of 33 bits wraps around after 3.7 seconds.
    run_ffmpeg("-i", media["h264_ts"], "-map", "0", "-c", "copy", "-mpegts_copyts", "1",
               "-output_ts_offset", "95440", source)  # fmt: skip
    copy = checked(source, tmp_path, "h264")
    assert copy.timeline.pts[0] < 0 < copy.result.shift_pts
    times = first_times(copy.path)
    assert min(times.values()) >= 0
    with av.open(str(source)) as container:
        before = [container.streams[index].start_time * Fraction(1, 90_000) for index in (0, 1)]
    assert abs((times["v"] - times["a"]) - (before[0] - before[1])) <= Fraction(1, 1000)
    assert "the source starts before zero" in copy.result.notes[0]


@pytest.mark.parametrize("clip", ["h264_mp4", "multitrack.mkv"])
def test_the_same_chunks_give_the_same_file(clip, media, tmp_path):
    files = []
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        files.append(copied(media[clip], folder, settings("h264")).path.read_bytes())
    assert files[0] == files[1]


def test_streams_lie_side_by_side_in_the_file(media, tmp_path):
    """Picture and sound of the same second are neighbours: nobody had to hold one of them back."""
    source = tmp_path / "long.mkv"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=25:duration=40", "-f", "lavfi", "-i",
               "sine=duration=40", "-c:v", "libx264", "-preset", "ultrafast", source)  # fmt: skip
    copy = copied(source, tmp_path, settings("h264"), span_frames=250)
    last = {}
    with av.open(str(copy.path)) as container:
        for packet in container.demux():
            if packet.size:
                last[packet.stream_index] = packet.pts * packet.time_base
                assert max(last.values()) - min(last.values()) < 2


def test_only_one_chunk_is_open_at_a_time(media, tmp_path):
    job = mp4_copy(media, tmp_path)
    opened = []

    def watched(one):
        def open_it():
            assert all(file.closed for file in opened)
            opened.append(one.open())
            return opened[-1]

        return replace(one, open=open_it)

    job["chunks"] = [watched(one) for one in job["chunks"]]
    assemble_video(**job)
    assert len(opened) == 3  # the first once more, for the stream's description
    assert all(file.closed for file in opened)


def test_a_chunk_without_frames_leaves_a_gap(media, tmp_path):
    job = mp4_copy(media, tmp_path)
    plan, pts = job["plan"], job["chunks"][1].facts.frame_pts
    job["chunks"][1:] = [
        sealed_chunk((), plan, tmp_path / "none", 40, 50),
        sealed_chunk(moving_frames(plan, pts[10:]), plan, tmp_path / "rest", 50, 75),
    ]
    result = assemble_video(**job)
    assert result.num_frames == 65
    times = [line.pts for line in frame_lines(job["out_path"], plan.time_base)]
    assert times == [*job["chunks"][0].facts.frame_pts, *pts[10:]]


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (slice(1, 2), "no chunk starts at frame 0, the next is 40"),
        (slice(0, 1), "the chunks end at frame 40 of 75"),
        (slice(0, 0), "the chunks end at frame 0 of 75"),
    ],
)
def test_a_missing_chunk_is_found(keep, message, media, tmp_path):
    job = mp4_copy(media, tmp_path)
    job["chunks"] = job["chunks"][keep]
    with pytest.raises(StorageError, match=message):
        assemble_video(**job)
    assert not job["out_path"].exists()


def test_chunks_that_overlap_in_time_are_refused():
    def facts(start, pts):
        return ChunkSource(
            facts=ChunkFacts(start=start, stop=start + 2, frame_pts=pts, packet_pts=pts),
            open=io.BytesIO,
            name=f"chunk {start}",
        )

    assert checked_pts([facts(0, (0, 1)), facts(2, (2, 3))], 4) == (0, 1, 2, 3)
    with pytest.raises(StorageError, match="chunk 2 starts before the chunk before it ends"):
        checked_pts([facts(0, (0, 1)), facts(2, (1, 3))], 4)


def test_a_damaged_chunk_is_found(media, tmp_path):
    job = mp4_copy(media, tmp_path)
    path = tmp_path / "40"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 4] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(StorageError, match="40 was damaged after it was written"):
        assemble_video(**job)
    assert not job["out_path"].exists()


def test_a_chunk_of_other_settings_is_found(media, tmp_path):
    job = mp4_copy(media, tmp_path)
    other = planned("h264", crf=20, time_base=job["plan"].time_base)
    other = other.model_copy(update={"options": other.options | {"x264-params": "cabac=0:ref=4"}})
    pts = job["chunks"][1].facts.frame_pts
    job["chunks"][1] = sealed_chunk(moving_frames(other, pts), other, tmp_path / "other", 40, 75)
    with pytest.raises(StorageError, match="other was encoded with other settings than the first"):
        assemble_video(**job)


def test_a_chunk_that_holds_other_packets_than_it_says_is_found(media, tmp_path):
    job = mp4_copy(media, tmp_path)
    plan, pts = job["plan"], job["chunks"][1].facts.frame_pts
    shifted = sealed_chunk(moving_frames(plan, [*pts[:-1], pts[-1] + 5]), plan, tmp_path / "late",
                           40, 75)  # fmt: skip
    job["chunks"][1] = replace(shifted, facts=job["chunks"][1].facts)
    with pytest.raises(StorageError, match="late holds other packets than the 35 it promises"):
        assemble_video(**job)
    short = sealed_chunk(moving_frames(plan, pts[:-1]), plan, tmp_path / "short", 40, 75)
    job["chunks"][1] = replace(short, facts=job["chunks"][1].facts)
    with pytest.raises(StorageError, match="short holds other packets than the 35 it promises"):
        assemble_video(**job)


def test_a_chunk_that_is_no_video_is_found(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"no video at all" * 100)
    facts = ChunkFacts(start=0, stop=1, frame_pts=(0,), packet_pts=(0,))
    chunk.seal(path, facts)
    one = ChunkSource(facts=facts, open=lambda: path.open("rb"), name="text")
    packets = concatenated_packets([one], (0,), Fraction(1, 25), last_duration=1, shift_pts=0)
    with pytest.raises(StorageError, match="text holds no video; delete it and run again"):
        next(packets)


def test_a_video_without_a_frame_is_refused(media, tmp_path):
    job = mp4_copy(media, tmp_path)
    job["chunks"] = [sealed_chunk((), job["plan"], tmp_path / "none", 0, 75)]
    with pytest.raises(EncodeError, match="no frame of the video was produced"):
        assemble_video(**job)


def test_a_container_that_refuses_the_video_is_told(media, tmp_path):
    job = mp4_copy(media, tmp_path)
    plan = planned("av1", time_base=job["plan"].time_base)
    pts = job["info"].num_frames
    job["plan"] = plan.model_copy(update={"container": "mov"})
    job["chunks"] = [sealed_chunk(moving_frames(plan, range(pts)), plan, tmp_path / "av1")]
    with pytest.raises(EncodeError, match="cannot be written: Invalid argument"):
        assemble_video(**job)
    assert not job["out_path"].exists()


def test_decoding_times_increase_and_never_pass_the_presentation(media, tmp_path):
    copy = copied(media["vfr_mp4"], tmp_path, EncodeSettings(codec="h264"), span_frames=17)
    packets = list(
        concatenated_packets(
            copy.chunks, copy.frame_pts, copy.plan.time_base, last_duration=7, shift_pts=3
        )
    )
    dts = [packet.dts for packet in packets]
    assert all(a < b for a, b in pairwise(dts))
    assert all(packet.dts <= packet.pts for packet in packets)
    assert any(packet.dts < packet.pts for packet in packets)
    ends = {packet.pts + packet.duration for packet in packets}
    starts = {packet.pts for packet in packets}
    assert ends - starts == {copy.frame_pts[-1] + 3 + 7}
    shown = copy.frame_pts[-1] + 7 - copy.frame_pts[0]
    assert dts[-1] - dts[0] + packets[-1].duration == shown


def test_other_streams_are_carried_as_far_as_a_torn_source_goes(media, tmp_path):
    copy = checked(media["torn.mkv"], tmp_path, "h264")
    assert copy.result.carried[0].num_packets > 10


def test_a_source_that_breaks_off_is_told(media):
    class Failing(io.BytesIO):
        limit = 1 << 62

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > self.limit:
                raise OSError("connection lost")
            return super().read(size)

    whole = media["faststart_mp4"].read_bytes()
    file, notes = Failing(whole), []
    info, _ = probed(media["faststart_mp4"])
    with (
        av.open(file, buffer_size=1024) as source,
        av.open(io.BytesIO(), "w", format="matroska") as output,
    ):
        place = {"source_uri": "clip", "open_path": None}
        passenger = board(output, source, info.others[0], "mkv", **place)
        output.start_encoding()
        file.limit = len(whole) * 2 // 3
        packets = carried_packets(
            source, info, {1: passenger}, notes, uri="clip", shift_s=Fraction(0)
        )
        assert 10 < len(list(packets)) < 120
    assert notes == ["the source breaks off; its other streams are carried up to there"]


def test_packets_that_a_muxer_refuses_are_counted(media, tmp_path):
    copy = checked(media["damaged.ts"], tmp_path, "h264")
    (note,) = copy.result.notes
    assert note == "1 packets of audio 1 (aac) could not be carried"
    assert copy.result.dropped == ()


def test_pixel_aspects_are_written_without_moving_anything(media, tmp_path):
    path = tmp_path / "copy.mkv"
    whole = media["ffv1_mkv"].read_bytes()
    for aspect in (Fraction(4, 3), Fraction(3, 4), Fraction(10, 11), Fraction(255, 254)):
        path.write_bytes(whole)
        patch_tracks(path, {0: TrackPatch(pixel_aspect=aspect)})
        assert len(path.read_bytes()) == len(whole)
        with av.open(str(path)) as container:
            found = container.streams.video[0].sample_aspect_ratio
            assert abs(found / aspect - 1) < Fraction(1, 250)
        assert frame_lines(path, Fraction(1, 1000)) == frame_lines(
            media["ffv1_mkv"], Fraction(1, 1000)
        )


def test_a_file_that_is_no_matroska_is_refused(media, tmp_path):
    for name, content in (("zeros", bytes(64)), ("ebml", b"\x1a\x45\xdf\xa3\x80")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"not laid out as|no tracks at the head"):
            patch_tracks(path, {0: TrackPatch(pixel_aspect=Fraction(2))})


def test_a_head_without_room_is_refused(tmp_path):
    video = b"\xe0\x86" + b"\xb0\x81\x40" + b"\xba\x81\x30"
    track = b"\xae" + bytes([0x80 | len(video)]) + video
    tracks = b"\x16\x54\xae\x6b" + bytes([0x80 | len(track)]) + track
    path = tmp_path / "tight.mkv"
    path.write_bytes(b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\xff" + tracks)
    with pytest.raises(ValueError, match="no room in the tracks: -12 bytes are left"):
        patch_tracks(path, {0: TrackPatch(pixel_aspect=Fraction(2))})


@pytest.mark.parametrize("kept", ["lt(n,30)+not(mod(n,6))", "lt(n,45)+eq(n,49)", "not(mod(n,6))"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_picture_that_begins_late_and_ends_with_long_frames_keeps_its_times(
    tmp_path, kept, codec
):
    """Phones write such files; FFmpeg began the track at the second picture."""
    source = tmp_path / "late.mp4"
    run_ffmpeg(
        "-itsoffset", "0.04", "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2",
        "-vf", f"select={kept.replace(',', chr(92) + ',')}", "-fps_mode", "passthrough",
        "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", source,
    )  # fmt: skip
    checked(source, tmp_path, codec)
