"""Write a video's output file from its chunks and everything else its source holds.

Nothing is decoded. All streams share the source's zero of time, so that what was in step stays so.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from vgen.errors import EncodeError
from vgen.media.codecs import codec_of
from vgen.media.concat import ChunkSource, checked_pts, concatenated_packets, open_media
from vgen.media.facts import EncodePlan, Ratio, VideoInfo
from vgen.media.packets import AnyPacket
from vgen.media.passthrough import (
    MUXERS,
    Passenger,
    board,
    carried_packets,
    describe,
    fresh_metadata,
    mux_carried,
)
from vgen.media.source import open_source, translated
from vgen.records import Record

if TYPE_CHECKING:
    from av.container.core import Chapter  # in the stubs only

_MAX_TIMESCALE = 2**31 - 1


class CarriedStream(Record):
    """One stream of the output besides the enhanced video, as it was written."""

    type: str
    codec: str | None
    label: str
    num_packets: int
    first_pts_s: Ratio | None
    """Its earliest PTS in seconds of the output; None for attachments and empty streams."""
    is_track: bool
    """False for covers and attachments."""


class AssembleResult(Record):
    """What ``assemble_video`` wrote; ``verify_output`` holds the file against it."""

    num_frames: int
    shift_pts: int
    """Ticks added to every time of every stream; 0 unless the source starts before zero."""
    last_duration: int
    """Ticks for which the last frame is shown."""
    video_track: int
    """Place of the enhanced video among the output's tracks, covers and attachments left out."""
    carried: tuple[CarriedStream, ...]
    """In the order of the output's tracks."""
    num_chapters: int
    dropped: tuple[str, ...]
    """What was to be carried and could not be, besides ``plan.dropped``."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    source_uri: str
    open_path: str | None
    source: InputContainer
    info: VideoInfo
    plan: EncodePlan
    chunks: tuple[ChunkSource, ...]
    frame_pts: tuple[int, ...]
    last_duration: int
    shift_pts: int

    @property
    def shift_s(self) -> Fraction:
        return self.shift_pts * self.plan.time_base


def assemble_video(
    source_uri: str,
    info: VideoInfo,
    plan: EncodePlan,
    chunks: Sequence[ChunkSource],
    out_path: Path,
    *,
    last_duration: int,
    open_path: str | None = None,
) -> AssembleResult:
    """Write the output file: the chunks' packets, and the source's other streams and metadata.

    Streams: one chunk is open at a time, and packets go out in order of time. The source is read
    through only if it has streams to carry; its header always, for metadata and chapters.

    Args:
        source_uri: The source.
        info: What its probe found.
        plan: Its encoding; ``passthrough.resolve_container`` has been through it.
        chunks: All chunks of the video, in order.
        out_path: File to write; removed again on any error.
        last_duration: Ticks for which the last frame is shown.
        open_path: A local copy of the source to read instead.

    Raises:
        StorageError: a chunk is missing, damaged or not of this encoding.
        EncodeError: the muxer refused the video, or there is no frame at all.
        ProbeError: the source cannot be opened.
    """
    frame_pts = checked_pts(chunks, info.num_frames)
    if not frame_pts:
        raise EncodeError("no frame of the video was produced", uri=source_uri)
    try:
        with open_source(source_uri, open_path=open_path) as source:
            job = _Job(
                source_uri=source_uri,
                open_path=open_path,
                source=source,
                info=info,
                plan=plan,
                chunks=tuple(one for one in chunks if one.facts.frame_pts),
                frame_pts=frame_pts,
                last_duration=last_duration,
                shift_pts=_shift(source, info, frame_pts[0]),
            )
            return _assemble(job, out_path)
    except BaseException:
        # Closing the output wrote a trailer: a short file that looks whole.
        out_path.unlink(missing_ok=True)
        raise


def _shift(source: InputContainer, info: VideoInfo, first_pts: int) -> int:
    """Return the ticks that bring a source which starts before zero to zero.

    No container holds frames at negative times: mp4 hides them, mkv loses their stamps. All
    streams move alike. Sound alone before zero is its encoder's delay, which stays hidden.
    """
    if first_pts >= 0:
        return 0
    starts = [
        stream.start_time * stream.time_base / info.video.time_base
        for stream in source.streams.audio
        if stream.start_time is not None and stream.time_base
    ]
    return -math.floor(min([Fraction(first_pts), *starts]))


def _assemble(job: _Job, out_path: Path) -> AssembleResult:
    notes: list[str] = []
    if job.shift_pts:
        by = f"{float(job.shift_s):.3f} s"
        notes.append(f"all times are {by} later: the source starts before zero")
    with ExitStack() as stack:
        with translated(job.source_uri, EncodeError):
            muxer = MUXERS[job.plan.container]
            output = av.open(str(out_path), "w", format=muxer, options=_options(job))
            stack.enter_context(output)
        video, passengers = _lay_out(output, job)
        with translated(job.source_uri, EncodeError):
            output.metadata.update(fresh_metadata(job.source.metadata))
            output.set_chapters(_chapters(job))
            output.start_encoding()
        _mux(output, video, passengers, job, notes)
        with translated(job.source_uri, EncodeError):
            output.close()
    video_index = job.info.video.index
    lost = [one for one in passengers.values() if one.num_refused]
    notes += [f"{one.num_refused} packets of {one.label} could not be carried" for one in lost]
    return AssembleResult(
        num_frames=len(job.frame_pts),
        shift_pts=job.shift_pts,
        last_duration=job.last_duration,
        video_track=sum(one.is_track and index < video_index for index, one in passengers.items()),
        carried=tuple(_carried(one) for one in passengers.values()),
        num_chapters=len(job.source.chapters()),
        dropped=tuple(one.label for one in lost if not one.num_packets),
        notes=tuple(notes),
    )


def _carried(passenger: Passenger) -> CarriedStream:
    return CarriedStream(
        type=passenger.type,
        codec=passenger.codec,
        label=passenger.label,
        num_packets=passenger.num_packets,
        first_pts_s=passenger.first_pts_s,
        is_track=passenger.is_track,
    )


def _options(job: _Job) -> dict[str, str]:
    if job.plan.container == "mkv":
        # The muxer would move all streams by the encoder delay of the sound.
        return {"avoid_negative_ts": "disabled"}
    flags = "+faststart"
    if any(key.startswith("com.") for key in job.source.metadata):
        flags += "+use_metadata_tags"  # else keys of phones and cameras are left out
    return {"movflags": flags, "movie_timescale": str(_movie_timescale(job))}


def _movie_timescale(job: _Job) -> int:
    """Return a timescale in which the starts of all streams are whole numbers, if there is one.

    Edit lists hold the stretch before a stream, and its length without the encoder's delay, in
    units of the movie and not of the stream: rounded, a few samples would be cut off its end.
    """
    scale = max(job.plan.time_base.denominator, 1000)
    for stream in job.source.streams:
        if isinstance(stream, AudioStream):
            unit = stream.sample_rate
        else:
            unit = stream.time_base.denominator if stream.time_base and stream.start_time else 1
        wider = math.lcm(scale, unit or 1)
        scale = wider if wider <= _MAX_TIMESCALE else scale
    return min(scale, _MAX_TIMESCALE)


def _chapters(job: _Job) -> "list[Chapter]":
    chapters = job.source.chapters()
    for one in chapters:
        time_base = one["time_base"]
        assert time_base is not None
        shift = round(job.shift_s / time_base)
        one["start"] += shift
        one["end"] += shift
    return chapters


def _lay_out(output: OutputContainer, job: _Job) -> tuple[VideoStream, dict[int, Passenger]]:
    """Add the output's streams in the source's order; passengers by index in the source."""
    passengers: dict[int, Passenger] = {}
    others = {other.index: other for other in job.info.others}
    video: VideoStream | None = None
    for stream in job.source.streams:
        if stream.index == job.info.video.index:
            video = _add_video(output, stream, job)
        elif stream.index in others:
            with translated(job.source_uri, EncodeError):
                passenger = board(
                    output,
                    job.source,
                    others[stream.index],
                    job.plan.container,
                    source_uri=job.source_uri,
                    open_path=job.open_path,
                )
            if passenger is not None:
                passengers[stream.index] = passenger
    assert video is not None
    return video, passengers


def _add_video(output: OutputContainer, stream: Stream, job: _Job) -> VideoStream:
    with open_media(job.chunks[0]) as (_, media), translated(job.source_uri, EncodeError):
        video = output.add_stream_from_template(media, opaque=True)
    video.time_base = job.plan.time_base
    describe(video, stream)
    if codec_of(job.plan.encoder).name == "hevc" and job.plan.container != "mkv":
        video.codec_context.codec_tag = "hvc1"  # players of Apple refuse the default, hev1
    # Of a template PyAV forgets the rate. In mkv it is the mean; mp4 only counts timecode in it.
    rate = stream.base_rate if isinstance(stream, VideoStream) else None
    is_mean = job.plan.container == "mkv" or rate is None
    video.codec_context.framerate = job.info.video.average_rate if is_mean else rate
    video.set_display_matrix(job.plan.display_matrix)
    return video


def _mux(
    output: OutputContainer,
    video: VideoStream,
    passengers: dict[int, Passenger],
    job: _Job,
    notes: list[str],
) -> None:
    for time_s, packet, passenger in heapq.merge(
        _video_packets(video, job), _other_packets(passengers, job, notes), key=lambda one: one[0]
    ):
        del time_s
        if passenger is not None:
            mux_carried(output, packet, passenger)
            continue
        with translated(job.source_uri, EncodeError):
            output.mux(packet)


_Timed = tuple[float, AnyPacket, Passenger | None]


def _video_packets(video: VideoStream, job: _Job) -> Iterator[_Timed]:
    for packet in concatenated_packets(
        job.chunks,
        job.frame_pts,
        job.plan.time_base,
        last_duration=job.last_duration,
        shift_pts=job.shift_pts,
    ):
        assert packet.dts is not None
        packet.stream = video
        yield float(packet.dts * packet.time_base), packet, None


def _other_packets(
    passengers: dict[int, Passenger], job: _Job, notes: list[str]
) -> Iterator[_Timed]:
    travelling = {index: one for index, one in passengers.items() if one.has_packets}
    if not travelling:
        return iter(())
    return carried_packets(
        job.source, job.info, travelling, notes, uri=job.source_uri, shift_s=job.shift_s
    )
