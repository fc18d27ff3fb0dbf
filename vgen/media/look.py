"""The first frames of a stream: what only decoding can tell."""

from collections.abc import Iterator
from dataclasses import dataclass

import av
from av.video.stream import VideoStream

from vgen.errors import ProbeError
from vgen.media.packets import AnyPacket
from vgen.media.reader import decoded_frames
from vgen.media.tags import FieldOrder, field_order

_NUM_FRAMES = 12  # telecine repeats after five; sound enough to see whether any is interlaced


_MAX_PADDING = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the first decoded frames show."""

    first: av.VideoFrame
    """The first frame; it keeps its buffers alive."""
    pts: tuple[int, ...]
    """Of the first frames that have one, in the decoder's order."""
    field_order: FieldOrder
    is_clean: bool
    """No packet or frame among them was damaged."""
    is_whole: bool
    """The stream ended within the look."""


def look_at(
    packets: Iterator[AnyPacket], stream: VideoStream, *, max_pixels: int, uri: str
) -> Look:
    """Decode the first dozen frames; read no further than that takes.

    Raises:
        ProbeError: not one frame can be decoded, or its pixels are more than ``max_pixels``.
    """
    # The decoder counts whole blocks, of which the edge is cut off.
    stream.codec_context.options = {"max_pixels": str(2 * max_pixels + _MAX_PADDING)}
    stream.thread_count = 1
    damage: list[int | None] = []
    first: av.VideoFrame | None = None
    order: FieldOrder = "progressive"
    pts: list[int] = []
    num_frames = 0
    for frame in decoded_frames(packets, stream, damage.append):
        first = first or frame
        num_frames += 1
        if frame.pts is not None:
            pts.append(frame.pts)
        if order == "progressive":
            order = field_order(frame)
        if num_frames == _NUM_FRAMES:
            break
    if first is None:
        raise ProbeError("not one frame of the video stream can be decoded", uri=uri)
    if first.width * first.height > max_pixels:
        raise ProbeError(too_large(first.width, first.height, max_pixels), uri=uri)
    return Look(
        first=first,
        pts=tuple(pts),
        field_order=order,
        is_clean=not damage,
        is_whole=num_frames < _NUM_FRAMES,
    )


def too_large(width: int, height: int, max_pixels: int) -> str:
    """Say that a picture is over the limit."""
    return f"{width}x{height} pixels are more than limits.max_pixels {max_pixels}"
