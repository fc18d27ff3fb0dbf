"""What a source holds: its tables or one pass over its packets, and a dozen frames decoded.

An object that ranges do not serve is copied to a temporary file first; the others are read where
they lie.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vgen.config import Limits
from vgen.errors import ProbeError
from vgen.media import facts
from vgen.media.look import Look, look_at, too_large
from vgen.media.pixels import planar_name
from vgen.media.source import open_source
from vgen.media.streams import (
    container_kind,
    is_picture_file,
    main_video,
    needs_local_copy,
    other_streams,
)
from vgen.media.survey import Reading, Source, header_rate, read_stamps, survey
from vgen.media.tags import display_matrix, resolved_color, static_hdr, tagged_color
from vgen.media.timeline import Timeline
from vgen.records import VideoRef
from vgen.storage import download, is_local


def probe_video(
    ref: VideoRef,
    limits: Limits,
    *,
    open_path: str | None = None,
    copied: Callable[[VideoRef], AbstractContextManager[str]] | None = None,
) -> tuple[facts.VideoInfo, Timeline]:
    """Describe a source and plan its timeline.

    Args:
        ref: The source as it was listed.
        limits: What it may ask for; file size, frame size and duration are checked before a
            frame is decoded, and again on what was found.
        open_path: A local copy to read instead.
        copied: Lends a local copy of an object that ranges do not serve; None for one that is
            gone when the probe is done.

    Raises:
        ProbeError: it cannot be opened, holds no moving picture, or is over a limit.
        StorageError: the object cannot be fetched.
    """
    if ref.size_bytes > limits.max_size_bytes:
        size = f"{ref.size_bytes} bytes are more than"
        raise ProbeError(f"{size} limits.max_size_bytes {limits.max_size_bytes}", uri=ref.uri)
    source = Source(uri=ref.uri, path=open_path)
    with open_source(
        ref.uri, size_bytes=ref.size_bytes, open_path=open_path, is_thorough=True
    ) as container:
        stream = main_video(container, ref.uri)
        _check_header(container, stream, limits, ref.uri)
        is_fetched = not is_local(source.place) and needs_local_copy(container, stream)
        if not is_fetched:
            return _probe(source, container, stream, limits)
    with (copied or _copied)(ref) as path:
        return probe_video(ref, limits, open_path=path)


@contextmanager
def _copied(ref: VideoRef) -> Iterator[str]:
    with TemporaryDirectory(prefix="vgen-probe-") as folder:
        path = Path(folder) / "source"
        download(ref.uri, path, ref.size_bytes)
        yield str(path)


def _probe(
    source: Source, container: InputContainer, stream: VideoStream, limits: Limits
) -> tuple[facts.VideoInfo, Timeline]:
    reading = Reading(container, stream, "seek", source.uri)
    look = look_at(reading.packets, stream, max_pixels=limits.max_pixels, uri=source.uri)
    stamps = read_stamps(source, container, stream, reading, look)
    timeline = survey(source, container, stream, look, stamps)
    if len(timeline) == 1 and is_picture_file(container):
        raise ProbeError("a still picture, not a video", uri=source.uri)
    info = _describe(container, stream, look, timeline, source.uri)
    _check_duration(info.duration_s, limits, source.uri)
    notes = list(info.notes)
    if reading.is_torn:
        notes.append("the file breaks off before its end; what can be read of it was planned")
    if timeline.num_hidden:
        notes.append(f"frames left out, as others have their time stamps: {timeline.num_hidden}")
    return info.model_copy(update={"notes": tuple(notes)}), timeline


def _check_header(container: InputContainer, stream: VideoStream, limits: Limits, uri: str) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.max_pixels:
        raise ProbeError(too_large(width, height, limits.max_pixels), uri=uri)
    # Some headers count from zero and not from the first frame, which may lie days after it.
    lasting = (container.duration or 0) - max(container.start_time or 0, 0)
    _check_duration(lasting / av.time_base, limits, uri)


def _check_duration(duration_s: float, limits: Limits, uri: str) -> None:
    if duration_s > limits.max_duration_s:
        limit = f"limits.max_duration_s {limits.max_duration_s:.0f}"
        raise ProbeError(f"{duration_s:.0f} s are more than {limit}", uri=uri)


def _average_rate(stream: VideoStream, timeline: Timeline) -> Fraction:
    """Return the header's tidy rate where the frames agree with it, else their own."""
    header = header_rate(stream)
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
    # WebM keeps alpha beside the picture, where FFmpeg's own decoders do not look.
    has_alpha = has_alpha or stream.metadata.get("alpha_mode") == "1"
    matrix = display_matrix(frame)
    tagged = tagged_color(stream, frame)
    color, notes = resolved_color(tagged, frame.format.name, frame.height)
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
        display_matrix=matrix,
        rotation_deg=frame.rotation if matrix else 0,
        tagged=tagged,
        color=color,
        field_order=look.field_order,
        hdr10=static_hdr(frame),
        has_alpha=has_alpha,
    )
    return facts.VideoInfo(
        container=container_kind(container, uri),
        format_name=container.format.name,
        needs_local_copy=needs_local_copy(container, stream),
        duration_s=float(timeline.duration * timeline.time_base),
        num_frames=len(timeline),
        access=timeline.access,
        video=video,
        others=other_streams(container, stream),
        notes=(*notes, *(("its transparency (alpha) is dropped",) if has_alpha else ())),
    )
