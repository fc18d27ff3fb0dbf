"""One line of time for packets whose clock restarts or jumps: pure arithmetic, no file in sight.

The picture's clock is the measure. Each of its jumps begins an epoch, and every epoch has one
offset for all streams. A leap ahead is a jump only if the sound leaps too: where the sound ran on
meanwhile the picture paused, and the times of the file are right as they are.
"""

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from vgen.media.clock import JUMP_S, AnyPacket, StreamClock

_NEAR_S = 5  # how far apart muxers lay what is shown together, at most; under half a jump
_NUM_LAGS = 32  # a picture is known once the next has begun, in some files a whole GOP later
_SOON_S = 1  # of a picture and a sound that are shown together one may come so much later
_MAX_QUEUED = 1000  # packets of the picture kept back until the sound tells what a leap was
_MAX_HELD = 2000  # packets of another stream kept back until the picture jumps as well

_Verdict = Literal["goes on", "stray", "pause", "jump", "wait"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A packet of the picture whose time is not decided."""

    packet: AnyPacket
    heard: int
    """How far the picture had gone on in the file with it, jumps left out."""
    run_on_s: Fraction
    """How far the sound had run on without the picture before it came."""


class Repair:
    """The offsets found so far, and the packets that wait until more is known."""

    def __init__(
        self, time_bases: Mapping[int, Fraction], *, lead: int, witnesses: Collection[int]
    ) -> None:
        """Begin a file.

        Args:
            time_bases: Seconds per tick by stream index, of all streams whose packets will come.
            lead: Index of the main video stream.
            witnesses: Indices of the streams that run on while the picture pauses: all sound.
        """
        self._clocks = {
            index: StreamClock(time_base=time_base) for index, time_base in time_bases.items()
        }
        self._lead = self._clocks[lead]
        self._lead_index = lead
        self._offsets_s = [Fraction(0)]
        self._joints_s: list[Fraction] = []  # where epochs end and the next begin, after repair
        self._queue: deque[_Waiting] = deque()
        self._paused = 0  # ticks of all pauses of the picture
        self._leapt_at: int | None = None  # what had been heard of the picture when sound leapt
        self._lags_s = {
            index: deque([Fraction(0)], maxlen=_NUM_LAGS) for index in witnesses if index != lead
        }

    def take(self, packet: AnyPacket) -> list[AnyPacket]:
        """Return the packets that are ready once this one is known."""
        index = packet.stream_index
        clock = self._clocks[index]
        is_leap = packet.dts is not None and clock.hear(packet.dts)
        if index != self._lead_index:
            if is_leap and index in self._lags_s:
                self._leapt_at = self._lead.heard
            ready = self._place(packet, clock)
            return ready + self._go_on() if self._queue and index in self._lags_s else ready
        run_on_s = self._run_on_s() if is_leap else Fraction(0)
        self._queue.append(_Waiting(packet=packet, heard=clock.heard, run_on_s=run_on_s))
        ready = self._go_on()
        for witness, lags_s in self._lags_s.items():
            lags_s.append(self._lag_s(witness))
        return ready

    def finish(self) -> list[AnyPacket]:
        """Return what still waits."""
        ready = self._go_on(is_end=True)
        for clock in self._clocks.values():
            ready += self._give_up(clock)
            ready += clock.finish()
        return ready

    def _go_on(self, *, is_end: bool = False) -> list[AnyPacket]:
        """Stamp the picture's packets whose time is known, and what waited for them."""
        ready: list[AnyPacket] = []
        while self._queue:
            verdict = self._verdict(is_end=is_end)
            if verdict == "wait":
                break
            packet = self._queue.popleft().packet
            if verdict == "stray":
                packet.pts = packet.dts = None
            elif verdict == "pause":
                self._paused += self._due_in(packet)
            elif verdict == "jump":
                self._leapt_at = None
                self._joints_s.append(self._lead.next_dts * self._lead.time_base)
                self._offsets_s.append(
                    self._offsets_s[-1] - self._due_in(packet) * self._lead.time_base
                )
            ready += self._lead.stamp(packet, self._offsets_s[-1])
            for clock in self._clocks.values():
                ready += self._place_held(clock)
        return ready

    def _due_in(self, packet: AnyPacket) -> int:
        """Ticks from where the picture's next packet is due to where this one would be put."""
        assert packet.dts is not None
        return self._shifted(packet, self._lead, -1) - self._lead.next_dts

    def _verdict(self, *, is_end: bool) -> _Verdict:
        """Say what the first packet of the queue is."""
        first = self._queue[0]
        if self._follows(first.packet):
            return "goes on"
        if len(self._queue) > 1 and self._follows(self._queue[1].packet):
            return "stray"  # the clock went on as before: the packet between was the odd one
        if len(self._queue) < 2 and not is_end:
            return "wait"
        gap_s = self._due_in(first.packet) * self._lead.time_base
        if gap_s <= JUMP_S:
            return "jump"
        if 2 * first.run_on_s >= gap_s:
            return "pause"
        if self._has_sound_leapt(first):
            return "jump"
        # In program streams the sound of a pause may lie behind the picture that ends it.
        if 2 * self._run_on_s() >= gap_s:
            return "pause"
        return "jump" if is_end or self._is_heard_out(first) else "wait"

    def _has_sound_leapt(self, waiting: _Waiting) -> bool:
        if self._leapt_at is None:
            return False
        return (waiting.heard - self._leapt_at) * self._lead.time_base <= _NEAR_S

    def _is_heard_out(self, waiting: _Waiting) -> bool:
        """Whether sound that tells more of a leap would have come by now."""
        seen_s = (self._lead.heard - waiting.heard) * self._lead.time_base
        return not self._lags_s or len(self._queue) > _MAX_QUEUED or seen_s > _NEAR_S

    def _follows(self, packet: AnyPacket) -> bool:
        return packet.dts is None or self._lead.follows(self._shifted(packet, self._lead, -1))

    def _run_on_s(self) -> Fraction:
        """By how many seconds the sound ran on while the picture's clock did not."""
        run_on_s = (self._lag_s(index) - min(lags_s) for index, lags_s in self._lags_s.items())
        return max(run_on_s, default=Fraction(0))

    def _lag_s(self, witness: int) -> Fraction:
        clock = self._clocks[witness]
        picture = self._lead.heard + self._paused
        return clock.heard * clock.time_base - picture * self._lead.time_base

    def _shifted(self, packet: AnyPacket, clock: StreamClock, epoch: int) -> int:
        assert packet.dts is not None
        return packet.dts + round(self._offsets_s[epoch] / clock.time_base)

    def _place(self, packet: AnyPacket, clock: StreamClock) -> list[AnyPacket]:
        """Stamp a packet of another stream, or hold it until its epoch is known."""
        if packet.dts is None:
            return clock.stamp(packet, self._offsets_s[clock.epoch])
        epoch = self._epoch_of(packet, clock, self._lead.heard)
        if epoch is None:
            clock.held.append((packet, self._lead.heard))
            return self._give_up(clock) if len(clock.held) > _MAX_HELD else []
        ready = self._release(clock, epoch, self._shifted(packet, clock, epoch))
        clock.epoch = epoch
        return ready + clock.stamp(packet, self._offsets_s[epoch])

    def _place_held(self, clock: StreamClock) -> list[AnyPacket]:
        ready: list[AnyPacket] = []
        while clock.held:
            packet, heard = clock.held[0]
            epoch = self._epoch_of(packet, clock, heard)
            if epoch is None:
                break
            clock.held.popleft()
            clock.epoch = epoch
            ready += clock.stamp(packet, self._offsets_s[epoch])
        return ready

    def _epoch_of(self, packet: AnyPacket, clock: StreamClock, heard: int) -> int | None:
        """Say under which offset a packet lies where the picture is; None if a jump may come.

        Files lay side by side what is shown together. A stream's own clock tells less: after a
        gap any time may come, as with subtitles. It decides only where it runs on without one.
        ``heard`` is how far the picture had gone on when the packet came.
        """
        if self._lead.last_dts is None:
            return clock.epoch
        is_steady = clock.is_steady(self._shifted(packet, clock, clock.epoch))
        if is_steady and clock.epoch == len(self._joints_s):
            return clock.epoch
        here_s = self._here_s()
        if is_steady and self._distance_s(packet, clock, clock.epoch, here_s) <= _NEAR_S:
            return clock.epoch
        if self._queue:
            return clock.epoch if is_steady else None
        epoch = self._nearest(packet, clock, here_s)
        ahead_s = self._shifted(packet, clock, -1) * clock.time_base - here_s
        # Far behind in the newest epoch it may be the first of the next, before the picture's.
        is_new = (self._lead.heard - heard) * self._lead.time_base <= _SOON_S
        if is_new and epoch == len(self._joints_s) and ahead_s < -_NEAR_S and not is_steady:
            return None
        if epoch is not None and self._distance_s(packet, clock, epoch, here_s) <= _NEAR_S:
            return epoch
        if is_steady:
            return clock.epoch
        return None if ahead_s > 0 else epoch

    def _here_s(self) -> Fraction:
        """Return the repaired time that the file has come to: the picture's, or a pause's."""
        return (self._lead.last_dts or 0) * self._lead.time_base + self._run_on_s()

    def _nearest(self, packet: AnyPacket, clock: StreamClock, here_s: Fraction) -> int | None:
        """Return the epoch that puts a packet nearest to ``here_s``, and not before its own."""
        epochs = range(clock.epoch, len(self._offsets_s))
        ahead = [e for e in epochs if not clock.goes_back(self._shifted(packet, clock, e))]
        return min(ahead, key=lambda e: self._distance_s(packet, clock, e, here_s), default=None)

    def _distance_s(
        self, packet: AnyPacket, clock: StreamClock, epoch: int, here_s: Fraction
    ) -> Fraction:
        """Seconds from what the picture shows in an epoch, and from where the file is."""
        at_s = self._shifted(packet, clock, epoch) * clock.time_base
        if epoch < len(self._joints_s):
            return max(at_s - self._joints_s[epoch], here_s - at_s)
        since_s = self._joints_s[-1] if self._joints_s else at_s
        return max(since_s - at_s, at_s - here_s)

    def _release(self, clock: StreamClock, epoch: int, until: int) -> list[AnyPacket]:
        """Hand on what was held although the stream goes on, at ``until``, without any jump."""
        held, clock.held = clock.held, deque()
        epochs = range(clock.epoch, epoch + 1)
        since = clock.last_dts
        if since is None:
            since = min([until, *(self._shifted(packet, clock, epoch) for packet, _ in held)])
        ready: list[AnyPacket] = []
        for packet, _ in held:
            outside = [_outside(self._shifted(packet, clock, e), since, until) for e in epochs]
            if min(outside) * clock.time_base > JUMP_S:  # a stray one goes where its stream stood
                packet.pts = packet.dts = since
                ready.append(packet)
                continue
            ready += clock.stamp(packet, self._offsets_s[epochs[outside.index(min(outside))]])
        return ready

    def _give_up(self, clock: StreamClock) -> list[AnyPacket]:
        """Hand on packets whose jump no picture explains."""
        held, clock.held = clock.held, deque()
        ready: list[AnyPacket] = []
        for packet, _ in held:
            nearest = self._nearest(packet, clock, self._here_s())
            clock.epoch = len(self._offsets_s) - 1 if nearest is None else nearest
            ready += clock.stamp(packet, self._offsets_s[clock.epoch])
        return ready


def _outside(at: int, since: int, until: int) -> int:
    """Ticks by which a time lies outside ``[since, until]``."""
    return max(since - at, at - until, 0)
