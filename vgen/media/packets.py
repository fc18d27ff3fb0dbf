"""Packets of a source, with timestamps that can be trusted.

Recordings of broadcasts restart or jump in time: two files were joined, or the signal was lost.
``repaired_packets`` adds one common offset to all streams from each jump on, so picture and sound
stay together. It is deterministic: everybody who reads a source through it sees the same PTS.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vgen.errors import DecodeError
from vgen.media.facts import Access
from vgen.media.source import translated

CLOCKED_FORMATS = ("mpegts", "mpeg")
"""Demuxers whose timestamps come from a clock that may restart, wrap or jump."""

JUMP_S = 10
"""Seconds that a clock may leap ahead before it is a jump: ffmpeg's dts_delta_threshold."""
OVERLAP_S = Fraction(1, 10)
"""Seconds that a clock may step back before it is a jump, as ffmpeg has it."""
_MAX_HELD = 2000  # packets of other streams kept back while the picture's jump is awaited

AnyPacket: TypeAlias = "Packet[Stream]"  # the class takes a parameter in its stubs only


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
    """Yield one video stream's packets, repaired where ``access`` is sequential.

    Raises:
        DecodeError: the file cannot be read further.
    """
    if access == "sequential":
        return repaired_packets(container, (stream,), uri=uri)
    return read_packets(container, (stream,), uri=uri)


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

    Where the DTS of ``streams[0]`` steps back or leaps by more than ten seconds, the packets from
    there on are shifted so that it goes on where it stood; the other streams are shifted by the
    same time. A single stray stamp is no jump: its packet loses its PTS. Pass the main video
    stream first to get the PTS that ``probe_video`` planned, whatever other streams come with it.

    Raises:
        DecodeError: the file cannot be read further.
    """
    repair = _Repair(streams)
    fault: DecodeError | None = None
    try:
        for packet in read_packets(container, streams, uri=uri):
            yield from repair.take(packet)
    except DecodeError as error:
        fault = error
    yield from repair.finish()
    if fault is not None:
        raise fault


@dataclass(slots=True, kw_only=True)
class _Clock:
    """Where one stream stands, in its own ticks after repair."""

    time_base: Fraction
    epoch: int = 0
    """Index of the offset in force."""
    last_dts: int | None = None
    next_dts: int = 0
    held: list[AnyPacket] = field(default_factory=list)

    def follows(self, dts: int) -> bool:
        """Whether a repaired DTS goes on where this stream stood."""
        if self.last_dts is None:
            return True
        if (dts - self.next_dts) * self.time_base > JUMP_S:
            return False
        return (self.last_dts - dts) * self.time_base <= OVERLAP_S

    def stamp(self, packet: AnyPacket, offset_s: Fraction) -> AnyPacket:
        """Shift a packet's stamps by an offset and move on past it."""
        offset = round(offset_s / self.time_base)
        dts = packet.dts
        packet.pts = None if packet.pts is None else packet.pts + offset
        if dts is None:
            return packet
        packet.dts = dts + offset
        if packet.pts is not None and is_stray(packet.pts, packet.dts, self.time_base):
            packet.pts = None
        step = packet.duration or (0 if self.last_dts is None else packet.dts - self.last_dts)
        self.last_dts, self.next_dts = packet.dts, packet.dts + max(step, 0)
        return packet


class _Repair:
    """The offsets found so far, and the packets that wait for the next one."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._lead = streams[0].index
        self._offsets_s = [Fraction(0)]
        self._suspect: AnyPacket | None = None
        self._clocks = {
            stream.index: _Clock(time_base=stream.time_base or Fraction(1)) for stream in streams
        }

    def take(self, packet: AnyPacket) -> list[AnyPacket]:
        """Return the packets that are ready once this one is known."""
        clock = self._clocks[packet.stream_index]
        is_lead = packet.stream_index == self._lead
        return self._take_lead(packet, clock) if is_lead else self._take(packet, clock)

    def finish(self) -> list[AnyPacket]:
        """Return what still waits."""
        ready: list[AnyPacket] = []
        if self._suspect is not None:
            ready += self._jump(self._suspect, self._clocks[self._lead])
            self._suspect = None
        for clock in self._clocks.values():
            ready += self._give_up(clock)
        return ready

    def _take_lead(self, packet: AnyPacket, clock: _Clock) -> list[AnyPacket]:
        follows = packet.dts is None or clock.follows(
            packet.dts + round(self._offsets_s[-1] / clock.time_base)
        )
        suspect, self._suspect = self._suspect, None
        if suspect is None:
            if follows:
                return [clock.stamp(packet, self._offsets_s[-1])]
            self._suspect = packet
            return []
        if follows:  # the clock went on as before: the packet between was the odd one
            suspect.pts = suspect.dts = None
            return [suspect, clock.stamp(packet, self._offsets_s[-1])]
        return self._jump(suspect, clock) + self._take_lead(packet, clock)

    def _jump(self, packet: AnyPacket, clock: _Clock) -> list[AnyPacket]:
        assert packet.dts is not None
        self._offsets_s.append((clock.next_dts - packet.dts) * clock.time_base)
        ready = [clock.stamp(packet, self._offsets_s[-1])]
        for other in self._clocks.values():
            held, other.held = other.held, []
            for waiting in held:
                ready += self._take(waiting, other)
        return ready

    def _take(self, packet: AnyPacket, clock: _Clock) -> list[AnyPacket]:
        if packet.dts is None:
            return [clock.stamp(packet, self._offsets_s[clock.epoch])]
        for epoch in range(clock.epoch, len(self._offsets_s)):
            if clock.follows(packet.dts + round(self._offsets_s[epoch] / clock.time_base)):
                ready = self._give_up(clock)
                clock.epoch = epoch
                return [*ready, clock.stamp(packet, self._offsets_s[epoch])]
        clock.held.append(packet)
        return self._give_up(clock) if len(clock.held) > _MAX_HELD else []

    def _give_up(self, clock: _Clock) -> list[AnyPacket]:
        """Release packets whose jump no picture explains, under the newest offset."""
        held, clock.held = clock.held, []
        clock.epoch = len(self._offsets_s) - 1
        return [clock.stamp(packet, self._offsets_s[-1]) for packet in held]


def is_stray(pts: int, dts: int, time_base: Fraction) -> bool:
    """Whether a PTS is too far from its DTS to be true."""
    return abs(pts - dts) * time_base > JUMP_S
