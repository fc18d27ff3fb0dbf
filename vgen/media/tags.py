"""Colour, HDR, shape and field order, as a file's tags and its first frames tell them.

Codes are those of ITU-T H.273; 2 means unspecified. A source that says nothing is resolved by one
rule: 720 lines and more are BT.709, fewer are BT.601 (576 lines in its European variant).
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

import av
import av.error
import av.filter
from av.sidedata.sidedata import SideData, SideDataContainer, Type
from av.video.stream import VideoStream

from vgen.media.facts import ColorTags, Hdr10
from vgen.media.pixels import planar_format, planar_name

UNSPECIFIED = 2
_RGB, _BT709, _BT470BG, _SMPTE170M = 0, 1, 5, 6
_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
# Primaries and transfer that usually come with a matrix, for files that name only the matrix.
_USUAL = {0: (1, 13), 1: (1, 1), 5: (5, 6), 6: (6, 6), 9: (9, 14), 10: (9, 14)}
FieldOrder = Literal["progressive", "tff", "bff"]


def tagged_color(stream: VideoStream, frame: av.VideoFrame) -> ColorTags:
    """Return what the file says: the stream's tags, else the frame's."""
    context = stream.codec_context
    name = frame.format.name

    def known(of_stream: int, of_frame: int, *, unset: tuple[int, ...]) -> int:
        return next((int(v) for v in (of_stream, of_frame) if int(v) not in unset), UNSPECIFIED)

    # 0 is reserved except as a matrix, where it is RGB and means unset for YUV formats.
    is_rgb = planar_format(planar_name(name)[0]).is_rgb
    unset = (UNSPECIFIED,) if is_rgb else (0, UNSPECIFIED)
    return ColorTags(
        matrix=known(context.colorspace, frame.colorspace, unset=unset),
        primaries=known(context.color_primaries, frame.color_primaries, unset=(0, UNSPECIFIED)),
        transfer=known(context.color_trc, frame.color_trc, unset=(0, UNSPECIFIED)),
        is_full_range=_FULL_RANGE in (int(context.color_range), int(frame.color_range))
        or name.startswith("yuvj"),
    )


def resolved_color(
    tagged: ColorTags, pixel_format: str, height: int
) -> tuple[ColorTags, tuple[str, ...]]:
    """Return the tags used for YUV to RGB, and a note where the rule had to decide."""
    planar = planar_format(planar_name(pixel_format)[0])
    matrix = tagged.matrix
    notes: tuple[str, ...] = ()
    if planar.is_rgb:
        matrix = _RGB
    elif matrix in (UNSPECIFIED, _RGB):
        matrix = _BT709 if height >= 720 else _BT470BG if height in (576, 288) else _SMPTE170M
        if not planar.is_gray:
            name = "BT.709" if matrix == _BT709 else "BT.601"
            notes = (f"no colour matrix in the file; {name} assumed from its {height} lines",)
    primaries, transfer = _USUAL.get(matrix, (_BT709, _BT709))
    color = ColorTags(
        matrix=matrix,
        primaries=primaries if tagged.primaries == UNSPECIFIED else tagged.primaries,
        transfer=transfer if tagged.transfer == UNSPECIFIED else tagged.transfer,
        is_full_range=tagged.is_full_range or planar.is_rgb,
        chroma_location=tagged.chroma_location,
    )
    return color, notes


def field_order(frame: av.VideoFrame) -> FieldOrder:
    """Return which field of a frame is shown first, as the decoder says.

    The stream's own field order is not asked: mp4 and Matroska disagree on its codes. PyAV shows
    only that a frame is interlaced, so FFmpeg's select filter is asked for the order.
    """
    if not frame.interlaced_frame:
        return "progressive"
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    gate = graph.add("select", "eq(interlace_type\\,TOPFIRST)")
    sink = graph.add("buffersink")
    source.link_to(gate)
    gate.link_to(sink)
    graph.configure()
    source.push(frame)
    try:
        sink.pull()
    except av.error.BlockingIOError:
        return "bff"
    return "tff"


def display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """Return the container's nine fixed-point numbers, None where absent or of no picture."""
    raw = _find_side_data(frame, Type.DISPLAYMATRIX)
    if raw is None or len(raw) != 36:
        return None
    matrix = struct.unpack("=9i", raw)
    a, b, _, c, d, *_ = matrix
    return matrix if a * d != b * c else None  # else it shows nothing, and turns by no angle


def static_hdr(frame: av.VideoFrame) -> Hdr10 | None:
    """Return the frame's mastering display and light levels in x265's words, None where absent."""
    display = _find_side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    light = _find_side_data(frame, Type.CONTENT_LIGHT_LEVEL)
    mastering = None if display is None else _mastering(display)
    max_cll = None
    if light is not None and len(light) >= 8:
        levels = struct.unpack_from("=2I", light)
        # 0 says unknown (CTA-861.3), and not every encoder writes what says nothing.
        max_cll = "{},{}".format(*levels) if any(levels) else None
    if mastering is None and max_cll is None:
        return None
    return Hdr10(mastering_display=mastering, max_cll=max_cll)


def _mastering(raw: bytes) -> str | None:
    """Translate AVMasteringDisplayMetadata: 10 rationals, then has_primaries, has_luminance.

    ST 2086 counts chromaticities in 1/50000 and luminance in 1/10000 nit, as x265 does.
    """
    if len(raw) < 88:
        return None
    numbers = struct.unpack_from("=22i", raw)
    if not all(numbers[20:22]) or not all(numbers[1:20:2]):
        return None
    ratios = [Fraction(*numbers[at : at + 2]) for at in range(0, 20, 2)]
    red, green, blue, white = (
        "({},{})".format(*(round(ratio * 50_000) for ratio in ratios[at : at + 2]))
        for at in (0, 2, 4, 6)
    )
    darkest, brightest = (round(ratio * 10_000) for ratio in ratios[8:10])
    return f"G{green}B{blue}R{red}WP{white}L({brightest},{darkest})"


_UNCARRIED = {
    Type.A53_CC: "closed captions inside the picture (CEA-608/708)",
    Type.DYNAMIC_HDR_PLUS: "dynamic HDR metadata (HDR10+)",
    Type.DOVI_METADATA: "dynamic HDR metadata (Dolby Vision)",
    Type.DOVI_RPU_BUFFER: "dynamic HDR metadata (Dolby Vision)",
    Type.DYNAMIC_HDR_VIVID: "dynamic HDR metadata (HDR Vivid)",
    Type.SPHERICAL: "what makes the picture a sphere (360 degrees)",
    Type.STEREO3D: "how two views lie in the picture (stereo 3D)",
    Type.ICC_PROFILE: "the colour profile (ICC)",
}


class Changes:
    """What of a stream's description changes in mid-stream, as at a broadcast's commercials.

    An output has one description, its source's first.
    """

    def __init__(self) -> None:
        """Know no frame yet."""
        self._first: tuple[Fraction | None, tuple[int, ...]] | None = None

    def seen(self, frame: av.VideoFrame, stream: VideoStream | None) -> set[str]:
        """Name what differs from the first frame; ``stream`` is the open one it came from."""
        tags = (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)
        # Frames do not say it; the decoder has it of the latest.
        aspect = None if stream is None else stream.codec_context.sample_aspect_ratio
        now = (aspect, tuple(map(int, tags)))
        if self._first is None:
            self._first = now
        compared = zip(("pixel aspect ratio", "colour tags"), now, self._first, strict=True)
        return {f"changes of the {what} in mid-stream" for what, new, old in compared if new != old}


def uncarried(frame: av.VideoFrame) -> set[str]:
    """Name what hangs on ``frame`` and cannot be put on a restored one: PyAV only reads it."""
    return {_UNCARRIED[item.type] for item in _side_data(frame) if item.type in _UNCARRIED}


def _find_side_data(frame: av.VideoFrame, kind: Type) -> bytes | None:
    return next((bytes(item) for item in _side_data(frame) if item.type == kind), None)


def _side_data(frame: av.VideoFrame) -> Iterator[SideData]:
    # frame.side_data would be kept in the frame, which it keeps in turn: such a frame, and the
    # decoder's buffer with it, is not free until the garbage collector comes by.
    items = SideDataContainer(frame)  # type: ignore[call-arg] # the stubs know no initialiser
    yield from iter(items)
