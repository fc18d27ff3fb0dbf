"""Carry a source's other streams, chapters and metadata into the output, untouched.

What a container takes is found by writing its header with each stream alone, not from a table:
some refusals come when a stream is added, others only with the header.
"""

import io
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Literal

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import DataStream, Discard, Stream

from vgen.media.codecs import codec_of
from vgen.media.facts import EncodePlan, OtherStream, VideoInfo
from vgen.media.recode import CODEC as RECODED
from vgen.media.recode import can_recode
from vgen.media.source import open_source
from vgen.media.streams import is_mov

_MKV = "matroska"
MUXERS: Mapping[str, str] = {"mp4": "mp4", "mov": "mov", "mkv": _MKV}
"""FFmpeg's muxer for each container of an output."""

Carriage = Literal["copy", "attach", "text", "recoded", "rebuilt"]
"""How a stream travels: packets as they are; a cover picture as an attachment; text subtitles in
the container's own words; sound as FLAC; or written anew by the muxer from metadata (timecode,
chapters)."""

_APPLE_HEVC = "hvc1"  # players of Apple refuse FFmpeg's default, hev1
# Headers that are written and come back as another codec: mp4 has one name for all MPEG sound.
_MISNAMED = {("mp4", "mp1"), ("mp4", "mp2")}
_STALE = (
    "alpha_mode",
    "encoder",
    "duration",
    "bps",
    "number_of_frames",
    "number_of_bytes",
    "vendor_id",
)
_STALE_CONTAINER = ("major_brand", "minor_version", "compatible_brands")
IMAGES = {
    "mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"),
    "gif": ("cover.gif", "image/gif"), "tiff": ("cover.tiff", "image/tiff"),
}  # fmt: skip
"""File name and MIME type of an attached cover picture, by codec: those that come back as one."""


def resolve_container(
    source_uri: str, info: VideoInfo, plan: EncodePlan, *, open_path: str | None = None
) -> EncodePlan:
    """Return ``plan`` with the container that loses no stream, and what no container carries.

    The container stays unless mkv carries a stream that it does not.

    Raises:
        ProbeError: the source cannot be opened.
    """
    if not info.others:
        return plan
    with open_source(source_uri, open_path=open_path, is_thorough=True) as source:
        wanted = _carriages(source, info, plan.container)
        widened = _carriages(source, info, "mkv")
    container, ways, notes = plan.container, wanted, list(plan.notes)
    if plan.container != "mkv" and len(_lost(widened)) < len(_lost(wanted)):
        saved = [label for label in _lost(wanted) if label not in _lost(widened)]
        notes.append(f"written as mkv: {plan.container} does not carry {', '.join(saved)}")
        container, ways = "mkv", widened
    notes += [
        f"{label} is written as subrip, without styles"
        for label, way in ways.items()
        if way == "text"
    ]
    notes += [
        f"{label} is written as {RECODED}: {container} does not carry it as it is"
        for label, way in ways.items()
        if way == "recoded"
    ]
    assert container in codec_of(plan.encoder).containers
    dropped = (*plan.dropped, *_lost(ways))
    return plan.model_copy(
        update={"container": container, "notes": tuple(notes), "dropped": dropped}
    )


def _carriages(
    source: InputContainer, info: VideoInfo, container: str
) -> dict[str, Carriage | None]:
    return {
        other.label: carriage(source, source.streams[other.index], other, container)
        for other in info.others
    }


def _lost(carriages: Mapping[str, Carriage | None]) -> list[str]:
    return [label for label, way in carriages.items() if way is None]


def carriage(
    source: InputContainer, stream: Stream, other: OtherStream, container: str
) -> Carriage | None:
    """Return how ``container`` carries a stream of ``source``; None where it cannot."""
    if other.type == "cover":
        if container == "mkv":
            return "attach" if other.codec in IMAGES else None
        # QuickTime files have no place for it: FFmpeg would write it as a second video track.
        return "copy" if container == "mp4" and _takes(stream, container) else None
    if other.type == "data":
        is_chapter_text = stream.discard == Discard.all and bool(source.chapters())
        if "timecode" in stream.metadata or is_chapter_text:
            return "rebuilt"
        # Of a kind unknown to FFmpeg, its muxers write a description nobody can read.
        if not isinstance(stream, DataStream) or stream.name is None:
            return None
    if (container, other.codec) not in _MISNAMED and _takes(stream, container):
        return "copy"
    if container == "mkv" and other.codec == "mov_text":
        return "text"
    return "recoded" if container == "mkv" and can_recode(stream) else None


def _takes(stream: Stream, container: str) -> bool:
    """Whether ``container`` accepts a header with this stream alone."""
    with ExitStack() as stack:
        output = stack.enter_context(av.open(io.BytesIO(), "w", format=MUXERS[container]))
        try:
            added = add_copy(output, stream)
            output.start_encoding()
        except (FFmpegError, ValueError):
            return False
    return added.type == stream.type


def add_copy(output: OutputContainer, stream: Stream) -> Stream:
    """Add a stream to ``output`` that takes the packets of ``stream`` as they are.

    Raises:
        ValueError: the container does not know the codec.
    """
    if stream.type in ("attachment", "data") or stream.codec_context is None:
        copy: Stream = output.add_stream_from_template(stream)
    else:
        # Without opaque, PyAV looks for an encoder of the codec and finds none for many.
        copy = output.add_stream_from_template(stream, opaque=True)
        # Of other containers' streams the tag need not be text.
        is_apple = is_mov(stream.container) and stream.codec_context.codec_tag == _APPLE_HEVC
        if is_apple and output.format.name != _MKV:
            copy.codec_context.codec_tag = _APPLE_HEVC
    describe(copy, stream)
    return copy


def describe(copy: Stream, stream: Stream) -> None:
    """Copy language, title and disposition, but not what an encoder or muxer said of itself."""
    kept = fresh_metadata(stream.metadata)
    # FFmpeg writes a track's title into mp4 and mov, and reads it back by another name.
    if is_mov(stream.container) and "name" in kept:
        kept.setdefault("title", kept.pop("name"))
    for key, value in kept.items():
        copy.metadata[key] = value
    copy.disposition = stream.disposition


def fresh_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entries that still hold in a file written anew."""
    kept = {}
    for key, value in metadata.items():
        name = key.lower()
        # Matroska's statistics carry the language in their keys: BPS-eng.
        is_stale = name.split("-")[0] in _STALE or name.startswith("_statistics_")
        if not is_stale and name not in _STALE_CONTAINER:
            kept[key] = value
    return kept
