"""What a source holds: one pass over its packets, a dozen of its frames decoded.

The timeline is what the packets announce, from the first frame that the decoder really yields: a
recording cut out of a broadcast starts with packets that no decoder can show. Where packets are
not frames (H.264 fields coded as pictures of their own) all frames are decoded to be counted.
"""

import logging
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import pairwise

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vgen.config import Limits
from vgen.errors import DecodeError, ProbeError
from vgen.media import facts
from vgen.media.look import Look, look_at, too_large
from vgen.media.packets import AnyPacket, video_packets
from vgen.media.pixels import planar_name
from vgen.media.reader import decoded_frames
from vgen.media.source import open_source
from vgen.media.stamps import Stamp, judge_access, noted, plan_timeline
from vgen.media.streams import (
    container_kind,
    is_picture_file,
    main_video,
    needs_local_copy,
    other_streams,
)
from vgen.media.tags import display_matrix, resolved_color, static_hdr, tagged_color
from vgen.media.timeline import Timeline
from vgen.records import VideoRef

log = logging.getLogger(__name__)


def probe_video(ref: VideoRef, limits: Limits) -> tuple[facts.VideoInfo, Timeline]:
    """Describe a source and plan its timeline.

    Args:
        ref: The source as it was listed.
        limits: What it may ask for; file size, frame size and duration are checked before a
            frame is decoded, and again on what was found.

    Raises:
        ProbeError: it cannot be opened, holds no moving picture, or is over a limit.
    """
    if ref.size_bytes > limits.max_size_bytes:
        size = f"{ref.size_bytes} bytes are more than"
        raise ProbeError(f"{size} limits.max_size_bytes {limits.max_size_bytes}", uri=ref.uri)
    stamps: list[Stamp] = []
    with open_source(ref.uri, size_bytes=ref.size_bytes) as container:
        stream = main_video(container, ref.uri)
        _check_header(container, stream, limits, ref.uri)
        reading = _Reading(container, stream, "seek", ref.uri, stamps)
        look = look_at(reading.packets, stream, max_pixels=limits.max_pixels, uri=ref.uri)
        reading.finish()
        timeline = _timeline(ref.uri, container, stream, look, stamps)
        info = _describe(container, stream, look, timeline, ref.uri)
        is_picture = is_picture_file(container)
    if len(timeline) == 1 and is_picture:
        raise ProbeError("a still picture, not a video", uri=ref.uri)
    _check_duration(info.duration_s, limits, ref.uri)
    if reading.is_torn:
        torn = "the file breaks off before its end; what can be read of it was planned"
        info = info.model_copy(update={"notes": (*info.notes, torn)})
    return info, timeline


class _Reading:
    """The packets of a stream as they are read once, stamps noted in passing."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        access: facts.Access,
        uri: str,
        stamps: list[Stamp],
    ) -> None:
        self.is_torn = False
        self._source = video_packets(container, stream, access, uri=uri)
        self.packets = noted(self._readable(), stream.codec.canonical_name, stamps)

    def finish(self) -> None:
        """Read what is left."""
        deque(self.packets, maxlen=0)

    def _readable(self) -> Iterator[AnyPacket]:
        try:
            yield from self._source
        except DecodeError:
            self.is_torn = True


def _timeline(
    uri: str, container: InputContainer, stream: VideoStream, look: Look, stamps: list[Stamp]
) -> Timeline:
    """Plan from the stamps; read the file again where they cannot be taken as they are."""
    tick = stream.time_base or Fraction(1)  # its absence was refused with the header
    codec = stream.codec.canonical_name
    access = judge_access(
        stamps,
        format_name=container.format.name,
        codec=codec,
        is_reordered=bool(stream.codec_context.has_b_frames),
        time_base=tick,
    )
    plan = partial(
        plan_timeline,
        time_base=tick,
        rate=_header_rate(stream),
        first_pts=min(look.pts, default=None),
    )
    if access == "sequential":
        stamps = _read_again(uri, access)
    if access != "ordinal" and not any(_is_planned(stamp, look) for stamp in stamps):
        raise ProbeError("no frame that can be decoded has a timestamp", uri=uri)
    timeline = plan(stamps, access=access)
    if _may_be_fields(codec, look, timeline) or not _is_confirmed(timeline, look):
        log.info("packets of %s are not its frames; counting them by decoding", uri)
        timeline = plan(_count_by_decoding(uri, access), access=access)
    return timeline


def _is_planned(stamp: Stamp, look: Look) -> bool:
    return stamp.pts is not None and bool(look.pts) and stamp.pts >= min(look.pts)


def _read_again(uri: str, access: facts.Access) -> list[Stamp]:
    stamps: list[Stamp] = []
    with open_source(uri) as container:
        _Reading(container, main_video(container, uri), access, uri, stamps).finish()
    return stamps


def _count_by_decoding(uri: str, access: facts.Access) -> list[Stamp]:
    """Decode the whole stream; slow, and right whatever the packets look like."""
    with open_source(uri) as container:
        stream = main_video(container, uri)
        packets = video_packets(container, stream, access, uri=uri)
        frames = decoded_frames(packets, stream, lambda _pts: None)
        return [Stamp(frame.pts, None, 0, frame.key_frame) for frame in frames]


def _is_confirmed(timeline: Timeline, look: Look) -> bool:
    """Whether the first frames came as planned; damaged ones prove nothing."""
    if timeline.access == "ordinal" or not look.is_clean:
        return True
    shown = tuple(dict.fromkeys(look.pts))
    return shown == timeline.pts[: len(shown)]


def _may_be_fields(codec: str, look: Look, timeline: Timeline) -> bool:
    """Whether some packets may hold single fields, which only H.264 has."""
    if codec != "h264" or look.field_order == "progressive":
        return False
    steps = {b - a for a, b in pairwise(timeline.pts)}
    return timeline.access == "ordinal" or 3 * min(steps, default=1) <= 2 * max(steps, default=1)


def _check_header(container: InputContainer, stream: VideoStream, limits: Limits, uri: str) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.max_pixels:
        raise ProbeError(too_large(width, height, limits.max_pixels), uri=uri)
    if stream.time_base is None:
        raise ProbeError("the video stream has no time base", uri=uri)
    _check_duration((container.duration or 0) / av.time_base, limits, uri)


def _check_duration(duration_s: float, limits: Limits, uri: str) -> None:
    if duration_s > limits.max_duration_s:
        limit = f"limits.max_duration_s {limits.max_duration_s:.0f}"
        raise ProbeError(f"{duration_s:.0f} s are more than {limit}", uri=uri)


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
    container: InputContainer, stream: VideoStream, look: Look, timeline: Timeline, uri: str
) -> facts.VideoInfo:
    frame = look.first
    try:
        planar, has_alpha = planar_name(frame.format.name)
    except ValueError as error:
        raise ProbeError(f"pixel format {frame.format.name} is not supported", uri=uri) from error
    tagged = tagged_color(stream, frame)
    color, notes = resolved_color(tagged, frame.format.name, frame.height)
    kind = container_kind(container, uri)
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
        field_order=look.field_order,
        hdr10=static_hdr(frame),
        has_alpha=has_alpha,
    )
    return facts.VideoInfo(
        container=kind,
        format_name=container.format.name,
        needs_local_copy=needs_local_copy(kind, stream),
        duration_s=float(timeline.duration * timeline.time_base),
        num_frames=len(timeline),
        access=timeline.access,
        video=video,
        others=other_streams(container, stream),
        notes=(*notes, *(("its transparency (alpha) is dropped",) if has_alpha else ())),
    )
