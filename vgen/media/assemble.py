"""Write a video's output file from its chunks and everything else its source holds.

Nothing is decoded. All streams share the source's zero of time, so that what was in step stays so.
"""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from vgen.errors import EncodeError
from vgen.media.carry import Passenger, carried_packets, mux_carried
from vgen.media.concat import ChunkSource, checked_pts, concatenated_packets
from vgen.media.facts import EncodePlan, Ratio, VideoInfo
from vgen.media.layout import (
    Job,
    keeps_phone_keys,
    lay_out,
    muxer_options,
    patch_output,
    phone_keys,
    shift_to_zero,
    shifted_chapters,
)
from vgen.media.packets import AnyPacket
from vgen.media.passthrough import MUXERS, fresh_metadata
from vgen.media.source import open_source, translated
from vgen.records import Record


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
        with open_source(source_uri, open_path=open_path, is_thorough=True) as source:
            job = Job(
                source_uri=source_uri,
                open_path=open_path,
                source=source,
                info=info,
                plan=plan,
                chunks=tuple(one for one in chunks if one.facts.frame_pts),
                frame_pts=frame_pts,
                last_duration=last_duration,
                shift_pts=shift_to_zero(source, info, frame_pts[0]),
            )
            return _assemble(job, out_path)
    except BaseException:
        # Closing the output wrote a trailer: a short file that looks whole.
        out_path.unlink(missing_ok=True)
        raise


def _assemble(job: Job, out_path: Path) -> AssembleResult:
    notes: list[str] = []
    if job.shift_pts:
        by = f"{float(job.shift_s):.3f} s"
        notes.append(f"all times are {by} later: the source starts before zero")
    chapters = shifted_chapters(job)
    hidden = len(job.source.chapters()) - len(chapters)
    if hidden:
        notes.append(f"{hidden} of the chapters start with a longer one and are left out")
    if job.plan.container != "mkv" and phone_keys(job) and not keeps_phone_keys(job):
        keys = ", ".join(phone_keys(job))
        notes.append(f"{job.plan.container} holds no {keys} beside a cover picture: left out")
    with ExitStack() as stack:
        with translated(job.source_uri, EncodeError):
            muxer = MUXERS[job.plan.container]
            output = av.open(f"file:{out_path}", "w", format=muxer, options=muxer_options(job))
            stack.enter_context(output)
        video, passengers = lay_out(output, job)
        with translated(job.source_uri, EncodeError):
            output.metadata.update(fresh_metadata(job.source.metadata))
            output.set_chapters(chapters)
            output.start_encoding()
        _mux(output, video, passengers, job, notes)
        with translated(job.source_uri, EncodeError):
            output.close()
            patch_output(out_path, job, passengers)
    video_index = job.info.video.index
    lost = [one for one in passengers.values() if one.num_refused]
    notes += [f"{one.num_refused} packets of {one.label} could not be carried" for one in lost]
    return AssembleResult(
        num_frames=len(job.frame_pts),
        shift_pts=job.shift_pts,
        last_duration=job.last_duration,
        video_track=sum(one.is_track and index < video_index for index, one in passengers.items()),
        carried=tuple(_carried(one) for one in passengers.values()),
        num_chapters=len(chapters),
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


def _mux(
    output: OutputContainer,
    video: VideoStream,
    passengers: dict[int, Passenger],
    job: Job,
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


def _video_packets(video: VideoStream, job: Job) -> Iterator[_Timed]:
    for packet in concatenated_packets(
        job.chunks,
        job.frame_pts,
        job.plan.time_base,
        last_duration=job.last_duration,
        shift_pts=job.shift_pts,
        is_late_mp4=job.plan.container != "mkv" and job.frame_pts[0] + job.shift_pts > 0,
    ):
        assert packet.dts is not None
        packet.stream = video
        yield float(packet.dts * packet.time_base), packet, None


def _other_packets(
    passengers: dict[int, Passenger], job: Job, notes: list[str]
) -> Iterator[_Timed]:
    travelling = {index: one for index, one in passengers.items() if one.has_packets}
    if not travelling:
        return iter(())
    return carried_packets(
        job.source, job.info, travelling, notes, uri=job.source_uri, shift_s=job.shift_s
    )
