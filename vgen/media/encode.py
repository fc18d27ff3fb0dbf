"""Encode one span's frames into one closed-GOP chunk file.

The file's own timestamps start at zero, because only then does every container give them back
exactly. The PTS of the video are kept beside it, in what ``encode_chunk`` returns.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.filter import Graph
from av.video.frame import PictureType
from av.video.stream import VideoStream

from vgen.errors import EncodeError
from vgen.media.codecs import PACKED
from vgen.media.facts import EncodePlan
from vgen.media.priority import ordinary_priority
from vgen.media.simd import steady_options
from vgen.media.source import translated

_FEWEST_REORDERED = 3
_UNSPECIFIED = (2, 0)  # FFmpeg's matrix and range


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedChunk:
    """What the file of one chunk holds."""

    frame_pts: tuple[int, ...]
    """PTS of its frames in ``plan.time_base`` ticks, strictly increasing."""
    packet_pts: tuple[int, ...]
    """The same PTS in packet (decoding) order."""
    size_bytes: int


def encode_chunk(
    frames: Iterable[av.VideoFrame], plan: EncodePlan, path: Path, *, uri: str
) -> EncodedChunk:
    """Encode ``frames`` to ``path`` as ``plan`` says; nothing is left there on an error.

    Streams: one frame is held besides the encoder's lookahead. Frames are used up: their PTS and
    tags are overwritten. Without any frame the file is empty.

    Args:
        frames: In presentation order, planar in ``plan.pixel_format`` and of the plan's size,
            ``pts`` absolute in ``plan.time_base`` ticks. What it raises passes through.
        plan: The resolved encoding.
        path: File to write; overwritten.
        uri: The source, for error messages.

    Raises:
        EncodeError: the encoder refused the settings or a frame.
        ValueError: a frame is of another size or format than planned, or not later than the last.
    """
    # SVT-AV1 prints a banner a run to stderr; 1 leaves its errors.
    os.environ.setdefault("SVT_LOG", "1")
    try:
        return _encode(iter(frames), plan, path, uri)
    except BaseException:
        # Closing the container wrote a valid trailer: a short chunk that looks whole.
        path.unlink(missing_ok=True)
        raise


def _encode(
    frames: Iterator[av.VideoFrame], plan: EncodePlan, path: Path, uri: str
) -> EncodedChunk:
    frame_pts: list[int] = []
    packet_pts: list[int] = []
    first = next(frames, None)
    if first is None:
        path.write_bytes(b"")
        return EncodedChunk(frame_pts=(), packet_pts=(), size_bytes=0)
    prepare = _preparation(plan)
    with translated(uri, EncodeError):
        container = av.open(f"file:{path}", "w", format=plan.chunk_format)
    with container:
        asked = f"{plan.encoder} refuses {plan.width}x{plan.height} {plan.pixel_format}"
        with translated(uri, EncodeError, what=asked):
            stream = open_encoder(container, plan)
        for frame in _chained(first, frames):
            _check(frame, plan, frame_pts)
            base = frame_pts[0] if frame_pts else _pts(frame)
            frame_pts.append(_pts(frame))
            with translated(uri, EncodeError):
                prepared = prepare(frame)
                prepared.pts = frame_pts[-1] - base
                packet_pts += _mux(container, stream.encode(prepared), base)
        with translated(uri, EncodeError):
            packet_pts += _mux(container, _flushed(stream, len(frame_pts)), frame_pts[0])
            container.close()
    if sorted(packet_pts) != frame_pts:
        raise EncodeError(
            f"{plan.encoder} made {len(packet_pts)} packets of {len(frame_pts)} frames, "
            "or changed their times",
            uri=uri,
        )
    size_bytes = path.stat().st_size
    return EncodedChunk(
        frame_pts=tuple(frame_pts), packet_pts=tuple(packet_pts), size_bytes=size_bytes
    )


def open_encoder(container: OutputContainer, plan: EncodePlan) -> VideoStream:
    """Add a video stream that encodes as ``plan`` says; the caller closes the container."""
    stream = container.add_stream(
        plan.encoder,
        rate=plan.average_rate,
        options=steady_options(plan.encoder, dict(plan.options)),
        time_base=plan.time_base,
        width=plan.width,
        height=plan.height,
    )
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.pix_fmt = PACKED.get((plan.encoder, plan.pixel_format), plan.pixel_format)
    context.time_base = plan.time_base
    context.thread_count = plan.threads
    context.sample_aspect_ratio = plan.sample_aspect_ratio
    context.color_primaries = plan.color.primaries
    context.color_trc = plan.color.transfer
    context.colorspace = plan.color.matrix
    context.color_range = _color_range(plan)
    with ordinary_priority():
        context.open(strict=False)
    return stream


def _color_range(plan: EncodePlan) -> int:
    return 2 if plan.color.is_full_range else 1


def _check(frame: av.VideoFrame, plan: EncodePlan, earlier: list[int]) -> None:
    made = (frame.format.name, frame.width, frame.height)
    planned = (plan.pixel_format, plan.width, plan.height)
    if made != planned:
        raise ValueError(f"frame is {made}, planned is {planned}")
    if frame.pts is None or (earlier and frame.pts <= earlier[-1]):
        raise ValueError(f"frame pts {frame.pts} does not follow {earlier[-1:]}")


def _pts(frame: av.VideoFrame) -> int:
    assert frame.pts is not None
    return frame.pts


def _chained(first: av.VideoFrame, rest: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    yield first
    yield from rest


def _flushed(stream: VideoStream, num_frames: int) -> "list[av.Packet[VideoStream]]":
    """Return the last packets; of too few frames to reorder, x265 leaves the DTS undefined."""
    packets = stream.encode(None)
    if num_frames < _FEWEST_REORDERED:
        for packet in packets:
            packet.dts = packet.pts
    return packets


def _mux(
    container: OutputContainer, packets: "list[av.Packet[VideoStream]]", base: int
) -> list[int]:
    made = []
    for packet in packets:
        assert packet.pts is not None
        made.append(packet.pts + base)
        container.mux(packet)
    return made


def _preparation(plan: EncodePlan) -> Callable[[av.VideoFrame], av.VideoFrame]:
    """Return what makes a planar frame ready for the encoder, samples untouched."""
    packed = PACKED.get((plan.encoder, plan.pixel_format))
    mark = _marking(plan)

    def prepare(frame: av.VideoFrame) -> av.VideoFrame:
        frame.time_base = plan.time_base
        if packed is not None:
            frame = frame.reformat(format=packed)
        if mark is not None:
            frame = mark(frame)
        # Else the encoder would be made to repeat the source's picture types.
        frame.pict_type = PictureType.NONE
        # prores_ks writes the frames' tags and not its context's.
        frame.color_primaries = plan.color.primaries
        frame.color_trc = plan.color.transfer
        frame.colorspace = plan.color.matrix
        frame.color_range = _color_range(plan)
        return frame

    return prepare


def _marking(plan: EncodePlan) -> Callable[[av.VideoFrame], av.VideoFrame] | None:
    """Return a pass through the filters that set what PyAV has no attribute for, if any is due.

    x264, prores_ks and ffv1 take the field order from each frame, ffv1 the pixel aspect too.
    """
    is_interlaced = plan.field_order in ("tff", "bff")
    has_aspect = plan.encoder == "ffv1" and plan.sample_aspect_ratio != 1
    if not is_interlaced and not has_aspect:
        return None
    graph = Graph()
    format_name = PACKED.get((plan.encoder, plan.pixel_format), plan.pixel_format)
    nodes = [
        graph.add_buffer(
            width=plan.width,
            height=plan.height,
            format=av.VideoFormat(format_name),
            time_base=plan.time_base,
        )
    ]
    if is_interlaced:
        nodes.append(graph.add("setfield", plan.field_order))
    aspect: Fraction = plan.sample_aspect_ratio
    nodes.append(graph.add("setsar", f"{aspect.numerator}/{aspect.denominator}"))
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()

    def mark(frame: av.VideoFrame) -> av.VideoFrame:
        frame.colorspace, frame.color_range = _UNSPECIFIED  # as the graph was told
        graph.push(frame)
        marked = graph.pull()
        assert isinstance(marked, av.VideoFrame)
        return marked

    return mark
