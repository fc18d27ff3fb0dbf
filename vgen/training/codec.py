"""What a lossy codec does to a clip, in memory: RGB to 4:2:0, encode, decode, back to RGB.

The conversion is written out here in floats rather than left to swscale, which is off by a
level: a network trained on that would learn to shift colours. Chroma siting and the way it is
interpolated are drawn per clip, so that the network does not lean on either.

Clips are uint8 RGB arrays ``[T, H, W, 3]``; H and W are even.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, cast

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

Clip = NDArray[np.uint8]
Planes = NDArray[np.uint8]
Plane = NDArray[np.float32]
Upsampling = Literal["left", "centre", "nearest"]

LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
"""Share of red and blue in luma; green has the rest."""

_DECODERS = {"libx264": "h264", "libx265": "hevc", "libvpx-vp9": "vp9"}

_X264 = "log-level=0"
# Its own pool of threads has one per core, unless it is told to have none.
_X265 = "log-level=none:pools=none:frame-threads=1"

X265_LEAST_PX = 96
"""Shortest side that x265 is given: at 48 pixels x265 4.2 writes past its buffers with every
preset (seen by glibc's malloc checks, not at 56 to 132), and at 64 no two runs agree."""

RATE = 25
"""Frames a second that encoders are told."""

# On CPUs with AVX-512, macroblock-tree of x264 build 165 reads what nobody wrote where rows do
# not fill its registers, and then no two runs agree; at multiples of this they did.
_SAFE_WIDTH_PX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """One way of coding a clip."""

    codec: str
    """``libx264``, ``libx265``, ``libvpx-vp9``, ``mpeg2video`` or ``mpeg4``."""
    quality: int
    """crf for x264, x265 and VP9; quantiser 2 (best) to 31 for the MPEG codecs."""
    bits_per_pixel: float | None = None
    """Bit rate that x264 aims at, instead of ``quality``. The MPEG encoders get there over
    seconds only, by the end of a clip they have not begun."""
    b_frames: int = 0
    """Most frames in a row that are predicted from both sides, of the MPEG codecs; they are a
    little coarser than ``quality``, as keyframes are finer."""
    preset: str = "veryfast"
    """Of x264 and x265; the others ignore it."""
    keyframe_every: int = 48
    """Longest distance between keyframes, in frames."""
    matrix: str = "bt601"
    """Key of ``LUMA_WEIGHTS``."""
    is_full_range: bool = False
    """Luma 0 to 255 rather than 16 to 235."""
    upsampling: Upsampling = "left"
    """Where chroma samples sit; ``nearest`` is centred and repeated."""

    def __post_init__(self) -> None:
        if self.bits_per_pixel is not None and self.codec != "libx264":
            raise ValueError(f"only libx264 aims at a bit rate, got {self.codec}")


def code_clip(clip_thwc: Clip, encoding: Encoding) -> Clip:
    """Return ``clip_thwc`` as it looks after coding and decoding: same length, same order.

    Raises:
        ValueError: the picture is too small for the codec.
    """
    if encoding.codec == "libx265" and min(clip_thwc.shape[1:3]) < X265_LEAST_PX:
        width, height = clip_thwc.shape[2], clip_thwc.shape[1]
        raise ValueError(f"x265 needs sides of {X265_LEAST_PX} pixels, got {width}x{height}")
    planes = [to_planes(frame, encoding) for frame in clip_thwc]
    return np.stack([to_rgb(frame, encoding) for frame in _round_trip(planes, encoding)])


def subsample_clip(clip_thwc: Clip, encoding: Encoding) -> Clip:
    """Return ``clip_thwc`` after 4:2:0 and 8 bits alone, as in a lossless file."""
    return np.stack([to_rgb(to_planes(frame, encoding), encoding) for frame in clip_thwc])


def to_planes(frame_hwc: Clip, encoding: Encoding) -> Planes:
    """Return one frame as packed yuv420p: H * 3 / 2 rows of luma, then U, then V."""
    height, width = frame_hwc.shape[:2]
    red_share, blue_share = LUMA_WEIGHTS[encoding.matrix]
    red, green, blue = np.moveaxis(frame_hwc.astype(np.float32), -1, 0)
    luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    chroma = ((blue - luma) / (2 - 2 * blue_share), (red - luma) / (2 - 2 * red_share))
    luma_offset, luma_gain, chroma_gain = _levels(encoding.is_full_range)
    halves = [_halve(plane, encoding.upsampling) * chroma_gain + 128 for plane in chroma]
    rows = [luma * luma_gain + luma_offset, *(half.reshape(height // 4, width) for half in halves)]
    return to_bytes(np.concatenate(rows))


def to_rgb(planes: Planes, encoding: Encoding) -> Clip:
    """Invert ``to_planes``, up to what 4:2:0 and 8 bits lost."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    luma_offset, luma_gain, chroma_gain = _levels(encoding.is_full_range)
    luma = (planes[:height].astype(np.float32) - luma_offset) / luma_gain
    halves = planes[height:].reshape(2, height // 2, width // 2).astype(np.float32)
    to_blue, to_red = (_double((half - 128) / chroma_gain, encoding.upsampling) for half in halves)
    red_share, blue_share = LUMA_WEIGHTS[encoding.matrix]
    red = luma + (2 - 2 * red_share) * to_red
    blue = luma + (2 - 2 * blue_share) * to_blue
    green = (luma - red_share * red - blue_share * blue) / (1 - red_share - blue_share)
    return to_bytes(np.stack((red, green, blue), axis=-1))


def _round_trip(frames: list[Planes], encoding: Encoding) -> list[Planes]:
    height, width = frames[0].shape[0] * 2 // 3, frames[0].shape[1]
    encoder = _encoder(encoding, width, height)
    decoder = _codec_context(_DECODERS.get(encoding.codec, encoding.codec), "r")
    # One thread each: the bytes an encoder writes depend on how many it has.
    decoder.thread_count = 1
    decoded: list[av.VideoFrame] = []
    for number, planes in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        for packet in encoder.encode(frame):
            decoded += decoder.decode(packet)
    for packet in encoder.encode(None):
        decoded += decoder.decode(packet)
    decoded += decoder.decode(None)
    assert [frame.pts for frame in decoded] == list(range(len(frames)))
    return [np.asarray(frame.to_ndarray(), np.uint8) for frame in decoded]


def _encoder(encoding: Encoding, width: int, height: int) -> VideoCodecContext:
    encoder = _codec_context(encoding.codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
    encoder.gop_size = encoding.keyframe_every
    encoder.thread_count = 1
    if encoding.b_frames:  # x264 and others have defaults of their own
        encoder.max_b_frames = encoding.b_frames
    if encoding.bits_per_pixel is not None:
        encoder.bit_rate = round(encoding.bits_per_pixel * width * height * RATE)
    encoder.options = _options(encoding, width)
    return encoder


def _options(encoding: Encoding, width: int) -> dict[str, str]:
    quality = str(encoding.quality)
    goal = {"crf": quality} if encoding.bits_per_pixel is None else {}
    match encoding.codec:
        case "libx264":
            safe = "" if width % _SAFE_WIDTH_PX == 0 else ":mbtree=0"
            return goal | {"preset": encoding.preset, "x264-params": f"{_X264}{safe}"}
        case "libx265":
            return goal | {"preset": encoding.preset, "x265-params": _X265}
        case "libvpx-vp9":
            return goal | {"deadline": "good", "cpu-used": "5", "row-mt": "0"}
    return {"qmin": quality, "qmax": quality}


def _codec_context(name: str, mode: Literal["r", "w"]) -> VideoCodecContext:
    # PyAV's create() is typed as the base class and returns the class of the codec's kind.
    return cast(VideoCodecContext, VideoCodecContext.create(name, mode))


def _levels(is_full_range: bool) -> tuple[float, float, float]:
    """Offset and gain of luma, gain of chroma, for samples of 0 to 255."""
    return (0.0, 1.0, 1.0) if is_full_range else (16.0, 219 / 255, 224 / 255)


def _halve(plane_hw: Plane, siting: Upsampling) -> Plane:
    if siting == "left":
        # Sample 2i sits on its pixel: weights 1 2 1 around it, then the mean of two rows.
        before = np.concatenate((plane_hw[:, :1], plane_hw[:, 1:-1:2]), axis=1)
        columns = (before + 2 * plane_hw[:, ::2] + plane_hw[:, 1::2]) / np.float32(4)
    else:
        columns = (plane_hw[:, ::2] + plane_hw[:, 1::2]) / np.float32(2)
    return np.asarray((columns[::2] + columns[1::2]) / np.float32(2), np.float32)


def _double(plane_hw: Plane, siting: Upsampling) -> Plane:
    height, width = plane_hw.shape
    if siting == "nearest":
        return plane_hw.repeat(2, axis=0).repeat(2, axis=1)
    if siting == "centre":
        return np.asarray(cv2.resize(plane_hw, (2 * width, 2 * height)), np.float32)
    tall = np.asarray(cv2.resize(plane_hw, (width, 2 * height)), np.float32)
    following = np.concatenate((tall[:, 1:], tall[:, -1:]), axis=1)
    between = (tall + following) / np.float32(2)
    return np.stack((tall, between), axis=-1).reshape(2 * height, 2 * width)


def to_bytes(values: NDArray[np.floating]) -> Clip:
    """Round to the nearest level and clip to 0 to 255."""
    rounded = np.clip(np.rint(values), 0, 255)
    return np.asarray(rounded, np.uint8)
