"""Planar pixel formats, and the planes of a frame as numpy arrays.

Inside vgen a frame is planar: gray, YUV or GBR, 8 bits in uint8 or more in little-endian uint16
with the value in the low bits. ``yuvj*`` is the same samples as ``yuv*`` with full range; it is
re-labelled, never rescaled, because swscale would change the samples.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.plane import VideoPlane
from numpy.typing import NDArray

_Plane = NDArray[np.uint8] | NDArray[np.uint16]

_CHROMA = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2)}
_NAME = re.compile(r"(?:gray|gbrp|yuv(?P<chroma>4\d\d)p)(?P<bits>\d+)?(?:le)?")

# Formats that swscale repacks into a planar one without touching a sample value.
_REPACKED = {
    "yuyv422": "yuv422p", "uyvy422": "yuv422p", "yvyu422": "yuv422p", "uyyvyy411": "yuv411p",
    "rgb24": "gbrp", "bgr24": "gbrp", "rgb0": "gbrp", "bgr0": "gbrp",
    "0rgb": "gbrp", "0bgr": "gbrp", "pal8": "gbrp", "rgb48le": "gbrp16le", "bgr48le": "gbrp16le",
    "monow": "gray", "monob": "gray", "rgb565le": "gbrp", "rgb555le": "gbrp", "rgb8": "gbrp",
}  # fmt: skip
# Luma, then interleaved chroma: target, unused low bits, whether V comes first. Taken apart here,
# because swscale reads memory that nobody wrote when it does.
_SEMIPLANAR = {
    "nv12": ("yuv420p", 0, False), "nv21": ("yuv420p", 0, True),
    "nv16": ("yuv422p", 0, False), "nv24": ("yuv444p", 0, False),
    "p010le": ("yuv420p10le", 6, False), "p012le": ("yuv420p12le", 4, False),
    "p210le": ("yuv422p10le", 6, False),
}  # fmt: skip
# Alpha has no place in the codecs written here; it is dropped and the report says so.
_ALPHA = {
    "yuva420p": "yuv420p", "yuva422p": "yuv422p", "yuva444p": "yuv444p",
    "yuva420p10le": "yuv420p10le", "yuva422p10le": "yuv422p10le", "yuva444p10le": "yuv444p10le",
    "yuva422p12le": "yuv422p12le", "yuva444p12le": "yuv444p12le",
    "gbrap": "gbrp", "gbrap10le": "gbrp10le", "gbrap12le": "gbrp12le", "gbrap16le": "gbrp16le",
    "rgba": "gbrp", "bgra": "gbrp", "argb": "gbrp", "abgr": "gbrp", "ya8": "gray",
    "rgba64le": "gbrp16le", "bgra64le": "gbrp16le", "ya16le": "gray16le",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanarFormat:
    """Layout of one planar pixel format."""

    name: str
    """FFmpeg's name, with ``le`` for more than 8 bits, never ``yuvj``."""
    bit_depth: int
    log2_chroma_w: int
    log2_chroma_h: int
    is_rgb: bool
    """GBR planes in FFmpeg's order: green, blue, red."""
    is_gray: bool

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        """uint8 for 8 bits, else uint16."""
        return np.dtype(np.uint8) if self.bit_depth == 8 else np.dtype("<u2")

    def plane_shapes(self, width: int, height: int) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each plane; chroma sizes round up, as FFmpeg's do."""
        if self.is_gray:
            return ((height, width),)
        chroma = (-(-height // (1 << self.log2_chroma_h)), -(-width // (1 << self.log2_chroma_w)))
        return ((height, width), chroma, chroma)

    def frame_bytes(self, width: int, height: int) -> int:
        """Return the bytes of all planes of a frame, without line padding."""
        samples = sum(rows * columns for rows, columns in self.plane_shapes(width, height))
        return samples * self.dtype.itemsize


def planar_format(name: str) -> PlanarFormat:
    """Describe a planar format by its name.

    Raises:
        ValueError: the name is no planar integer format known here.
    """
    match = _NAME.fullmatch(name)
    bits = int(match["bits"] or 8) if match else 0
    if match is None or not 8 <= bits <= 16 or (match["chroma"] or "444") not in _CHROMA:
        raise ValueError(f"{name!r} is not a planar gray, gbrp or yuv format")
    log2_w, log2_h = _CHROMA[match["chroma"] or "444"]
    base = name.removesuffix("le")
    return PlanarFormat(
        name=base if bits == 8 else f"{base}le",
        bit_depth=bits,
        log2_chroma_w=log2_w,
        log2_chroma_h=log2_h,
        is_rgb=name.startswith("gbrp"),
        is_gray=name.startswith("gray"),
    )


def planar_name(source_format: str) -> tuple[str, bool]:
    """Return the planar format that holds every sample of ``source_format``, and if alpha goes.

    Raises:
        ValueError: no planar integer format holds it.
    """
    name = source_format.replace("yuvj", "yuv")
    if name.endswith("be"):
        name = f"{name[:-2]}le"
    has_alpha = name in _ALPHA
    if name in _SEMIPLANAR:
        return _SEMIPLANAR[name][0], False
    if name == "y210le":
        return "yuv422p10le", False
    return planar_format(_ALPHA.get(name) or _REPACKED.get(name, name)).name, has_alpha


def to_planar(frame: av.VideoFrame) -> av.VideoFrame:
    """Return ``frame`` in its planar format; the frame itself where it is that already."""
    name, _ = planar_name(frame.format.name)
    if frame.format.name == name:
        return frame
    if frame.format.name.startswith("yuvj"):
        return _carried(
            frame_from_planes(planes_of(frame), name, frame.pts, frame.time_base), frame
        )
    if frame.format.name in _SEMIPLANAR:
        return _carried(_taken_apart(frame), frame)
    if frame.format.name == "y210le":
        return _carried(_unpacked_y210(frame), frame)
    if frame.format.name.startswith("gbrap"):
        # swscale leaves parts of lines unwritten when it takes this alpha away.
        is_swapped = frame.format.name.endswith("be")
        whole = frame.reformat(format=f"{frame.format.name[:-2]}le") if is_swapped else frame
        opaque = frame_from_planes(planes_of(whole)[:3], name, frame.pts, frame.time_base)
        return _carried(opaque, frame)
    return _carried(frame.reformat(format=name), frame)


def planes_of(frame: av.VideoFrame) -> tuple[_Plane, ...]:
    """Return writable views of the planes, cropped of line padding; valid while frame lives."""
    is_byte = frame.format.components[0].bits == 8
    return tuple(
        _rows(plane, is_byte=is_byte)[: plane.height, : plane.width] for plane in frame.planes
    )


def frame_from_planes(
    planes: Sequence[_Plane],
    format_name: str,
    pts: int | None,
    time_base: Fraction | None,
) -> av.VideoFrame:
    """Copy planes ``[H, W]`` (first plane full size) into a new frame."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, format_name)
    for target, plane in zip(planes_of(frame), planes, strict=True):
        target[:] = plane
    frame.pts = pts
    if time_base is not None:
        frame.time_base = time_base
    return frame


def _rows(plane: VideoPlane, *, is_byte: bool) -> _Plane:
    """View a plane with its line padding."""
    held = memoryview(plane)
    samples = np.frombuffer(held, np.uint8) if is_byte else np.frombuffer(held, np.uint16)
    return samples.reshape(-1, plane.line_size // samples.itemsize)


def _taken_apart(frame: av.VideoFrame) -> av.VideoFrame:
    name, shift, is_swapped = _SEMIPLANAR[frame.format.name]
    layout = planar_format(name)
    (height, width), (rows, columns), _ = layout.plane_shapes(frame.width, frame.height)
    luma, pairs = (_rows(plane, is_byte=layout.bit_depth == 8) for plane in frame.planes)
    views = [
        luma[:height, :width],
        pairs[:rows, : 2 * columns : 2],
        pairs[:rows, 1 : 2 * columns : 2],
    ]
    if is_swapped:
        views[1:] = views[:0:-1]
    return frame_from_planes(_shifted(views, shift), name, None, None)


def _unpacked_y210(frame: av.VideoFrame) -> av.VideoFrame:
    """Take apart Y U Y V in the high 10 of 16 bits."""
    words = _rows(frame.planes[0], is_byte=False)[: frame.height]
    columns = 4 * -(-frame.width // 2)
    views = [words[:, :columns:2][:, : frame.width], words[:, 1:columns:4], words[:, 3:columns:4]]
    return frame_from_planes(_shifted(views, 6), "yuv422p10le", None, None)


def _shifted(views: list[_Plane], shift: int) -> list[_Plane]:
    # Cast, because shifting is typed as if it could change the type.
    return [cast("_Plane", view >> shift) for view in views]


def _carried(made: av.VideoFrame, source: av.VideoFrame) -> av.VideoFrame:
    made.pts = source.pts
    if source.time_base is not None:
        made.time_base = source.time_base
    made.colorspace = source.colorspace
    made.color_range = source.color_range
    return made
