"""Carry a source's other streams, chapters and metadata into the output, untouched.

What a container takes is found by writing its header with each stream alone, not from a table:
some refusals come when a stream is added, others only with the header.
"""

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import DataStream, Discard, Stream

from vgen.errors import DecodeError
from vgen.media.codecs import codec_of
from vgen.media.facts import EncodePlan, OtherStream, VideoInfo
from vgen.media.packets import AnyPacket, read_packets, repaired_packets
from vgen.media.source import open_source

log = logging.getLogger(__name__)

MUXERS: Mapping[str, str] = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}
"""FFmpeg's muxer for each container of an output."""

Carriage = Literal["copy", "attach", "text", "rebuilt"]
"""How a stream travels: packets as they are; a cover picture as an attachment; text subtitles in
the container's own words; or written anew by the muxer from metadata (timecode, chapters)."""

_APPLE_HEVC = "hvc1"  # players of Apple refuse FFmpeg's default, hev1
_STALE = ("encoder", "duration", "bps", "number_of_frames", "number_of_bytes", "vendor_id")
_STALE_CONTAINER = ("major_brand", "minor_version", "compatible_brands")
_IMAGES = {
    "mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png"),
    "bmp": ("cover.bmp", "image/bmp"), "gif": ("cover.gif", "image/gif"),
    "webp": ("cover.webp", "image/webp"), "tiff": ("cover.tiff", "image/tiff"),
}  # fmt: skip


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
    with open_source(source_uri, open_path=open_path) as source:
        wanted = _lost(source, info, plan.container)
        widened = _lost(source, info, "mkv")
    container, lost, notes = plan.container, wanted, plan.notes
    if plan.container != "mkv" and len(widened) < len(wanted):
        saved = [label for label in wanted if label not in widened]
        notes = (*notes, f"written as mkv: {plan.container} does not carry {', '.join(saved)}")
        container, lost = "mkv", widened
    assert container in codec_of(plan.encoder).containers
    update = {"container": container, "notes": notes, "dropped": (*plan.dropped, *lost)}
    return plan.model_copy(update=update)


def _lost(source: InputContainer, info: VideoInfo, container: str) -> list[str]:
    return [
        other.label
        for other in info.others
        if carriage(source, source.streams[other.index], other, container) is None
    ]


def carriage(
    source: InputContainer, stream: Stream, other: OtherStream, container: str
) -> Carriage | None:
    """Return how ``container`` carries a stream of ``source``; None where it cannot."""
    if other.type == "cover":
        if container == "mkv":
            return "attach" if other.codec in _IMAGES else None
        # QuickTime files have no place for it: FFmpeg would write it as a second video track.
        return "copy" if container == "mp4" and _takes(stream, container) else None
    if other.type == "data":
        is_chapter_text = stream.discard == Discard.all and bool(source.chapters())
        if "timecode" in stream.metadata or is_chapter_text:
            return "rebuilt"
        # Of a kind unknown to FFmpeg, its muxers write a description nobody can read.
        if not isinstance(stream, DataStream) or stream.name is None:
            return None
    if _takes(stream, container):
        return "copy"
    if container == "mkv" and other.codec == "mov_text":
        return "text"
    return None


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
        if stream.codec_context.codec_tag == _APPLE_HEVC and output.format.name in ("mp4", "mov"):
            copy.codec_context.codec_tag = _APPLE_HEVC
    describe(copy, stream)
    return copy


def describe(copy: Stream, stream: Stream) -> None:
    """Copy language, title and disposition, but not what an encoder or muxer said of itself."""
    for key, value in fresh_metadata(stream.metadata).items():
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


@dataclass(slots=True, kw_only=True)
class Passenger:
    """One carried stream on its way: where it goes, and what has gone so far."""

    label: str
    type: str
    codec: str | None
    """FFmpeg's canonical name of what is written."""
    carriage: Carriage
    target: Stream | None
    """Stream of the output; None for an attached cover picture."""
    num_packets: int = 0
    num_refused: int = 0
    first_pts_s: Fraction | None = None
    """Earliest PTS of its packets, in seconds of the output."""
    last_dts: int | None = None

    @property
    def is_track(self) -> bool:
        """Whether it is a track of its own, neither cover nor attachment."""
        return self.type not in ("cover", "attachment")

    @property
    def has_packets(self) -> bool:
        """Whether packets travel; attachments and attached covers stand in the header."""
        return self.target is not None and self.type != "attachment"


def board(
    output: OutputContainer,
    source: InputContainer,
    other: OtherStream,
    container: str,
    *,
    source_uri: str,
    open_path: str | None,
) -> Passenger | None:
    """Add the output's stream for one stream of the source; None where there is none to add."""
    stream = source.streams[other.index]
    way = carriage(source, stream, other, container)
    if way is None or way == "rebuilt":
        return None
    target: Stream | None = None
    codec = other.codec
    if way == "copy":
        target = add_copy(output, stream)
    elif way == "text":
        target, codec = output.add_mux_stream("subrip", time_base=stream.time_base), "subrip"
        describe(target, stream)
    else:
        name, mime = _IMAGES[codec or ""]
        output.add_attachment(name, mime, _cover_bytes(source_uri, other.index, open_path))
    return Passenger(label=other.label, type=other.type, codec=codec, carriage=way, target=target)


def _cover_bytes(source_uri: str, index: int, open_path: str | None) -> bytes:
    # Its own handle: reading a packet moves the demuxer past those of other streams.
    with open_source(source_uri, open_path=open_path) as source:
        packets = read_packets(source, [source.streams[index]], uri=source_uri)
        return next((bytes(packet) for packet in packets), b"")


def carried_packets(
    source: InputContainer,
    info: VideoInfo,
    passengers: Mapping[int, Passenger],
    notes: list[str],
    *,
    uri: str,
    shift_s: Fraction,
) -> Iterator[tuple[float, AnyPacket, Passenger]]:
    """Yield the packets of all passengers, ready to be muxed, each with its time in seconds.

    Packets keep their bytes. Where the source breaks off, so do they, and a note is added.

    Args:
        source: The open source; read to its end.
        info: What the probe found.
        passengers: Those with a target, by stream index in the source.
        notes: Receives what a reader of the report should know.
        uri: The source, for error messages.
        shift_s: Seconds to add to all times.
    """
    streams = [source.streams[index] for index in passengers]
    main = source.streams[info.video.index]
    if info.access == "sequential":
        packets = repaired_packets(source, [main, *streams], uri=uri)
    else:
        main.discard = Discard.all
        packets = read_packets(source, streams, uri=uri)
    time_s = 0.0
    try:
        for packet in packets:
            passenger = passengers.get(packet.stream_index)
            if passenger is not None and _readied(packet, passenger, shift_s):
                _trim(packet, info, shift_s)
                ready = _plain_text(packet) if passenger.carriage == "text" else packet
                ready.stream = passenger.target  # type: ignore[assignment]
                stamp = packet.pts if packet.dts is None else packet.dts
                time_s = time_s if stamp is None else float(stamp * packet.time_base)
                yield time_s, ready, passenger
    except DecodeError as error:
        log.warning("%s: other streams break off: %s", uri, error.message)
        notes.append("the source breaks off; its other streams are carried up to there")


def _readied(packet: AnyPacket, passenger: Passenger, shift_s: Fraction) -> bool:
    """Stamp a packet for the output; False where it has no time and no place there."""
    if passenger.type == "cover":
        packet.pts = packet.dts = 0
        return True
    if packet.pts is None and packet.dts is None:
        passenger.num_refused += 1
        return False
    shift = round(shift_s / packet.time_base)
    packet.pts = (packet.dts if packet.pts is None else packet.pts) + shift  # type: ignore[operator]
    if packet.dts is not None:
        packet.dts += shift
    elif passenger.type != "video":  # of reordered pictures the muxer finds the DTS itself
        packet.dts = packet.pts
    if passenger.last_dts is not None and packet.dts is not None:
        # Muxers refuse DTS that do not increase; players of the source skipped over them.
        packet.dts = max(packet.dts, passenger.last_dts + 1)
        packet.pts = max(packet.pts, packet.dts)
    passenger.last_dts = packet.dts if packet.dts is not None else passenger.last_dts
    first_s = packet.pts * packet.time_base
    if passenger.first_pts_s is None or first_s < passenger.first_pts_s:
        passenger.first_pts_s = first_s
    return True


def _trim(packet: AnyPacket, info: VideoInfo, shift_s: Fraction) -> None:
    """End a stream's last packet where its edit list did, as no packet says so."""
    stream = packet.stream
    if info.container not in ("mp4", "mov") or stream.duration is None or packet.pts is None:
        return
    end = (stream.start_time or 0) + stream.duration + round(shift_s / packet.time_base)
    if packet.pts < end < packet.pts + (packet.duration or 0):
        packet.duration = end - packet.pts


def _plain_text(packet: AnyPacket) -> AnyPacket:
    """Return a mov_text packet as SubRip text, without the style boxes behind the text.

    The text is led by its length in two bytes (3GPP TS 26.245); a gap is an empty one.
    """
    payload = bytes(packet)
    text = payload[2 : 2 + int.from_bytes(payload[:2], "big")]
    made: AnyPacket = Packet(text)
    made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
    made.time_base = packet.time_base
    return made


def mux_carried(output: OutputContainer, packet: AnyPacket, passenger: Passenger) -> None:
    """Write one carried packet; one that the muxer refuses is counted, as its sound is damaged."""
    if packet.size == 0:
        return
    try:
        output.mux(packet)
    except (FFmpegError, ValueError) as error:
        log.debug("%s: packet at %s refused: %s", passenger.label, packet.pts, error)
        passenger.num_refused += 1
    else:
        passenger.num_packets += 1
