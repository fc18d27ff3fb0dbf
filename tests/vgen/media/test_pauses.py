"""A pause of the picture is kept, and a jump of all clocks is not, in step with the sound."""

from fractions import Fraction
from itertools import pairwise

import av
import pytest

from tests.chunked import copied, probed
from tests.media_factory import FrameLine, frame_lines, run_ffmpeg
from tests.spans import spans_at
from vgen.config import EncodeSettings
from vgen.media.decode import DecodeStats, decode_span, frame_crc

PAUSE = "lt(t,2)+gt(t,14)"
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=16")
TONE = ("-f", "lavfi", "-i", "sine=duration=16")
CODECS = {
    "h264": ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0"),
    "h264_reordered": ("-c:v", "libx264", "-preset", "veryfast", "-bf", "3"),
    "mpeg2": ("-c:v", "mpeg2video", "-bf", "0"),
    "mpeg2_reordered": ("-c:v", "mpeg2video", "-bf", "2"),
}
TICK = Fraction(1, 90_000)


def paused(path, codec, *more):
    """Record 16 s of which the picture has a pause of 12."""
    run_ffmpeg(
        *PICTURE, *TONE, "-vf", f"select='{PAUSE}'", "-fps_mode", "vfr", *CODECS[codec],
        "-c:a", "mp2", *more, path,
    )  # fmt: skip
    return path


def sound_times(path):
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[0])
        return [packet.pts * packet.time_base for packet in packets if packet.size]


def decoded(path, info, timeline):
    """Decode in three spans, as pipelines do."""
    frames = []
    for span in spans_at(timeline, [20, 55], lead=0, tail=0):
        stats = DecodeStats()
        parts = decode_span(str(path), info, span, threads=1, salvage=False, stats=stats)
        frames += [FrameLine(frame.pts, f"{frame_crc(frame):08x}") for frame in parts]
    return frames


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [*(("ts", codec) for codec in CODECS), ("mpg", "mpeg2"), ("mpg", "mpeg2_reordered")],
)
def test_a_pause_of_the_picture_alone_is_kept_with_all_frames(tmp_path, suffix, codec):
    path = paused(tmp_path / f"pause.{suffix}", codec)
    info, timeline = probed(path)
    shown = frame_lines(path, TICK)
    assert timeline.pts == tuple(line.pts for line in shown)
    assert max(b - a for a, b in pairwise(timeline.pts)) > 12 * 90_000
    assert decoded(path, info, timeline) == shown


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_sound_keeps_its_times_beside_a_pause_of_the_picture(tmp_path, suffix):
    path = paused(tmp_path / f"pause.{suffix}", "mpeg2_reordered")
    copy = copied(path, tmp_path, EncodeSettings(codec="h264", preset="ultrafast", crf=30))
    pairs = zip(sound_times(path), sound_times(copy.path), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= Fraction(1, 1000)
    pictures = [line.pts for line in frame_lines(copy.path, Fraction(1, 1000))]
    want = [line.pts / 90 for line in frame_lines(path, TICK)]
    assert max(abs(a - b) for a, b in zip(pictures, want, strict=True)) <= 1


@pytest.mark.parametrize("codec", CODECS)
def test_a_pause_of_all_streams_is_taken_out_of_all_and_no_frame_lost(tmp_path, codec):
    path = paused(tmp_path / "lost.ts", codec, "-af", f"aselect='{PAUSE}'")
    info, timeline = probed(path)
    shown = frame_lines(path, TICK)
    assert info.access == "sequential"
    assert len(timeline) == len(shown)
    assert {b - a for a, b in pairwise(timeline.pts)} == {3600}
    assert [one.crc for one in decoded(path, info, timeline)] == [one.crc for one in shown]


def test_a_pause_is_kept_where_clocks_cannot_jump(tmp_path):
    path = tmp_path / "pause.ivf"
    run_ffmpeg(*PICTURE, "-vf", f"select='{PAUSE}'", "-fps_mode", "vfr", "-c:v", "libvpx", path)
    info, timeline = probed(path)
    shown = frame_lines(path, info.video.time_base)
    assert timeline.pts == tuple(line.pts for line in shown)
    assert timeline.duration * timeline.time_base == 16
    assert decoded(path, info, timeline) == shown


def test_a_pause_of_the_sound_is_kept_before_a_jump(tmp_path):
    parts = []
    for name, offset, sound in (("a", "0", ("-af", f"aselect='{PAUSE}'")), ("b", "3000", ())):
        part = tmp_path / f"{name}.ts"
        run_ffmpeg(*PICTURE, *TONE, *CODECS["h264"], "-c:a", "mp2", *sound,
                   "-output_ts_offset", offset, part)  # fmt: skip
        parts.append(part)
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    copy = copied(path, tmp_path, EncodeSettings(codec="h264", preset="ultrafast", crf=30))
    first, second = map(sound_times, parts)
    shift = copy.timeline.pts[400] * TICK - frame_lines(parts[1], TICK)[0].pts * TICK
    want = [*first, *(time + shift for time in second)]
    pairs = zip(sound_times(copy.path), want, strict=True)
    assert max(abs(a - b) for a, b in pairs) <= Fraction(1, 1000)
