"""Packets of a source, with timestamps that can be trusted.

Recordings of broadcasts restart or jump in time: two files were joined, or the signal was lost.
``repaired_packets`` adds one common offset to all streams from each jump on, so picture and sound
stay together. It reads all sound of the file whichever streams are asked for, as only the sound
tells a jump from a pause: everybody who reads a source through it sees the same PTS.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from av.container import InputContainer
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from vgen.errors import DecodeError
from vgen.media.clock import AnyPacket as AnyPacket
from vgen.media.facts import Access
from vgen.media.repair import Repair
from vgen.media.source import translated

CLOCKED_FORMATS = ("mpegts", "mpeg")
"""Demuxers whose timestamps come from a clock that may restart, wrap or jump."""


def read_packets(
    container: InputContainer, streams: Sequence[Stream], *, uri: str
) -> Iterator[AnyPacket]:
    """Yield the packets of ``streams`` that hold data, as the demuxer delivers them.

    Empty packets are left out: handed to a decoder, one would end its stream.

    Raises:
        DecodeError: the file cannot be read further; what came before is good.
    """
    packets = container.demux(*streams)
    while True:
        try:
            with translated(uri, DecodeError):
                packet = next(packets, None)
        except DecodeError as error:
            # PyAV trips over its own flush packets where streams appeared after the open.
            if isinstance(error.__cause__, IndexError):
                return
            raise
        if packet is None:
            return
        if packet.size:
            yield packet


def video_packets(
    container: InputContainer, stream: VideoStream, access: Access, *, uri: str
) -> Iterator[AnyPacket]:
    """Yield one video stream's packets, repaired where their clock has jumped.

    Raises:
        DecodeError: the file cannot be read further.
    """
    if is_repaired(container, access):
        return repaired_packets(container, (stream,), uri=uri)
    return read_packets(container, (stream,), uri=uri)


def is_repaired(container: InputContainer, access: Access) -> bool:
    """Whether a source's packets are put on one timeline by whoever reads them."""
    return access == "sequential" and container.format.name in CLOCKED_FORMATS


def is_shown(packet: AnyPacket, codec: str) -> bool:
    """Whether a frame of this packet reaches the screen.

    Packets outside an edit list are decoded and dropped. VP8 and VP9 code reference pictures
    that are never shown; where such a picture has a packet of its own, its header says so.
    """
    if packet.is_discard:
        return False
    if codec == "vp8":
        return bool(bytes(memoryview(packet)[:1])[0] >> 4 & 1)  # show_frame, RFC 6386 section 9.1
    if codec == "vp9":
        return _is_shown_vp9(bytes(memoryview(packet)[:1])[0], memoryview(packet)[-1])
    return True


def _is_shown_vp9(first: int, last: int) -> bool:
    """Read show_existing_frame and show_frame (VP9 specification, section 6.2)."""
    if last & 0xE0 == 0xC0:
        return True  # a superframe ends with its index; its last frame is shown
    if first >> 4 & 3 == 3:
        first <<= 1  # profile 3 has one reserved bit more
    return bool(first >> 3 & 1 or first >> 1 & 1)


def repaired_packets(
    container: InputContainer, streams: Sequence[Stream], *, uri: str
) -> Iterator[AnyPacket]:
    """Yield packets on one timeline that does not jump, whatever the file's clock did.

    Where the DTS of ``streams[0]`` steps back, or leaps by more than ten seconds and the sound does
    not run on meanwhile, the packets from there on are shifted so that it goes on where it stood;
    the other streams are shifted by the same time. A single stray stamp is no jump: its packet
    loses its PTS. Pass the main video stream first to get the PTS that ``probe_video`` planned,
    whatever other streams come with it. Each stream keeps its order; streams may lie further apart
    than in the file.

    Raises:
        DecodeError: the file cannot be read further.
    """
    asked = {stream.index: stream for stream in streams}
    sound = {stream.index: stream for stream in container.streams.audio}
    for stream in sound.values():
        stream.discard = Discard.default
    needed = asked | sound
    repair = Repair(
        {index: stream.time_base or Fraction(1) for index, stream in needed.items()},
        lead=streams[0].index,
        witnesses=sound,
    )
    fault: DecodeError | None = None
    try:
        for packet in read_packets(container, list(needed.values()), uri=uri):
            yield from (ready for ready in repair.take(packet) if ready.stream_index in asked)
    except DecodeError as error:
        fault = error
    yield from (ready for ready in repair.finish() if ready.stream_index in asked)
    if fault is not None:
        raise fault
