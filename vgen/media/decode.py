"""Decode the frames of one span, exactly those a decoder reading the whole file would show.

The measure is the sequential decode: the whole file, first packet to last, one thread. A seek
(``vgen.media.reader``) and several threads reproduce it for sound files only. Damage voids the
equality, so a damaged span is decoded again from the start with one thread. What no decoder
reports stays unseen: there the checksums at the borders of spans are the last resort.
"""

import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import av
import numpy as np

from vgen.errors import DecodeError
from vgen.media.facts import VideoInfo
from vgen.media.pixels import frame_from_planes, planes_of, to_planar
from vgen.media.reader import FrameReader
from vgen.media.tags import Changes, uncarried
from vgen.records import Span

# Their decoders conceal damage without a word, and with several threads not always alike.
_SILENT_CODECS = ("vp8", "ffv1")


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
    uncarried: set[str] = field(default_factory=set)
    """What hangs on the source's frames and on none that is made of them, named for people."""
    first_crc: tuple[int, int] | None = None
    """PTS and ``frame_crc`` of the first frame of the span proper."""
    after_crc: tuple[int, int] | None = None
    """The same of the first frame after it, where one was decoded: the next span's first."""


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
    witness: Callable[[av.VideoFrame], None] | None = None,
) -> Generator[av.VideoFrame, None, None]:
    """Yield the frames of ``[begin_pts, end_pts)`` in presentation order, a few alive at a time.

    Frames are planar (``vgen.media.pixels``), native in bit depth and colour; their ``pts`` is in
    ticks of ``info.video.time_base``, strictly increasing. Consume in one thread; closing the
    iterator closes the file.

    Args:
        uri: The source.
        info: As probed.
        span: The frames to decode, context included.
        threads: Decoder threads at most; no effect on the frames.
        salvage: Count damage in ``stats`` and go on, instead of failing.
        stats: Filled as frames are consumed; give each call a new one.
        open_path: A local copy to read instead of ``uri``.
        from_start: Repeat after ``NeedsSequential``: first packet to last, one thread.
        witness: Shown each frame that is yielded as the decoder made it: the planar copy of a
            frame carries no flags.

    Raises:
        NeedsSequential: damage was met, and this call did not read from the start with one thread.
        DecodeError: the source is damaged and ``salvage`` is off; its picture size or pixel
            format changes; or the span is the whole video and not one frame came.
        ProbeError: it cannot be opened any more.
    """
    threads = 1 if from_start or info.video.codec in _SILENT_CODECS else threads
    is_exact = from_start or (threads == 1 and (span.begin_pts is None or info.access != "seek"))
    judge = _Judge(uri, info, span, stats, is_exact=is_exact, salvage=salvage)
    reader = FrameReader(
        uri=uri,
        info=info,
        threads=threads,
        path=open_path,
        on_damage=judge.damage,
        on_suspicion=judge.suspicion,
    )
    begin_pts = None if from_start or info.access != "seek" else span.begin_pts
    frames = reader.from_start() if begin_pts is None else reader.from_seek(begin_pts)
    changes = Changes()
    keep = _by_count if info.access == "ordinal" else _by_pts
    with closing(frames):
        try:
            for frame in keep(frames, span, judge):
                _check_format(frame, info, uri)
                stats.num_yielded += 1
                frame.time_base = info.video.time_base  # absent where the decoder was flushed
                stats.uncarried |= uncarried(frame) | changes.seen(frame, reader.stream)
                if witness is not None:
                    witness(frame)
                planar = _detached(to_planar(frame)) if is_exact else to_planar(frame)
                del frame
                yield planar
        finally:
            stats.is_from_start, stats.is_exhausted = reader.is_from_start, reader.is_exhausted
    judge.finish()
    if stats.num_yielded == 0 and span.begin_pts is None and span.end_pts is None:
        raise DecodeError("not one frame of the video can be decoded", uri=uri)


def _detached(frame: av.VideoFrame) -> av.VideoFrame:
    """Copy a frame out of the decoder's buffers.

    Where a field is missing, FFmpeg shows what the buffer held before. Which buffer that is depends
    on the frames that are still held here and by the consumer, unless none is.
    """
    return frame_from_planes(planes_of(frame), frame.format.name, frame.pts, frame.time_base)


def frame_crc(frame: av.VideoFrame) -> int:
    """CRC-32 of a planar frame's samples, line padding left out."""
    crc = 0
    for plane in planes_of(frame):
        crc = zlib.crc32(np.ascontiguousarray(plane).data, crc)
    return crc


class _Judge:
    """Compares what comes with what was planned, and decides what damage means."""

    def __init__(
        self,
        uri: str,
        info: VideoInfo,
        span: Span,
        stats: DecodeStats,
        *,
        is_exact: bool,
        salvage: bool,
    ) -> None:
        self.stats = stats
        self._uri, self._span, self._format = uri, span, info.video.pixel_format
        self._is_exact, self._salvage = is_exact, salvage
        self._planned = deque(span.pts)
        self._is_inside = span.begin_pts is None

    def damage(self, pts: int | None) -> None:
        """Take note of a packet or frame that failed, shown at ``pts`` if known."""
        is_own = self._is_inside if pts is None else self._span.owns(pts)
        if is_own or not self._is_exact:
            self._fault("damaged data", pts)
            self.stats.num_damaged_packets += 1

    def suspicion(self, pts: int | None) -> None:
        """Leave no short cut past a packet that may be damaged: HEVC conceals without a word."""
        if not self._is_exact:
            self._fault("a packet that may be damaged", pts)

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

    def note_joint(self, frame: av.VideoFrame, pts: int) -> None:
        """Keep the checksums at the span's borders; neighbours must agree on them."""
        stop = self._span.stop_pts
        if frame.format.name != self._format:
            return  # a change of format ends the decode with an error of its own
        if self.stats.first_crc is None and self._span.owns(pts):
            self.stats.first_crc = (pts, frame_crc(to_planar(frame)))
        elif self.stats.after_crc is None and stop is not None and pts >= stop:
            self.stats.after_crc = (pts, frame_crc(to_planar(frame)))

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
    """Keep the frames shown in ``[begin_pts, end_pts)``."""
    for frame in _in_order(frames, judge):
        pts = frame.pts
        assert pts is not None
        if span.begin_pts is not None and pts < span.begin_pts:
            continue
        judge.note_joint(frame, pts)
        if span.end_pts is not None and pts >= span.end_pts:
            return
        judge.arrived(pts)
        yield frame


def _in_order(frames: Iterator[av.VideoFrame], judge: _Judge) -> Iterator[av.VideoFrame]:
    """Keep frames whose PTS rise, each a frame late: of two that fall, the one that leapt goes."""
    last_pts: int | None = None
    waiting: av.VideoFrame | None = None
    for frame in frames:
        judge.stats.num_decoded += 1
        pts, before = frame.pts, None if waiting is None else waiting.pts
        if pts is None or (last_pts is not None and pts < last_pts):
            judge.damage(pts)
        elif pts in (last_pts, before):
            continue  # two packets share a PTS: the first is shown
        else:
            if before is not None and pts < before:
                judge.damage(before)
            elif waiting is not None:
                last_pts = before
                yield waiting
            waiting = frame
    if waiting is not None:
        yield waiting


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
                judge.note_joint(frame, span.end_pts)
                return
            judge.damage(None)
            continue
        pts = span.pts[number - first]
        frame.pts = pts
        judge.note_joint(frame, pts)
        judge.arrived(pts)
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
