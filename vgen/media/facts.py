"""What is known of a source before a frame is decoded, and how its output will be encoded.

Both are made at plan time, travel as JSON in the plan, and decide everything that workers do.
"""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainSerializer

from vgen.records import Record

Ratio = Annotated[
    Fraction,
    BeforeValidator(lambda value: Fraction(value)),
    PlainSerializer(lambda value: str(value), return_type=str),
]
"""A Fraction that is written ``"30000/1001"`` in JSON."""

Access = Literal["seek", "sequential", "ordinal"]
"""How a span's frames are reached: verified seek; decoding from the first packet with repaired
timestamps; or counting frames from the first packet where packets carry no timestamps."""


class ColorTags(Record):
    """Colour description, as the integer codes of ITU-T H.273 (2 means unspecified)."""

    matrix: int
    primaries: int
    transfer: int
    is_full_range: bool
    chroma_location: int = 0
    """FFmpeg's AVChromaLocation; 0 unspecified, 1 left, 2 centre."""


class Hdr10(Record):
    """Static HDR metadata, in the units of SMPTE ST 2086 and CTA-861.3 parameters."""

    mastering_display: str | None = None
    """x265's ``G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)`` string."""
    max_cll: str | None = None
    """``MaxCLL,MaxFALL`` in nits."""


class VideoStream(Record):
    """The main video stream: the one that is enhanced."""

    index: int
    codec: str
    """FFmpeg's canonical codec name: h264, hevc, mpeg2video ..."""
    width: int
    height: int
    pixel_format: str
    """As decoded."""
    planar_format: str
    """As it travels inside vgen (``vgen.media.pixels``)."""
    time_base: Ratio
    """Seconds per tick of every PTS of this video."""
    average_rate: Ratio
    """Frames per second over the whole stream, for encoders' rate control only, never for time."""
    sample_aspect_ratio: Ratio
    """Pixel aspect, 1 where unset."""
    display_matrix: tuple[int, ...] | None = None
    """The nine 16.16 (2.30 in the last column) integers of the container, None where absent."""
    rotation_deg: int = 0
    tagged: ColorTags
    """Exactly what the file says; written back to the output."""
    color: ColorTags
    """What is used for YUV<->RGB: tagged, with unspecified resolved by the stated rule."""
    field_order: Literal["progressive", "tff", "bff", "unknown"] = "progressive"
    hdr10: Hdr10 | None = None
    has_alpha: bool = False


class OtherStream(Record):
    """A stream that is carried, or named where it cannot be."""

    index: int
    type: Literal["video", "audio", "subtitle", "attachment", "data", "cover"]
    codec: str | None
    label: str
    """For reports: ``audio 1 (aac, eng)``."""


class VideoInfo(Record):
    """One probed source."""

    container: Literal["mp4", "mov", "mkv", "webm", "mpegts", "mpeg", "avi", "other"]
    format_name: str
    """FFmpeg's demuxer name."""
    needs_local_copy: bool
    """True where ranges do not serve: avi, ts, ogg, raw streams, fragmented mp4."""
    duration_s: float
    num_frames: int
    access: Access
    video: VideoStream
    others: tuple[OtherStream, ...]
    notes: tuple[str, ...] = ()


class EncodePlan(Record):
    """Everything an encoder worker and the assembler need; resolved once, at plan time."""

    encoder: str
    """FFmpeg's encoder name: libx264, libx265, libsvtav1, prores_ks, ffv1."""
    options: dict[str, str]
    """Options handed to the encoder, with GOP length, closed GOPs and thread pinning in them."""
    threads: int
    """Encoder threads: part of the plan, as x264's and x265's bytes depend on it."""
    pixel_format: str
    width: int
    height: int
    time_base: Ratio
    average_rate: Ratio
    sample_aspect_ratio: Ratio
    color: ColorTags
    """Tags to write."""
    field_order: Literal["progressive", "tff", "bff", "unknown"]
    hdr10: Hdr10 | None
    display_matrix: tuple[int, ...] | None
    chunk_format: Literal["nut", "mp4", "mov"]
    """Container of the chunk objects."""
    container: Literal["mp4", "mov", "mkv"]
    """Container of the output; widened to mkv where the asked one would lose a stream."""
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
