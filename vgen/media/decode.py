"""Decode the frames of one span, exactly those a decoder reading the whole file would show.

The measure is the sequential decode: the whole file, first packet to last, one thread. A seek and
several threads reproduce it for sound files only, and only with care:

- The first packet of the file is decoded before the seek: H.264 decoders learn the bugs of old
  encoders from a message that only the first keyframe carries.
- A position is accepted only if the first keyframe packet read there is shown no later than the
  span begins; else the seek goes back by 1, 2, 4, 8 s. MPEG-TS has no index and lands too late.
- The first frame shown from there must be that keyframe, else the point is no clean entry (gradual
  refresh) and the file is read from its start.

Damage voids the equality, so a damaged span is decoded again from the start with one thread.
"""

import logging
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from vgen.errors import DecodeError
from vgen.media.facts import VideoInfo
from vgen.media.packets import AnyPacket, read_packets, video_packets
from vgen.media.pixels import planes_of, to_planar
from vgen.media.source import FOREIGN_ERRORS, open_source, translated
from vgen.records import Span

log = logging.getLogger(__name__)

_STEPS_BACK_S = (0, 1, 2, 4, 8)
_MAX_HEAD = 300  # packets read after a seek in search of a keyframe
_MAX_PADDING = 1 << 16  # pixels: small pictures are coded in much larger blocks


class NeedsSequential(DecodeError):  # noqa: N818 - named for its remedy
    """Damage was met on a short cut: decode the span again with ``from_start=True``.

    Frames yielded before it are to be discarded; the repetition yields all of them.
    """


@dataclass(slots=True, kw_only=True)
class DecodeStats:
    """What one span's decode met; filled while its frames are consumed."""

    num_decoded: int = 0
    """Frames decoded, run-up included."""
    num_yielded: int = 0
    """Frames handed on, context included."""
    num_damaged_packets: int = 0
    """Packets that did not decode, and frames decoded with errors, within the span proper."""
    num_missing: int = 0
    """Planned frames of the span proper that did not come."""
    num_unplanned: int = 0
    """Frames of the span proper that no packet announced."""
    is_exhausted: bool = False
    """The file's end was reached."""
    is_from_start: bool = False
    """The file was read from its first packet."""


def decode_span(
    uri: str,
    info: VideoInfo,
    span: Span,
    *,
    threads: int,
    salvage: bool,
    stats: DecodeStats,
    open_path: str | None = None,
    from_start: bool = False,
) -> Iterator[av.VideoFrame]:
    """Yield the frames of ``[begin_pts, end_pts)`` in presentation order, a few alive at a time.

    Frames are planar (``vgen.media.pixels``), native in bit depth and colour; their ``pts`` is in
    ticks of ``info.video.time_base``, strictly increasing. Consume in one thread; closing the
    iterator closes the file.

    Args:
        uri: The source.
        info: As probed.
        span: The frames to decode, context included.
        threads: Decoder threads; no effect on the frames.
        salvage: Count damage in ``stats`` and go on, instead of failing.
        stats: Filled as frames are consumed; give each call a new one.
        open_path: A local copy to read instead of ``uri``.
        from_start: Repeat after ``NeedsSequential``: first packet to last, one thread.

    Raises:
        NeedsSequential: damage was met, and this call did not read from the start with one thread.
        DecodeError: the source is damaged and ``salvage`` is off; or its picture size or pixel
            format changes; or it cannot be opened any more as a ``ProbeError``.
    """
    is_exact = from_start or (threads == 1 and (span.begin_pts is None or info.access != "seek"))
    stats.is_from_start = is_exact or info.access != "seek"
    judge = _Judge(uri, span, stats, is_exact=is_exact, salvage=salvage)
    reader = _Reader(
        uri=uri, info=info, judge=judge, threads=1 if from_start else threads, path=open_path
    )
    if stats.is_from_start or span.begin_pts is None:
        frames = reader.from_start()
    else:
        frames = reader.from_seek(span.begin_pts)
    own = (
        _by_count(frames, span, judge) if info.access == "ordinal" else _by_pts(frames, span, judge)
    )
    with closing(frames):
        for frame in own:
            _check_format(frame, info, uri)
            stats.num_yielded += 1
            yield to_planar(frame)
    judge.finish()


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


def frame_crc(frame: av.VideoFrame) -> int:
    """CRC-32 of a planar frame's samples, line padding left out."""
    crc = 0
    for plane in planes_of(frame):
        crc = zlib.crc32(np.ascontiguousarray(plane).data, crc)
    return crc


@dataclass(slots=True, kw_only=True)
class _Reader:
    """One way to the frames of a file, as the decoder delivers them."""

    uri: str
    info: VideoInfo
    judge: "_Judge"
    threads: int
    path: str | None

    def from_start(self) -> Generator[av.VideoFrame, None, None]:
        with self._opened() as (container, stream):
            packets = video_packets(container, stream, self.info.access, uri=self.uri)
            yield from decoded_frames(packets, stream, self.judge.damage)
        self.judge.stats.is_exhausted = True

    def from_seek(self, begin_pts: int) -> Generator[av.VideoFrame, None, None]:
        """Yield frames from a clean entry at or before ``begin_pts``, else from the start."""
        with self._opened() as (container, stream):
            entry = self._enter(container, stream, begin_pts)
            if entry is not None:
                packets, key_pts = entry
                self.judge.entry_pts = key_pts
                frames = decoded_frames(packets, stream, self.judge.damage)
                first = next((f for f in frames if f.pts is not None and f.pts >= key_pts), None)
                if first is not None and first.pts == key_pts and first.key_frame:
                    yield first
                    yield from frames
                    self.judge.stats.is_exhausted = True
                    return
        log.debug("no clean entry before pts %d, reading %s from its start", begin_pts, self.uri)
        self.judge.entry_pts = None
        self.judge.stats.is_from_start = True
        yield from self.from_start()

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        with open_source(self.uri, open_path=self.path) as container:
            stream = next(
                (s for s in container.streams.video if s.index == self.info.video.index), None
            )
            if stream is None:
                raise DecodeError(f"stream {self.info.video.index} is gone", uri=self.uri)
            stream.thread_count = self.threads
            stream.thread_type = "AUTO"
            size = self.info.video.width * self.info.video.height
            # A picture that grows within the stream may not take the memory with it.
            stream.codec_context.options = {"max_pixels": str(4 * size + _MAX_PADDING)}
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
                head = list(_through_keyframe(packets))
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


def _through_keyframe(packets: Iterator[AnyPacket]) -> Iterator[AnyPacket]:
    """Yield packets up to the first keyframe that has a PTS."""
    for packet in islice(packets, _MAX_HEAD):
        yield packet
        if packet.is_keyframe and packet.pts is not None:
            return


class _Judge:
    """Compares what comes with what was planned, and decides what damage means."""

    def __init__(
        self, uri: str, span: Span, stats: DecodeStats, *, is_exact: bool, salvage: bool
    ) -> None:
        self.stats = stats
        self.entry_pts: int | None = None
        self._uri, self._span = uri, span
        self._is_exact, self._salvage = is_exact, salvage
        self._planned = deque(span.pts)
        self._is_inside = span.begin_pts is None

    def damage(self, pts: int | None) -> None:
        """Take note of a packet or frame that failed, shown at ``pts`` if known."""
        if pts is not None and self.entry_pts is not None and pts < self.entry_pts:
            return  # leading pictures of the entry point lack their references by design
        is_own = self._is_inside if pts is None else self._span.owns(pts)
        if is_own or not self._is_exact:
            self._fault("damaged data", pts)
            self.stats.num_damaged_packets += 1

    def arrived(self, pts: int) -> None:
        """Check a frame of the span, in order, against the plan."""
        self._is_inside = self._span.owns(pts)
        while self._planned and self._planned[0] < pts:
            self._missing(self._planned.popleft())
        if self._planned and self._planned[0] == pts:
            self._planned.popleft()
        elif self._span.owns(pts):
            self._fault("a frame that no packet announced", pts)
            self.stats.num_unplanned += 1

    def finish(self) -> None:
        """Count what never came, once no more frames of the span can come."""
        while self._planned:
            self._missing(self._planned.popleft())

    def _missing(self, pts: int) -> None:
        if self._span.owns(pts) or not self._is_exact:
            self._fault("a planned frame did not come", pts)
            self.stats.num_missing += 1

    def _fault(self, what: str, pts: int | None) -> None:
        if not self._is_exact:
            raise NeedsSequential(f"{what}; to be decoded from the start", uri=self._uri, pts=pts)
        if not self._salvage:
            raise DecodeError(f"{what}, and damaged files are not salvaged", uri=self._uri, pts=pts)


def _by_pts(frames: Iterator[av.VideoFrame], span: Span, judge: _Judge) -> Iterator[av.VideoFrame]:
    """Keep the frames shown in ``[begin_pts, end_pts)``, each PTS once and none out of order."""
    last_pts: int | None = None
    for frame in frames:
        judge.stats.num_decoded += 1
        if frame.pts is None or (last_pts is not None and frame.pts < last_pts):
            judge.damage(frame.pts)
            continue
        if frame.pts == last_pts:
            continue  # two packets share a PTS: the first is shown
        last_pts = frame.pts
        if span.begin_pts is not None and frame.pts < span.begin_pts:
            continue
        if span.end_pts is not None and frame.pts >= span.end_pts:
            return
        judge.arrived(frame.pts)
        yield frame


def _by_count(
    frames: Iterator[av.VideoFrame], span: Span, judge: _Judge
) -> Iterator[av.VideoFrame]:
    """Keep frames by their number and stamp them as planned."""
    first = span.start - span.lead
    for number, frame in enumerate(frames):
        judge.stats.num_decoded += 1
        if number < first:
            continue
        if number - first >= len(span.pts):
            if span.end_pts is not None:
                return
            judge.damage(None)
            continue
        frame.pts = span.pts[number - first]
        judge.arrived(frame.pts)
        yield frame


def _check_format(frame: av.VideoFrame, info: VideoInfo, uri: str) -> None:
    video = info.video
    was = (video.width, video.height, video.pixel_format)
    came = (frame.width, frame.height, frame.format.name)
    if came != was:
        raise DecodeError(
            f"the picture changes from {'x'.join(map(str, was[:2]))} {was[2]} to "
            f"{'x'.join(map(str, came[:2]))} {came[2]}; split the file there",
            uri=uri,
            pts=frame.pts,
        )
