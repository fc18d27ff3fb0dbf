"""Hold a finished output against its plan, by decoding all of it.

This is the gate before publishing: what passes has every frame at its time, the tags that were
planned, and the streams that were promised, still in step.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.logging
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vgen.errors import VerifyError
from vgen.media.assemble import AssembleResult, CarriedStream
from vgen.media.codecs import DECODED_AS, codec_of
from vgen.media.facts import EncodePlan, VideoInfo
from vgen.media.packets import AnyPacket
from vgen.media.pixels import planar_format, planar_name
from vgen.media.tags import static_hdr
from vgen.records import Record

_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
_MKV_TICK_S = Fraction(1, 1000)  # Matroska rounds every time to it
_LOG = threading.Lock()
"""Held by the thread that listens to what FFmpeg logs."""


class VerifyFacts(Record):
    """What was found in a verified output."""

    num_frames: int
    duration_s: float
    """From the first frame to the end of the last."""
    size_bytes: int
    num_streams: int


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What one pass over the file has met so far."""

    num_frames: int = 0
    num_packets: Counter[int] = field(default_factory=Counter)
    first_pts_s: dict[int, Fraction] = field(default_factory=dict)

    def add(self, packet: AnyPacket) -> None:
        """Count a packet that is not of the main video."""
        index = packet.stream_index
        self.num_packets[index] += 1
        if packet.pts is not None:
            pts_s = packet.pts * packet.time_base
            self.first_pts_s[index] = min(pts_s, self.first_pts_s.get(index, pts_s))


def verify_output(
    path: Path,
    info: VideoInfo,
    plan: EncodePlan,
    frame_pts: Sequence[int],
    assembled: AssembleResult,
    *,
    uri: str,
) -> VerifyFacts:
    """Decode the whole file with one thread and compare it with what was planned and promised.

    Checked: the number of frames; the PTS of each (within 1 ms in mkv, else exact); size, pixel
    format and aspect, rotation, colour tags, field order and HDR metadata; types and codecs of
    all streams, their first PTS, and their numbers of packets; chapters; the duration, within
    2 ms; and that nothing failed to decode.

    Args:
        path: The finished file.
        info: The probed source.
        plan: Its encoding.
        frame_pts: PTS that the frames must have, in the plan's ticks, before ``shift_pts``.
        assembled: What ``assemble_video`` says it wrote.
        uri: What to name in errors.

    Raises:
        VerifyError: naming what differs.
    """
    promise = _Promise(
        path=path, info=info, plan=plan, frame_pts=frame_pts, assembled=assembled, uri=uri
    )
    try:
        with av.open(f"file:{path}", "r") as container:
            return _verify(promise, container)
    except FFmpegError as error:
        raise VerifyError(f"the output cannot be decoded: {error.strerror}", uri=uri) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Promise:
    path: Path
    info: VideoInfo
    plan: EncodePlan
    frame_pts: Sequence[int]
    assembled: AssembleResult
    uri: str

    @property
    def tolerance_s(self) -> Fraction:
        return _MKV_TICK_S if self.plan.container == "mkv" else Fraction(0)

    @property
    def end_s(self) -> Fraction:
        last = self.frame_pts[-1] + self.assembled.last_duration + self.assembled.shift_pts
        return last * self.plan.time_base

    def due_s(self, number: int) -> Fraction:
        """When frame ``number`` is to be shown, in seconds of the output."""
        return (self.frame_pts[number] + self.assembled.shift_pts) * self.plan.time_base

    def require(self, what: str, planned: object, found: object) -> None:
        if planned != found:
            raise VerifyError(f"{what}: planned {planned}, the output has {found}", uri=self.uri)


def _verify(promise: _Promise, container: InputContainer) -> VerifyFacts:
    video, tracks = _check_streams(promise, container)
    promise.require("chapters", promise.assembled.num_chapters, len(container.chapters()))
    seen = _decode(promise, container, video)
    promise.require("frames", len(promise.frame_pts), seen.num_frames)
    aspects = {video.sample_aspect_ratio, video.codec_context.sample_aspect_ratio}
    if promise.plan.sample_aspect_ratio not in {aspect or Fraction(1) for aspect in aspects}:
        promise.require("pixel aspect", promise.plan.sample_aspect_ratio, aspects)
    for one, track in tracks:
        _check_track(promise, one, track, seen)
    _check_duration(promise, container, video)
    return VerifyFacts(
        num_frames=seen.num_frames,
        duration_s=float(promise.end_s - promise.due_s(0)),
        size_bytes=promise.path.stat().st_size,
        num_streams=len(container.streams),
    )


def _check_streams(
    promise: _Promise, container: InputContainer
) -> tuple[VideoStream, list[tuple[CarriedStream, Stream]]]:
    """Return the main video and the carried tracks, once all promised streams are there."""
    carried = promise.assembled.carried
    covers = [stream for stream in container.streams if _is_cover(stream)]
    tracks = [s for s in container.streams if s.type != "attachment" and s not in covers]
    planned = Counter(one.type for one in carried)
    promise.require("cover pictures", planned["cover"], len(covers))
    promise.require("attachments", planned["attachment"], len(container.streams.attachments))
    due = [one for one in carried if one.is_track]
    names = [f"{one.type} {one.codec}" for one in due]
    names.insert(promise.assembled.video_track, f"video {codec_of(promise.plan.encoder).name}")
    # The muxer adds data tracks of its own behind the others, for timecode and chapters.
    found = [f"{track.type} {_codec_name(track)}" for track in tracks]
    found = found[: len(names)] + [name for name in found[len(names) :] if name[:4] != "data"]
    promise.require("streams", ", ".join(names), ", ".join(found))
    video = tracks.pop(promise.assembled.video_track)
    assert isinstance(video, VideoStream)
    return video, list(zip(due, tracks, strict=False))


def _is_cover(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _codec_name(stream: Stream) -> str | None:
    # PyAV's stubs promise a context; a data stream has none.
    return stream.codec_context.codec.canonical_name if stream.codec_context else None


def _decode(promise: _Promise, container: InputContainer, video: VideoStream) -> _Seen:
    """Read the file once: decode the main video, count the packets of the others."""
    seen = _Seen()
    video.thread_count = 1
    with _logged_errors() as errors:
        for packet in container.demux():
            # Of the empty packets at the end, stream_index is always 0.
            if packet.stream.index == video.index:
                for frame in packet.decode():
                    assert isinstance(frame, av.VideoFrame)
                    _check_frame(promise, frame, seen.num_frames)
                    seen.num_frames += 1
            elif packet.size:
                seen.add(packet)
            said = [text for _, name, text in errors if name == video.codec.name]
            if said:
                what = f"the output is damaged near frame {seen.num_frames}: {said[0].strip()}"
                raise VerifyError(what, uri=promise.uri)
            errors.clear()
    return seen


@contextmanager
def _logged_errors() -> Iterator[list[tuple[int, str, str]]]:
    """Collect what this thread's decoders only log: many conceal damage and return a frame.

    One thread at a time, as the level is the process's: of two that overlap, the one that ends
    last would put back the other's. With a level PyAV takes the interpreter's lock for a line, so
    that a decoder with threads, if it is freed just when one of them logs, waits for ever.
    """
    with _LOG:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.ERROR)
        try:
            with av.logging.Capture() as errors:
                yield errors
        finally:
            av.logging.set_level(level)


def _check_frame(promise: _Promise, frame: av.VideoFrame, number: int) -> None:
    plan = promise.plan
    if number >= len(promise.frame_pts):
        return  # counted, and told at the end
    due_s = promise.due_s(number)
    shown_s = None if frame.pts is None else frame.pts * (frame.time_base or Fraction(0))
    if shown_s is None or abs(shown_s - due_s) > promise.tolerance_s:
        promise.require(f"time of frame {number}", _seconds(due_s), _seconds(shown_s))
    if frame.is_corrupt:
        raise VerifyError(f"frame {number} of the output is damaged", uri=promise.uri)
    promise.require("frame size", (plan.width, plan.height), (frame.width, frame.height))
    if number == 0:
        _check_description(promise, frame)


def _seconds(time_s: Fraction | None) -> str:
    return "no time" if time_s is None else f"{float(time_s):.6f} s"


def _check_description(promise: _Promise, frame: av.VideoFrame) -> None:
    """Compare what the first frame says of the pictures; the encoder wrote it for all."""
    plan = promise.plan
    codec = codec_of(plan.encoder).name
    name, _ = planar_name(frame.format.name)
    if name != DECODED_AS.get((codec, plan.pixel_format)):
        promise.require("pixel format", plan.pixel_format, name)
    color = plan.color
    tags = (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc))
    promise.require(
        "colour matrix, primaries and transfer",
        (color.matrix, color.primaries, color.transfer),
        tags,
    )
    if not planar_format(plan.pixel_format).is_rgb:
        is_full = int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj")
        promise.require("full range", color.is_full_range, is_full)
    promise.require("rotation", promise.info.video.rotation_deg % 360, frame.rotation % 360)
    if plan.field_order != "unknown":
        is_interlaced = plan.field_order in ("tff", "bff")
        promise.require("interlaced", is_interlaced, frame.interlaced_frame)
    if plan.hdr10 is not None and static_hdr(frame) is None:
        promise.require("HDR10 metadata", plan.hdr10, None)


def _check_track(promise: _Promise, one: CarriedStream, track: Stream, seen: _Seen) -> None:
    """Compare a carried track's first PTS and number of packets with what was written."""
    first_s = seen.first_pts_s.get(track.index)
    if one.first_pts_s is not None:
        late_s = None if first_s is None else abs(first_s - one.first_pts_s)
        if late_s is None or late_s > _MKV_TICK_S:
            promise.require(f"start of {one.label}", one.first_pts_s, first_s)
    # PCM is cut into packets anew by the demuxer, and mp4 adds empty subtitles to fill gaps.
    if one.type == "audio" and not (one.codec or "").startswith("pcm_"):
        found = seen.num_packets[track.index]
        promise.require(f"packets of {one.label}", one.num_packets, found)


def _check_duration(promise: _Promise, container: InputContainer, video: VideoStream) -> None:
    """Compare the header's duration with when the last frame ends."""
    slack_s = 2 * _MKV_TICK_S  # headers round twice: a start and a length
    if promise.plan.container == "mkv":
        # It has one duration, which is where its last stream ends.
        found_s = Fraction(container.duration or 0, av.time_base)
        if found_s < promise.end_s - slack_s:
            promise.require("duration", float(promise.end_s), float(found_s))
        return
    duration_s = promise.end_s - promise.due_s(0)
    found_s = (video.duration or 0) * (video.time_base or Fraction(0))
    if abs(found_s - duration_s) > slack_s:
        promise.require("duration of the video", float(duration_s), float(found_s))
