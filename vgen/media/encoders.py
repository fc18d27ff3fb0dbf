"""From a probed source and a recipe's settings to the plan every encoder worker follows.

Nothing here opens a source. What is written differs from the source only where the codec leaves
no choice, and then a note says so.
"""

from fractions import Fraction

import av
from av.codec.codec import UnknownCodecError

from vgen.config import EncodeSettings
from vgen.errors import ConfigError
from vgen.media.codecs import (
    CODECS,
    Codec,
    carries_hdr10,
    description_options,
    encoder_options,
)
from vgen.media.facts import ColorTags, EncodePlan, VideoInfo, VideoStream
from vgen.media.pixels import PlanarFormat, planar_format

_HDR_TRANSFERS = (16, 18)  # H.273: PQ and HLG


def check_encoder(settings: EncodeSettings) -> None:
    """Refuse settings that no video could be encoded with on this machine.

    Raises:
        ConfigError: the encoder is not in this build, crf is out of the codec's range, or the
            pixel format is unknown or not taken by the codec.
    """
    names = ("h264", "hevc") if settings.codec == "auto" else (settings.codec,)
    for codec in (CODECS[name] for name in names):
        for encoder in codec.encoders:
            _check_exists(encoder, codec)
        if codec.crf_range and not codec.crf_range[0] <= settings.crf <= codec.crf_range[1]:
            low, high = codec.crf_range
            raise ConfigError(f"crf of {codec.name} is {low} to {high}, got {settings.crf}")
    if settings.pixel_format == "source":
        return
    wanted = _named_format(settings.pixel_format)
    if not any(wanted in CODECS[name].formats for name in names):
        taken = ", ".join(sorted({f for name in names for f in CODECS[name].formats}))
        raise ConfigError(
            f"pixel_format {settings.pixel_format!r} is not taken by {' or '.join(names)}, "
            f"which take {taken}"
        )


def _check_exists(encoder: str, codec: Codec) -> None:
    try:
        av.Codec(encoder, "w")
    except UnknownCodecError as error:
        raise ConfigError(
            f"this build of PyAV has no encoder {encoder} for {codec.name}; choose another codec"
        ) from error


def _named_format(name: str) -> str:
    try:
        return planar_format(name).name
    except ValueError as error:
        raise ConfigError(f"pixel_format: {error}") from error


def resolve_encoding(
    info: VideoInfo,
    settings: EncodeSettings,
    *,
    scale: int,
    threads: int = 1,
    is_deinterlaced: bool = False,
) -> EncodePlan:
    """Decide everything an encoder worker needs for one source.

    The container is decided as far as the codec goes; ``passthrough.resolve_container`` then
    looks at the streams that travel along.

    Args:
        info: The probed source.
        settings: What the recipe asks for; has passed ``check_encoder``.
        scale: Output pixels per source pixel, each way.
        threads: Encoder threads; part of the plan, as x264's bytes depend on it.
        is_deinterlaced: The frames to encode are whole, whatever the source's are.

    Raises:
        ConfigError: the named pixel format is unknown or not taken by the codec.
    """
    video = info.video
    codec, asked = _codec_and_format(video, settings)
    width, height = video.width * scale, video.height * scale
    name, notes = _fitting_format(asked, codec, width, height)
    encoder, written = codec.formats[name], planar_format(name)
    color, color_notes = _written_color(video, written, encoder, scale)
    if is_deinterlaced:
        video = video.model_copy(update={"field_order": "progressive"})
    field_order, field_notes = _written_fields(video, written, encoder, height)
    container, container_notes = _codec_container(info, settings, codec)
    options = encoder_options(
        encoder, written, crf=settings.crf, preset=settings.preset, width=width, height=height
    )
    description = description_options(encoder, color, video.hdr10, field_order)
    dropped = ["alpha channel"] if video.has_alpha else []
    if video.hdr10 is not None and not carries_hdr10(encoder):
        dropped.append("static HDR metadata (HDR10)")
    return EncodePlan(
        encoder=encoder,
        options=_joined(options, description),
        threads=threads,
        pixel_format=name,
        width=width,
        height=height,
        time_base=video.time_base,
        average_rate=_rate(video.average_rate, encoder),
        sample_aspect_ratio=video.sample_aspect_ratio,
        color=color,
        field_order=field_order,  # type: ignore[arg-type]
        hdr10=video.hdr10 if carries_hdr10(encoder) else None,
        display_matrix=_scaled(video.display_matrix, scale),
        chunk_format=codec.chunk_format,  # type: ignore[arg-type]
        container=container,  # type: ignore[arg-type]
        dropped=tuple(dropped),
        notes=(*notes, *color_notes, *field_notes, *container_notes),
    )


def _codec_and_format(video: VideoStream, settings: EncodeSettings) -> tuple[Codec, PlanarFormat]:
    is_source = settings.pixel_format == "source"
    name = video.planar_format if is_source else _named_format(settings.pixel_format)
    asked = planar_format(name)
    if settings.codec != "auto":
        codec = CODECS[settings.codec]
    elif asked.bit_depth > 8 or video.tagged.transfer in _HDR_TRANSFERS:
        codec = CODECS["hevc"]
    else:
        codec = CODECS["h264"]
    if not is_source and name not in codec.formats:
        raise ConfigError(f"pixel_format {name!r} is not taken by {codec.name}")
    return codec, asked


def _fitting_format(
    asked: PlanarFormat, codec: Codec, width: int, height: int
) -> tuple[str, tuple[str, ...]]:
    """Return the accepted format that loses least, then adds least, and what to say of it."""
    usable = [
        made
        for made in map(planar_format, codec.formats)
        if not codec.crops_by_chroma
        or not (width % (1 << made.log2_chroma_w) or height % (1 << made.log2_chroma_h))
    ]
    best = min(usable, key=lambda made: _cost(asked, made))
    if best.name == asked.name:
        return best.name, ()
    is_odd = asked.name in codec.formats
    reason = f"{width}x{height} has an odd side" if is_odd else f"{codec.name} does not take it"
    losses = "" if _cost(asked, best)[:3] == (0, 0, 0) else ", with loss"
    return best.name, (f"pixels are written as {best.name}, not {asked.name}{losses}: {reason}",)


def _cost(asked: PlanarFormat, made: PlanarFormat) -> tuple[int, int, int, int, int, int]:
    """Rank a substitute: bits lost, kind lost, chroma lost; kind, bits and chroma added."""
    bits = made.bit_depth - asked.bit_depth
    kind_lost = int(asked.is_rgb != made.is_rgb) + 2 * int(made.is_gray and not asked.is_gray)
    kind_added = int(asked.is_gray and not made.is_gray)
    # A gray picture has no chroma to lose: what is subsampled most adds least to it.
    chroma = (2, 2) if asked.is_gray else (asked.log2_chroma_w, asked.log2_chroma_h)
    steps = (made.log2_chroma_w - chroma[0], made.log2_chroma_h - chroma[1])
    return (
        max(0, -bits),
        kind_lost,
        sum(max(0, step) for step in steps),
        kind_added,
        max(0, bits),
        sum(max(0, -step) for step in steps),
    )


def _written_color(
    video: VideoStream, written: PlanarFormat, encoder: str, scale: int
) -> tuple[ColorTags, tuple[str, ...]]:
    """Return the tags to write: the source's, unless the samples written mean something else."""
    tags = video.tagged
    if written.is_rgb:
        return tags.model_copy(update={"matrix": 0, "is_full_range": True}), ()
    if planar_format(video.planar_format).is_rgb:
        matrix = 9 if tags.primaries == 9 else 1
        return tags.model_copy(update={"matrix": matrix, "is_full_range": False}), ()
    changes: dict[str, object] = {}
    notes: list[str] = []
    if encoder == "prores_ks" and tags.is_full_range:
        changes["is_full_range"] = False
        notes.append("full range is written as limited range: prores has no other")
    if scale != 1 and tags.matrix == 2:
        # Players guess the matrix of untagged video from its size, which is another one here.
        changes["matrix"] = video.color.matrix
        notes.append(f"the untagged colour matrix is written as {video.color.matrix} (H.273)")
    return tags.model_copy(update=changes), tuple(notes)


def _written_fields(
    video: VideoStream, written: PlanarFormat, encoder: str, height: int
) -> tuple[str, tuple[str, ...]]:
    if video.field_order not in ("tff", "bff") or encoder in ("prores_ks", "ffv1"):
        return video.field_order, ()
    # A pair of fields is cropped in twice the chroma unit.
    if encoder == "libx264" and height % (2 << written.log2_chroma_h) == 0:
        return video.field_order, ()
    reason = f"height {height} allows no fields" if encoder == "libx264" else "no fields"
    return "unknown", (f"interlaced frames are coded as whole frames: {encoder} has {reason}",)


def _codec_container(
    info: VideoInfo, settings: EncodeSettings, codec: Codec
) -> tuple[str, tuple[str, ...]]:
    wanted: str = settings.container
    if wanted == "source":
        wanted = info.container if info.container in ("mp4", "mov", "mkv") else "mkv"
    if wanted in codec.containers:
        return wanted, ()
    return "mkv", (f"written as mkv: {wanted} does not carry {codec.name}",)


def _scaled(matrix: tuple[int, ...] | None, scale: int) -> tuple[int, ...] | None:
    """Return a display matrix whose translation fits a picture ``scale`` times as large."""
    if matrix is None:
        return None
    moved = tuple(offset * scale for offset in matrix[6:8])
    fits = all(abs(offset) < 1 << 31 for offset in moved)
    return (*matrix[:6], *(moved if fits else (0, 0)), matrix[8])


def _rate(average_rate: Fraction, encoder: str) -> Fraction:
    """Return a rate the encoder accepts; it steers rate control only, never time."""
    highest = 240 if encoder == "libsvtav1" else 1000
    return min(max(average_rate, Fraction(1)), Fraction(highest)).limit_denominator(1001)


def _joined(options: dict[str, str], description: dict[str, str]) -> dict[str, str]:
    merged = dict(options)
    for key, value in description.items():
        merged[key] = f"{merged[key]}:{value}" if key in merged else value
    return merged
