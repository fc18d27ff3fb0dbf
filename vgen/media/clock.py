"""Where one stream stands whose stamps come from a clock that may restart, wrap or jump."""

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

from av.packet import Packet
from av.stream import Stream

JUMP_S = 10
"""Seconds that a clock may leap ahead before it is a jump: ffmpeg's dts_delta_threshold."""
OVERLAP_S = Fraction(1, 10)
"""Seconds that a clock may step back before it is a jump, as ffmpeg has it."""
_STEADY_S = 1  # a longer step of a stream is a gap in it
_MAX_REORDERED = 16  # pictures from one to that whose DTS is its PTS, in H.264 and HEVC

AnyPacket: TypeAlias = "Packet[Stream]"  # the class takes a parameter in its stubs only


@dataclass(slots=True, kw_only=True)
class _Far:
    """A packet that is not handed on yet."""

    packet: AnyPacket
    pts: int | None
    """Its PTS as the file has it, while no DTS explains it."""


@dataclass(slots=True, kw_only=True)
class StreamClock:
    """Where one stream stands; times are in its own ticks."""

    time_base: Fraction
    epoch: int = 0
    """Index of the offset in force."""
    last_dts: int | None = None
    """DTS of the last packet after repair."""
    next_dts: int = 0
    """DTS after repair at which the next packet is due."""
    heard_dts: int | None = None
    """DTS of the last packet read, as the file has it."""
    heard: int = 0
    """Ticks by which the file's own DTS went on so far, jumps left out."""
    held: deque[tuple[AnyPacket, int]] = field(default_factory=deque)
    """Packets whose epoch is not known yet, each with what had been heard of the picture then."""
    _far: deque[_Far] = field(default_factory=deque)

    def hear(self, dts: int) -> bool:
        """Take note of a DTS as the file has it; return whether it leapt ahead."""
        step = 0 if self.heard_dts is None else dts - self.heard_dts
        self.heard_dts = dts
        is_leap = step * self.time_base > JUMP_S
        self.heard += 0 if is_leap else max(step, 0)
        return is_leap

    def follows(self, dts: int) -> bool:
        """Whether a repaired DTS goes on where this stream stood, without a leap or step back."""
        is_leap = self.last_dts is not None and (dts - self.next_dts) * self.time_base > JUMP_S
        return not is_leap and not self.goes_back(dts)

    def is_steady(self, dts: int) -> bool:
        """Whether a repaired DTS goes on where this stream stood, without as much as a gap."""
        if self.last_dts is None or self.goes_back(dts):
            return False
        # Measured from the last packet, as subtitles may not say when they end.
        return (dts - self.last_dts) * self.time_base <= _STEADY_S

    def goes_back(self, dts: int) -> bool:
        """Whether a repaired DTS lies before where this stream stood."""
        return self.last_dts is not None and (self.last_dts - dts) * self.time_base > OVERLAP_S

    def stamp(self, packet: AnyPacket, offset_s: Fraction) -> list[AnyPacket]:
        """Shift a packet's stamps by an offset and move on past it; return what is ready.

        Where the picture pauses, frames shown after the pause are decoded before it: their PTS is
        far from their DTS, and true if the DTS of one of the next packets comes to it. Packets
        wait for that one in their order. Other PTS far from their DTS are dropped.
        """
        offset = round(offset_s / self.time_base)
        dts, pts = packet.dts, packet.pts
        packet.pts = None if pts is None else pts + offset
        if dts is None:
            return self._in_order(packet, None)
        packet.dts = dts + offset
        for far in self._far:
            if far.pts is not None and abs(far.pts - dts) * self.time_base <= _STEADY_S:
                far.packet.pts, far.pts = far.pts + offset, None
        step = packet.duration or (0 if self.last_dts is None else packet.dts - self.last_dts)
        self.last_dts, self.next_dts = packet.dts, packet.dts + max(step, 0)
        is_far = pts is not None and is_stray(pts, dts, self.time_base)
        return self._in_order(packet, pts if is_far else None)

    def finish(self) -> list[AnyPacket]:
        """Return what still waits for a DTS."""
        return [_given_up(far) for far in self._far]

    def _in_order(self, packet: AnyPacket, far_pts: int | None) -> list[AnyPacket]:
        if not self._far and far_pts is None:
            return [packet]
        self._far.append(_Far(packet=packet, pts=far_pts))
        ready: list[AnyPacket] = []
        while self._far and (self._far[0].pts is None or len(self._far) > _MAX_REORDERED):
            ready.append(_given_up(self._far.popleft()))
        return ready


def _given_up(far: _Far) -> AnyPacket:
    if far.pts is not None:
        far.packet.pts = None
    return far.packet


def is_stray(pts: int, dts: int, time_base: Fraction) -> bool:
    """Whether a PTS is too far from its DTS to be true, unless the picture pauses there."""
    return abs(pts - dts) * time_base > JUMP_S
