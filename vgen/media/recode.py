"""Sound that no container takes as it is: decoded, and written as FLAC.

Old archives are full of it: WMA, ADPCM, the AMR of phones, the PCM of discs. Whole numbers of up
to 24 bits come through as they are; what decodes to floating point becomes 16 bits.
"""

import logging
from collections.abc import Iterator
from fractions import Fraction

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Stream

from vgen.media.packets import AnyPacket
from vgen.media.source import FOREIGN_ERRORS

CODEC = "flac"
_MOST_CHANNELS = 8
_DEEP_FORMATS = ("s32", "s32p")

log = logging.getLogger(__name__)


def can_recode(stream: Stream) -> bool:
    """Whether ``stream`` is sound that can be decoded here and that FLAC has room for."""
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return False
    return 0 < stream.channels <= _MOST_CHANNELS and bool(stream.sample_rate)


def add_recoded(output: OutputContainer, stream: AudioStream) -> AudioStream:
    """Add a stream to ``output`` for what ``Recoder`` makes of ``stream``."""
    made = output.add_stream(CODEC, rate=stream.sample_rate, layout=stream.layout.name)
    assert isinstance(made, AudioStream)
    made.codec_context.format = "s32" if stream.format.name in _DEEP_FORMATS else "s16"
    made.codec_context.thread_count = 1
    made.time_base = Fraction(1, stream.sample_rate)
    return made


class Recoder:
    """One stream of sound on its way from its source's packets to FLAC's."""

    def __init__(self, source: AudioStream, target: AudioStream) -> None:
        """Decode ``source`` and encode for ``target``, which ``add_recoded`` made."""
        self._source, self._target = source, target
        self._tick_s = Fraction(1, target.sample_rate)
        self._next_pts: int | None = None
        self.num_damaged = 0
        """Packets that did not decode."""

    def take(self, packet: AnyPacket) -> Iterator[AnyPacket]:
        """Yield what is ready once ``packet`` is decoded."""
        yield from self._encoded(self._decoded(packet))

    def finish(self) -> Iterator[AnyPacket]:
        """Yield what decoder and encoder still hold."""
        yield from self._encoded([*self._decoded(None), None])

    def _decoded(self, packet: "AnyPacket | None") -> list[AudioFrame]:
        try:
            frames = self._source.codec_context.decode(packet)
        except FOREIGN_ERRORS as error:
            log.debug("a packet of sound does not decode: %s", error)
            self.num_damaged += 1
            return []
        return [frame for frame in frames if self._stamped(frame)]

    def _stamped(self, frame: AudioFrame) -> bool:
        """Give a frame its time in samples; of several out of one packet only the first has one."""
        if frame.pts is not None and frame.time_base:
            pts: int | None = round(frame.pts * frame.time_base / self._tick_s)
        else:
            pts = self._next_pts
        if pts is None:
            return False
        frame.pts, frame.time_base = pts, self._tick_s
        self._next_pts = pts + round(frame.samples / (frame.sample_rate * self._tick_s))
        return True

    def _encoded(self, frames: "list[AudioFrame] | list[AudioFrame | None]") -> Iterator[AnyPacket]:
        for frame in frames:
            try:
                packets = self._target.codec_context.encode(frame)
            except FOREIGN_ERRORS as error:  # its rate or channels are not those at the start
                log.debug("sound at pts %s cannot be encoded: %s", frame and frame.pts, error)
                self.num_damaged += 1
                continue
            # The last one only tells the encoder's statistics.
            yield from (packet for packet in packets if packet.size)
