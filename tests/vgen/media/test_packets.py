"""Clocks that restart or jump are put on one line, sound and picture by the same amount."""

from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import av.error
import pytest
from av.packet import Packet
from hypothesis import given
from hypothesis import strategies as st

from tests.media_factory import frame_lines
from vgen.errors import DecodeError
from vgen.media.packets import is_shown, read_packets, repaired_packets, video_packets
from vgen.media.source import open_source

TICK = Fraction(1, 90_000)
PICTURE = SimpleNamespace(index=0, time_base=TICK)
SOUND = SimpleNamespace(index=1, time_base=Fraction(1, 1000))
FRAME, BEAT = 3600, 20  # one picture and one piece of sound, each in its stream's ticks


def packet(stream, dts, segment=0, pts=None):
    duration = FRAME if stream is PICTURE else BEAT
    return SimpleNamespace(
        stream_index=stream.index, dts=dts, pts=dts if pts is None else pts, duration=duration,
        size=1, segment=segment, was=dts,
    )  # fmt: skip


def container_of(demux, sound=()):
    return SimpleNamespace(
        demux=demux,
        streams=SimpleNamespace(audio=sound),
        format=SimpleNamespace(name="mpegts"),
    )


def repaired(packets, streams=(PICTURE, SOUND)):
    sound = [stream for stream in streams if stream is SOUND]
    container = container_of(lambda *_: iter(packets), sound)
    return list(repaired_packets(container, streams, uri="a.ts"))


def segment_of(number, base_s, num_frames):
    """One recording: a picture, two pieces of sound, a picture ..."""
    out = []
    for n in range(num_frames):
        out.append(packet(PICTURE, base_s * 90_000 + n * FRAME, number))
        out += [packet(SOUND, base_s * 1000 + (2 * n + at) * BEAT, number) for at in (0, 1)]
    return out


def joined(segments, lag):
    """Join recordings; ``lag`` pieces of sound cross each joint, late or (negative) early."""
    out = []
    for segment in segments:
        late = sounds_of(out)[len(sounds_of(out)) - lag :] if lag > 0 else []
        early = sounds_of(segment)[:-lag] if lag < 0 and out else []
        first = [p for p in segment if p.stream_index == 0][: len(late)]
        kept = [p for p in out if p not in late]
        at = len(kept) - 2 * len(early)
        rest = [p for p in segment if p not in early and p not in first]
        out = ordered(kept[:at] + early + kept[at:]) + first + late + rest
    return out


def sounds_of(packets):
    return [p for p in packets if p.stream_index == 1]


def ordered(packets):
    """Put early sound behind the sound of the recording before: streams keep their own order."""
    sounds = iter(sorted(sounds_of(packets), key=lambda p: p.segment))
    return [next(sounds) if p.stream_index == 1 else p for p in packets]


@given(
    bases_s=st.lists(st.integers(0, 4000).map(lambda n: 20 * n), min_size=1, max_size=4),
    lengths=st.lists(st.integers(8, 30), min_size=4, max_size=4),
    lag=st.integers(-3, 3),
)
def test_joined_recordings_go_on_where_the_one_before_ended(bases_s, lengths, lag):
    segments = [
        segment_of(number, base_s, lengths[number]) for number, base_s in enumerate(bases_s)
    ]
    packets = joined(segments, lag)
    assert sorted(map(id, packets)) == sorted(id(p) for segment in segments for p in segment)
    out = repaired(packets)
    assert sorted(map(id, out)) == sorted(map(id, packets))
    pictures = [p for p in out if p.stream_index == 0]
    assert [p.dts for p in pictures] == [pictures[0].was + n * FRAME for n in range(len(pictures))]
    assert all(p.pts == p.dts for p in out)
    shift_s = {p.segment: (p.dts - p.was) * TICK for p in pictures}
    sounds = [p for p in out if p.stream_index == 1]
    assert [(p.dts - p.was) * SOUND.time_base for p in sounds] == [
        shift_s[p.segment] for p in sounds
    ]
    assert [p.segment for p in sounds] == sorted(p.segment for p in sounds)


@given(st.integers(1, 18), st.integers(-(1 << 33), 1 << 33))
def test_a_single_wild_stamp_loses_its_pts_and_moves_nothing_else(at, wild):
    packets = [packet(PICTURE, 900_000 + n * FRAME) for n in range(20)]
    far = abs(wild - packets[at].dts) * TICK > 11
    packets[at].pts = packets[at].dts = wild if far else 1 << 40
    out = repaired(packets, (PICTURE,))
    assert out == packets
    assert [p.pts for p in out] == [None if n == at else p.was for n, p in enumerate(out)]


def test_a_pts_far_from_its_dts_is_dropped():
    packets = [packet(PICTURE, n * FRAME) for n in range(5)]
    packets[2].pts = 1 << 33
    assert [p.pts for p in repaired(packets, (PICTURE,))] == [0, 3600, None, 10_800, 14_400]


def test_a_clock_that_jumps_with_the_last_packet_goes_on():
    packets = [packet(PICTURE, n * FRAME) for n in range(3)] + [packet(PICTURE, 1 << 32)]
    assert [p.dts for p in repaired(packets)] == [0, 3600, 7200, 10_800]


def test_sound_whose_jump_no_picture_explains_is_kept_as_it_is():
    packets = [packet(SOUND, n * BEAT) for n in range(3)]
    packets += [packet(SOUND, 10**7 + n * BEAT) for n in range(2500)]
    out = repaired(packets)
    assert out == packets
    assert [p.dts for p in out] == [p.was for p in packets]


def test_packets_without_dts_pass():
    packets = [packet(PICTURE, 0), packet(PICTURE, None, pts=3600), packet(SOUND, None, pts=7)]
    assert [(p.dts, p.pts) for p in repaired(packets)] == [(0, 0), (None, 3600), (None, 7)]


def test_empty_packets_are_left_out():
    packets = [packet(PICTURE, 0), packet(PICTURE, FRAME)]
    packets[0].size = 0
    container = SimpleNamespace(demux=lambda *_: iter(packets))
    assert list(read_packets(container, (PICTURE,), uri="a.ts")) == packets[1:]


@pytest.mark.parametrize("reader", [read_packets, repaired_packets])
def test_a_file_that_breaks_off_yields_what_it_has_and_says_so(reader):
    def torn():
        yield packet(PICTURE, 0)
        raise av.error.InvalidDataError(1094995529, "torn")

    packets = reader(container_of(lambda *_: torn()), (PICTURE,), uri="a.ts")
    assert next(packets).dts == 0
    with pytest.raises(DecodeError, match="cannot be read: torn"):
        next(packets)


def test_a_stream_that_appeared_late_does_not_break_the_end():
    def late():
        yield packet(PICTURE, 0)
        raise IndexError("list index out of range")  # what PyAV does at its flush packets

    container = SimpleNamespace(demux=lambda *_: late())
    assert len(list(read_packets(container, (PICTURE,), uri="a.ts"))) == 1


@pytest.mark.parametrize("clip", ["joined.ts", "jumped.ts"])
def test_files_with_jumps_are_repaired_as_the_ffmpeg_program_does(media, clip):
    with open_source(str(media[clip])) as container:
        streams = (container.streams.video[0], container.streams.audio[0])
        first, second = (stream.index for stream in streams)
        packets = list(repaired_packets(container, streams, uri=clip))
    pictures = sorted(p.pts for p in packets if p.stream_index == first)
    once = frame_lines(media["h264_ts"], TICK)
    assert pictures == [once[0].pts + n * FRAME for n in range(2 * len(once))]
    sounds = [p.dts for p in packets if p.stream_index == second]
    assert len(set(sounds)) == len(sounds)
    assert max(abs(b - a) for a, b in pairwise(sounds)) < 9000


def test_pictures_that_are_only_references_are_told_from_frames(media):
    with open_source(str(media["vp8_hidden.mkv"])) as container:
        stream = container.streams.video[0]
        packets = list(video_packets(container, stream, "seek", uri="a.mkv"))
        shown = [p for p in packets if is_shown(p, "vp8")]
        frames = frame_lines(media["vp8_hidden.mkv"], stream.time_base)
    assert len(shown) == len(frames) < len(packets)
    assert [p.pts for p in shown] == [frame.pts for frame in frames]


@pytest.mark.parametrize(
    ("first", "shown"),
    [(0b1000_0010, True), (0b1000_0000, False), (0b1000_1000, True),  # shown, hidden, repeated
     (0b1011_0001, True), (0b1011_0000, False), (0b1011_0100, True)],  # the same in profile 3
)  # fmt: skip
def test_the_vp9_header_is_read_in_every_profile(first, shown):
    assert is_shown(Packet(bytes([first, 0, 0])), "vp9") == shown


def test_a_vp9_superframe_is_shown_whatever_it_starts_with():
    assert is_shown(Packet(bytes([0b1000_0000, 0, 0b1100_0001])), "vp9")


def test_every_vp9_packet_of_a_common_file_is_shown(media):
    with open_source(str(media["vp9_webm"])) as container:
        packets = list(read_packets(container, (container.streams.video[0],), uri="a.webm"))
    assert len(packets) == 75
    assert all(is_shown(p, "vp9") for p in packets)
