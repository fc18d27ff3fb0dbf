"""What a source holds, found without decoding more than its first frames.

The timeline comes from one pass over the packets. Its first frame is the first that the decoder
really yields: a recording cut out of a broadcast starts with packets that no decoder can show.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Literal

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vgen.config import Limits
from vgen.errors import DecodeError, ProbeError
from vgen.media import facts
from vgen.media.decode import decoded_frames
from vgen.media.packets import AnyPacket, video_packets
from vgen.media.pixels import planar_name
from vgen.media.source import open_source
from vgen.media.stamps import Stamp, judge_access, plan_timeline, read_stamps
from vgen.media.tags import display_matrix, field_order, resolved_color, static_hdr, tagged_color
from vgen.media.timeline import Timeline
from vgen.records import VideoRef

_NUM_LOOKED_AT = 12  # frames decoded to see whether any is interlaced
_PICTURE_BRANDS = ("avif", "heic", "heix", "heim", "heis", "mif1", "MiHE")
ContainerKind = Literal["mp4", "mov", "mkv", "webm", "mpegts", "mpeg", "avi", "other"]
StreamKind = Literal["video", "audio", "subtitle", "attachment", "data", "cover"]
_CONTAINERS: dict[str, ContainerKind] = {"mpegts": "mpegts", "mpeg": "mpeg", "avi": "avi"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What the first decoded frames show."""

    first: av.VideoFrame
    first_pts: int | None
    """Of the first frame that has one."""
    is_interlaced: bool


def probe_video(ref: VideoRef, limits: Limits) -> tuple[facts.VideoInfo, Timeline]:
    """Describe a source and plan its timeline: one pass over its packets, a dozen frames decoded.

    Args:
        ref: The source as it was listed.
        limits: What it may ask for; frame size and duration are checked before a decode.

    Raises:
        ProbeError: it cannot be opened, holds no moving picture, or is over a limit.
    """
    if ref.size_bytes > limits.max_size_bytes:
        raise ProbeError(
            f"{ref.size_bytes} bytes are more than limits.max_size_bytes {limits.max_size_bytes}",
            uri=ref.uri,
        )
    with open_source(ref.uri, size_bytes=ref.size_bytes) as container:
        stream = main_video(container, ref.uri)
        _check_header(container, stream, limits, ref.uri)
        stamps, is_torn = _read(container, stream, "seek", ref.uri)
        tick = stream.time_base or Fraction(1)  # its absence was refused above
        access = judge_access(stamps, container.format.name, tick)
    if access == "sequential":
        with open_source(ref.uri) as container:
            stamps, is_torn = _read(container, main_video(container, ref.uri), access, ref.uri)
    with open_source(ref.uri) as container:
        stream = main_video(container, ref.uri)
        look = _look(container, stream, access, limits, ref.uri)
        rate = _header_rate(stream)
        timeline = plan_timeline(
            stamps, access=access, time_base=tick, rate=rate, first_pts=look.first_pts
        )
        _check_timeline(container, timeline, limits, ref.uri)
        info = _describe(container, stream, look, timeline, ref.uri)
    if is_torn:
        torn = "the file breaks off before its end; what can be read of it was planned"
        info = info.model_copy(update={"notes": (*info.notes, torn)})
    return info, timeline


def main_video(container: InputContainer, uri: str) -> VideoStream:
    """Return the stream to enhance: never cover art, a default track first, then the largest.

    Raises:
        ProbeError: there is no moving picture, or no decoder for it.
    """
    pictures = list(container.streams.video)
    moving = [s for s in pictures if not s.disposition & Disposition.attached_pic]
    if not moving:
        what = "only a cover picture" if pictures else "no picture"
        raise ProbeError(f"not a video: the file holds sound or data and {what}", uri=uri)
    main = max(moving, key=_importance)
    if not _has_decoder(main):
        raise ProbeError("no decoder for the codec of its video stream", uri=uri)
    return main


def _has_decoder(stream: Stream) -> bool:
    # PyAV's stubs promise a context; a stream of an unknown codec has none.
    return getattr(stream, "codec_context", None) is not None


def _importance(stream: VideoStream) -> tuple[bool, bool, int]:
    if not _has_decoder(stream):
        return (False, False, 0)
    size = stream.codec_context.width * stream.codec_context.height * max(1, stream.frames)
    return (True, bool(stream.disposition & Disposition.default), size)


def _read(
    container: InputContainer, stream: VideoStream, access: facts.Access, uri: str
) -> tuple[list[Stamp], bool]:
    """Return the stamps of the whole stream, and whether reading broke off."""
    is_torn = False

    def readable() -> Iterator[AnyPacket]:
        nonlocal is_torn
        try:
            yield from video_packets(container, stream, access, uri=uri)
        except DecodeError:
            is_torn = True

    stamps = read_stamps(readable(), stream.codec.canonical_name)
    if not stamps:
        raise ProbeError("the video stream holds nothing that can be decoded", uri=uri)
    return stamps, is_torn


def _look(
    container: InputContainer,
    stream: VideoStream,
    access: facts.Access,
    limits: Limits,
    uri: str,
) -> _Look:
    """Decode the first frames; errors are for ``decode`` to judge, unless nothing comes."""
    stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}
    stream.thread_count = 1
    first: av.VideoFrame | None = None
    first_pts: int | None = None
    num_interlaced = 0
    packets = video_packets(container, stream, access, uri=uri)
    frames = decoded_frames(packets, stream, lambda _pts: None)
    for number, frame in enumerate(frames, start=1):
        first = first or frame
        first_pts = frame.pts if first_pts is None else first_pts
        num_interlaced += frame.interlaced_frame
        if number >= _NUM_LOOKED_AT and (first_pts is not None or access == "ordinal"):
            break
    if first is None:
        raise ProbeError("no frame of the video stream can be decoded", uri=uri)
    if first_pts is None and access != "ordinal":
        raise ProbeError("no decoded frame carries a timestamp", uri=uri)
    if first.width * first.height > limits.max_pixels:
        raise ProbeError(_too_large(first.width, first.height, limits), uri=uri)
    return _Look(first=first, first_pts=first_pts, is_interlaced=num_interlaced > 0)


def _check_header(container: InputContainer, stream: VideoStream, limits: Limits, uri: str) -> None:
    context = stream.codec_context
    if context.width * context.height > limits.max_pixels:
        raise ProbeError(_too_large(context.width, context.height, limits), uri=uri)
    if stream.time_base is None:
        raise ProbeError("the video stream has no time base", uri=uri)
    duration_s = (container.duration or 0) / av.time_base
    _check_duration(duration_s, limits, uri)


def _check_duration(duration_s: float, limits: Limits, uri: str) -> None:
    if duration_s > limits.max_duration_s:
        raise ProbeError(
            f"{duration_s:.0f} s are more than limits.max_duration_s {limits.max_duration_s:.0f}",
            uri=uri,
        )


def _check_timeline(
    container: InputContainer, timeline: Timeline, limits: Limits, uri: str
) -> None:
    _check_duration(float(timeline.duration * timeline.time_base), limits, uri)
    brand = container.metadata.get("major_brand", "").strip()
    is_picture = container.format.name == "gif" or brand in _PICTURE_BRANDS
    if is_picture and len(timeline) == 1:
        raise ProbeError("a still picture, not a video", uri=uri)


def _too_large(width: int, height: int, limits: Limits) -> str:
    return f"{width}x{height} is more than limits.max_pixels {limits.max_pixels}"


def _header_rate(stream: VideoStream) -> Fraction:
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return next((rate for rate in rates if rate), Fraction(25))


def _average_rate(stream: VideoStream, timeline: Timeline) -> Fraction:
    """Return the header's tidy rate where the frames agree with it, else their own."""
    header = _header_rate(stream)
    duration_s = timeline.duration * timeline.time_base
    if abs(header * duration_s - len(timeline)) <= max(1, len(timeline) // 1000):
        return header
    return (len(timeline) / duration_s).limit_denominator(100_000)


def _describe(
    container: InputContainer, stream: VideoStream, look: _Look, timeline: Timeline, uri: str
) -> facts.VideoInfo:
    frame = look.first
    try:
        planar, has_alpha = planar_name(frame.format.name)
    except ValueError as error:
        raise ProbeError(f"pixel format {frame.format.name} is not supported", uri=uri) from error
    tagged = tagged_color(stream, frame)
    color, notes = resolved_color(tagged, frame.format.name, frame.height)
    if has_alpha:
        notes += ("its transparency (alpha) is dropped",)
    video = facts.VideoStream(
        index=stream.index,
        codec=stream.codec.canonical_name,
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        planar_format=planar,
        time_base=timeline.time_base,
        average_rate=_average_rate(stream, timeline),
        sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
        display_matrix=display_matrix(frame),
        rotation_deg=frame.rotation,
        tagged=tagged,
        color=color,
        field_order=field_order(stream, is_interlaced=look.is_interlaced),
        hdr10=static_hdr(frame),
        has_alpha=has_alpha,
    )
    kind = _container_kind(container, uri)
    return facts.VideoInfo(
        container=kind,
        format_name=container.format.name,
        needs_local_copy=_needs_local_copy(kind, stream),
        duration_s=float(timeline.duration * timeline.time_base),
        num_frames=len(timeline),
        access=timeline.access,
        video=video,
        others=_others(container, stream),
        notes=notes,
    )


def _container_kind(container: InputContainer, uri: str) -> ContainerKind:
    name = container.format.name
    if name.startswith("mov,"):
        # QuickTime files older than brands have none.
        return "mov" if container.metadata.get("major_brand", "qt").strip() == "qt" else "mp4"
    if name.startswith("matroska"):
        return "webm" if PurePosixPath(uri).suffix.lower() == ".webm" else "mkv"
    return _CONTAINERS.get(name, "other")


def _needs_local_copy(kind: ContainerKind, stream: VideoStream) -> bool:
    """Whether reading by ranges costs more than the file (measured: reference in the design)."""
    if kind in ("mkv", "webm"):
        return False
    # A fragmented mp4 lists no frames in its header and is searched fragment by fragment.
    return kind not in ("mp4", "mov") or stream.frames == 0


def _others(container: InputContainer, main: VideoStream) -> tuple[facts.OtherStream, ...]:
    counts: Counter[str] = Counter()
    others = []
    for stream in container.streams:
        if stream.index == main.index:
            continue
        kind = _kind(stream)
        counts[kind] += 1
        codec = stream.codec.canonical_name if _has_decoder(stream) else None
        language = stream.language if stream.language not in (None, "und") else None
        details = ", ".join(part for part in (codec, language) if part)
        label = f"{kind} {counts[kind]}" + (f" ({details})" if details else "")
        others.append(facts.OtherStream(index=stream.index, type=kind, codec=codec, label=label))
    return tuple(others)


def _kind(stream: Stream) -> StreamKind:
    if stream.disposition & Disposition.attached_pic:
        return "cover"
    kinds: dict[str, StreamKind] = {
        "video": "video",
        "audio": "audio",
        "subtitle": "subtitle",
        "attachment": "attachment",
    }
    return kinds.get(stream.type, "data")
