"""The packets of carried streams, on their way into the output.

Their bytes stay as they are, except of sound that no container takes; so does their time, except
where a muxer could not write it.
"""

import logging
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal
from av.stream import Discard, Stream

from vgen.errors import DecodeError
from vgen.media.facts import OtherStream, VideoInfo
from vgen.media.packets import AnyPacket, is_repaired, read_packets, repaired_packets
from vgen.media.passthrough import IMAGES, Carriage, add_copy, carriage, describe
from vgen.media.recode import CODEC as RECODED
from vgen.media.recode import Recoder, add_recoded
from vgen.media.source import open_source

_RUN_UP_S = Fraction(1, 10)  # AAC needs one packet of 23 ms, Opus 80 ms

log = logging.getLogger(__name__)


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
    is_heard: bool = False
    """True once a packet has gone that no edit list hides."""
    hides_delay: bool = False
    """True where an edit list hides the start of sound, and the output's muxer would not."""
    delay_s: Fraction = Fraction(0)
    """How long the sound is that is not to be heard; its packets are written late by it."""
    least_step: int = 1
    """By how much the muxer wants DTS to increase, in ticks."""
    last_dts: int | None = None
    recoder: Recoder | None = None
    """Makes the packets that travel, where the source's cannot."""

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
    recoder: Recoder | None = None
    codec = other.codec
    if way == "copy":
        target = add_copy(output, stream)
    elif way == "text":
        target, codec = output.add_mux_stream("subrip", time_base=stream.time_base), "subrip"
        describe(target, stream)
    elif way == "recoded":
        assert isinstance(stream, AudioStream)
        target, codec = add_recoded(output, stream), RECODED
        describe(target, stream)
        recoder = Recoder(stream, target)
    else:
        name, mime = IMAGES[codec or ""]
        output.add_attachment(name, mime, _cover_bytes(source_uri, other.index, open_path))
    # Of Opus the demuxer tells the muxer itself, and decoders leave out what is not to be heard.
    is_edited = other.type == "audio" and codec != "opus" and source.format.name[:4] == "mov,"
    is_edited = is_edited and recoder is None
    return Passenger(
        label=other.label,
        type=other.type,
        codec=codec,
        carriage=way,
        target=target,
        hides_delay=is_edited and container == "mkv",
        least_step=0 if container == "mkv" or other.type in ("subtitle", "data") else 1,
        recoder=recoder,
    )


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

    Packets keep their bytes, save those of sound that is recoded. Where the source breaks off, so
    do they, and a note is added.

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
    if is_repaired(source, info.access):
        packets = repaired_packets(source, [main, *streams], uri=uri)
    else:
        main.discard = Discard.all
        packets = read_packets(source, streams, uri=uri)
    time_s = 0.0
    for packet, passenger in _made(packets, passengers, notes, uri):
        if _readied(packet, passenger, shift_s):
            if passenger.recoder is None:
                _trim(packet, passenger, info, shift_s)
            ready = _plain_text(packet) if passenger.carriage == "text" else packet
            ready.stream = passenger.target  # type: ignore[assignment]
            stamp = packet.pts if packet.dts is None else packet.dts
            time_s = time_s if stamp is None else float(stamp * packet.time_base)
            yield time_s, ready, passenger


def _made(
    packets: Iterator[AnyPacket], passengers: Mapping[int, Passenger], notes: list[str], uri: str
) -> Iterator[tuple[AnyPacket, Passenger]]:
    """Yield the packets that travel, each with its passenger: the source's, or made of them."""
    try:
        for packet in packets:
            passenger = passengers.get(packet.stream_index)
            if passenger is None:
                continue
            if passenger.recoder is None:
                yield packet, passenger
                continue
            for made in passenger.recoder.take(packet):
                yield made, passenger
    except DecodeError as error:
        log.warning("%s: other streams break off: %s", uri, error.message)
        notes.append("the source breaks off; its other streams are carried up to there")
    for passenger in passengers.values():
        if passenger.recoder is not None:
            for made in passenger.recoder.finish():
                yield made, passenger
            passenger.num_refused += passenger.recoder.num_damaged


def _readied(packet: AnyPacket, passenger: Passenger, shift_s: Fraction) -> bool:
    """Stamp a packet for the output; False where it has no time and no place there."""
    if passenger.type == "cover":
        packet.pts = packet.dts = 0
        return True
    if packet.pts is None and packet.dts is None:
        passenger.num_refused += 1
        return False
    shift = round(shift_s / packet.time_base)
    if passenger.type == "audio" and packet.is_discard and _is_cut_out(packet, passenger, shift):
        return False
    passenger.is_heard = passenger.is_heard or not packet.is_discard
    if passenger.hides_delay:
        if passenger.last_dts is None and packet.pts is not None:
            passenger.delay_s = max(Fraction(0), -(packet.pts + shift) * packet.time_base)
        shift += round(passenger.delay_s / packet.time_base)
    packet.pts = (packet.dts if packet.pts is None else packet.pts) + shift  # type: ignore[operator]
    if packet.dts is not None:
        packet.dts += shift
    elif passenger.type != "video":  # of reordered pictures the muxer finds the DTS itself
        packet.dts = packet.pts
    if passenger.last_dts is not None and packet.dts is not None:
        # Muxers refuse DTS that step back; players of the source skipped over them.
        packet.dts = max(packet.dts, passenger.last_dts + passenger.least_step)
        packet.pts = max(packet.pts, packet.dts)
    passenger.last_dts = packet.dts if packet.dts is not None else passenger.last_dts
    return True


def _is_cut_out(packet: AnyPacket, passenger: Passenger, shift: int) -> bool:
    """Whether sound that an edit list hides would be heard, and is no run-up of what is heard."""
    if passenger.is_heard:
        return True  # from between two stretches; its PTS lie over those of the first
    if packet.pts is None:
        return False
    begin = packet.stream.start_time or 0
    is_run_up = (begin - packet.pts - (packet.duration or 0)) * packet.time_base <= _RUN_UP_S
    # The edit lists of mp4 and mov hide whatever lies before the beginning of the file.
    return not is_run_up and (passenger.hides_delay or begin + shift > 0)


def _trim(packet: AnyPacket, passenger: Passenger, info: VideoInfo, shift_s: Fraction) -> None:
    """End a stream's last packet where its edit list did, as no packet says so."""
    stream = packet.stream
    # The header of a fragmented file knows no length; such files are read from a local copy.
    has_edit_list = info.container in ("mp4", "mov") and not info.needs_local_copy
    if not has_edit_list or stream.duration is None or packet.pts is None:
        return
    late_s = shift_s + passenger.delay_s
    end = (stream.start_time or 0) + stream.duration + round(late_s / packet.time_base)
    stop = packet.pts + (packet.duration or 0)
    if not packet.pts < end <= stop:
        return
    packet.duration = end - packet.pts
    if passenger.hides_delay and isinstance(stream, AudioStream):
        # A Matroska block has no length; the samples behind its end are named beside it.
        surplus = stream.codec_context.frame_size - packet.duration
        if surplus > 0 and packet.time_base == Fraction(1, stream.sample_rate):
            kind = packet_sidedata_type_from_literal("skip_samples")
            skip = PacketSideData(kind, 10)  # type: ignore[call-arg] # missing in the stubs
            skip.update(struct.pack("<IIBB", 0, surplus, 0, 0))
            packet.set_sidedata(skip)


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
    assert packet.pts is not None
    pts_s = packet.pts * packet.time_base - passenger.delay_s  # before the muxer rounds it
    try:
        output.mux(packet)
    except (FFmpegError, ValueError) as error:
        log.debug("%s: packet at %.3f s refused: %s", passenger.label, pts_s, error)
        passenger.num_refused += 1
        return
    passenger.num_packets += 1
    if passenger.first_pts_s is None or pts_s < passenger.first_pts_s:
        passenger.first_pts_s = pts_s
