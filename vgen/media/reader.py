"""Reach a source's frames: from its start, or from a verified entry point before a PTS.

- The first packet of the file is decoded before a seek: H.264 decoders learn the bugs of old
  encoders from a message that only the first keyframe carries.
- A position is accepted only if the first keyframe packet read there is shown no later than asked;
  else the seek goes back by 1, 2, 4, 8 s. MPEG-TS has no index and lands too late. Packets are
  asked, not frames: frames that lead an open GOP are shown before its keyframe.
- The first frame shown from there must be that keyframe, else the point is no clean entry (gradual
  refresh) and the file is read from its start.
"""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vgen.errors import DecodeError
from vgen.media.facts import VideoInfo
from vgen.media.packets import AnyPacket, read_packets, video_packets
from vgen.media.source import FOREIGN_ERRORS, open_source, translated
from vgen.media.streams import read_only

log = logging.getLogger(__name__)

_STEPS_BACK_S = (0, 1, 2, 4, 8)
_MAX_HEAD = 1000  # packets without DTS read after a seek in search of a keyframe
_MAX_PADDING = 1 << 16  # pixels: small pictures are coded in much larger blocks


@dataclass(slots=True, kw_only=True)
class FrameReader:
    """The frames of a source's main stream as the decoder delivers them; use one method, once."""

    uri: str
    info: VideoInfo
    threads: int
    path: str | None
    """A local copy to read instead of ``uri``."""
    on_damage: Callable[[int | None], None]
    """Called with the PTS, where known, of what failed to be read or decoded."""
    on_suspicion: Callable[[int | None], None]
    """Called with the PTS of a packet that the demuxer takes for damaged; it may decode well."""
    is_from_start: bool = False
    """The file was read from its first packet."""
    is_exhausted: bool = False
    """The file's end was reached."""
    stream: VideoStream | None = None
    """What is read, once it is open."""

    def from_start(self) -> Generator[av.VideoFrame, None, None]:
        """Yield all frames."""
        self.is_from_start = True
        with self._opened() as (container, stream):
            packets = video_packets(container, stream, self.info.access, uri=self.uri)
            yield from decoded_frames(self._watched(packets), stream, self.on_damage)
        self.is_exhausted = True

    def from_seek(self, begin_pts: int) -> Generator[av.VideoFrame, None, None]:
        """Yield frames from a clean entry at or before ``begin_pts``, else from the start."""
        with self._opened() as (container, stream):
            # FFV1 patches a damaged slice with the frame before, so that one has to be decoded.
            is_patched = self.info.video.codec == "ffv1"
            entry = self._enter(container, stream, begin_pts - is_patched)
            if entry is not None:
                packets, key_pts = entry
                watched = self._watched(packets)
                frames = decoded_frames(watched, stream, partial(self._damage_from, key_pts))
                first = next((f for f in frames if f.pts is not None and f.pts >= key_pts), None)
                if first is not None and first.pts == key_pts and first.key_frame:
                    yield first
                    yield from frames
                    self.is_exhausted = True
                    return
        log.debug("no clean entry before pts %d, reading %s from its start", begin_pts, self.uri)
        yield from self.from_start()

    def keyframes(
        self, distance: int, *, on_packet: Callable[[AnyPacket], None] = lambda packet: None
    ) -> Generator[av.VideoFrame, None, None]:
        """Yield keyframes alone, at about a tenth of the cost of all frames.

        They are what the whole decode shows where the file is sound and ``info.access`` is seek.
        Where every frame is one, some are left out, so that they are ``distance`` ticks apart.
        ``on_packet`` is shown every packet of the video, also of the frames that are passed over.
        """
        with self._opened() as (container, stream):
            packets = video_packets(container, stream, self.info.access, uri=self.uri)
            shown = _shown_to(on_packet, self._watched(packets))
            for packet in _spaced_keyframes(shown, distance):
                # Alone, to its end: skipping what lies between takes decoders out of their order.
                for frame in decoded_frames(iter((packet,)), stream, self.on_damage):
                    if frame.pts == packet.pts:
                        yield frame
                stream.codec_context.flush_buffers()

    def _watched(self, packets: Iterator[AnyPacket]) -> Iterator[AnyPacket]:
        for packet in packets:
            if packet.is_corrupt:
                self.on_suspicion(packet.pts)
            yield packet

    def _damage_from(self, entry_pts: int, pts: int | None) -> None:
        # Leading pictures of the entry point lack their references by design.
        if pts is None or pts >= entry_pts:
            self.on_damage(pts)

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        with open_source(self.uri, open_path=self.path) as container:
            stream = next(
                (s for s in container.streams.video if s.index == self.info.video.index), None
            )
            if stream is None:
                raise DecodeError(f"stream {self.info.video.index} is gone", uri=self.uri)
            read_only(container, stream)
            stream.thread_count = self.threads
            stream.thread_type = "AUTO"
            size = self.info.video.width * self.info.video.height
            # A picture that grows within the stream may not take the memory with it.
            stream.codec_context.options = {"max_pixels": str(4 * size + _MAX_PADDING)}
            self.stream = stream
            yield container, stream

    def _enter(
        self, container: InputContainer, stream: VideoStream, begin_pts: int
    ) -> tuple[Iterator[AnyPacket], int] | None:
        """Seek to a keyframe shown at or before ``begin_pts``; return its packets and its PTS."""
        self._prime(container, stream)
        for back_s in _STEPS_BACK_S:
            target = begin_pts - round(back_s / self.info.video.time_base)
            packets = read_packets(container, (stream,), uri=self.uri)
            try:
                with translated(self.uri, DecodeError):
                    container.seek(target, stream=stream, backward=True)
                head = list(_through_keyframe(packets, begin_pts))
            except DecodeError:
                continue  # a step further back may be readable; the start is the last resort
            key_pts = head[-1].pts if head and head[-1].is_keyframe else None
            if key_pts is not None and key_pts <= begin_pts:
                return chain(head, packets), key_pts
        return None

    def _prime(self, container: InputContainer, stream: VideoStream) -> None:
        with suppress(DecodeError, *FOREIGN_ERRORS):  # judged by the span that owns it
            packet = next(read_packets(container, (stream,), uri=self.uri), None)
            stream.codec_context.decode(packet)


def _shown_to(
    on_packet: Callable[[AnyPacket], None], packets: Iterator[AnyPacket]
) -> Iterator[AnyPacket]:
    for packet in packets:
        on_packet(packet)
        yield packet


def _spaced_keyframes(packets: Iterator[AnyPacket], distance: int) -> Iterator[AnyPacket]:
    """Yield keyframe packets; where they follow each other directly, none within ``distance``."""
    last, is_row = 0, False
    for packet in packets:
        if not packet.is_keyframe or packet.pts is None:
            is_row = False
            continue
        if is_row and 0 <= packet.pts - last < distance:
            continue
        last, is_row = packet.pts, True
        yield packet


def _through_keyframe(packets: Iterator[AnyPacket], begin_pts: int) -> Iterator[AnyPacket]:
    """Yield packets up to the first keyframe that has a PTS, while one before the span can come."""
    for packet in islice(packets, _MAX_HEAD):
        yield packet
        is_entry = packet.is_keyframe and packet.pts is not None
        # A frame is not shown before it is decoded.
        if is_entry or (packet.dts is not None and packet.dts > begin_pts):
            return


def decoded_frames(
    packets: Iterator[AnyPacket], stream: VideoStream, on_damage: Callable[[int | None], None]
) -> Iterator[av.VideoFrame]:
    """Decode packets to the last frame in the decoder, past errors.

    Args:
        packets: As ``video_packets`` yields them.
        stream: Their stream, its threads already set.
        on_damage: Called with the PTS, where known, of what failed to be read or decoded.
    """
    while True:
        try:
            packet = next(packets, None)
        except DecodeError:
            on_damage(None)
            packet = None
        try:
            frames = stream.codec_context.decode(packet)
        except FOREIGN_ERRORS:
            on_damage(None if packet is None else packet.pts)
            frames = []
        for frame in frames:
            if frame.is_corrupt:
                on_damage(frame.pts)
            yield frame
        if packet is None:
            return
