"""Make whole frames of the fields of interlaced ones, with FFmpeg's bwdif.

bwdif (T. Mundt, after the BBC's w3fdif and M. Niedermayer's yadif) interpolates the lines of one
field from the frame and its two neighbours. Which frames it replaces is decided frame by frame,
from pixels and flags within ``fields.CONTEXT`` frames, so that it does not depend on where a video
is cut into spans; frames that are whole pass untouched.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from fractions import Fraction

import av
import av.error
from av.filter import Graph

from vgen.media.combing import Lines, Verdict, judge_fields, picture_lines
from vgen.media.decode import DecodeStats, decode_span
from vgen.media.facts import VideoInfo, VideoStream
from vgen.media.fields import CONTEXT, FieldPlan, Order, as_decoded, decoded_span
from vgen.media.pixels import frame_from_planes, planes_of
from vgen.media.tags import FieldOrder, field_order
from vgen.records import Span

_REACH = CONTEXT - 1  # frames on each side whose verdicts count
_NEAR = 2  # the same in a video that is mostly whole, so that no woven frame at a border stays
_UNSPECIFIED = (2, 0)  # FFmpeg's matrix and range, as the graphs are told


class FlaggedOrders:
    """What the flags of frames say, kept from the decoder to where it is asked for, once."""

    def __init__(self) -> None:
        """Know of no frame."""
        self._orders: dict[int, FieldOrder] = {}

    def note(self, frame: av.VideoFrame) -> None:
        """Take note of a frame as the decoder made it; its copies carry no flags."""
        assert frame.pts is not None
        self._orders[frame.pts] = field_order(frame)

    def take(self, pts: int) -> FieldOrder:
        """Return what was said of the frame shown at ``pts``, and forget it."""
        return self._orders.pop(pts)


def decode_pictures(
    uri: str,
    info: VideoInfo,
    span: Span,
    *,
    plan: FieldPlan | None,
    last_duration: int,
    threads: int,
    salvage: bool,
    stats: DecodeStats,
    open_path: str | None = None,
    from_start: bool = False,
) -> Iterator[av.VideoFrame]:
    """Do what ``decode_span`` does, and make whole frames of fields as ``plan`` says.

    Args:
        uri: The source.
        info: As ``presented``.
        span: In output frames, as ``presented_span``.
        plan: The video's field plan; None to leave its frames as they are.
        last_duration: Ticks that the video's last frame is shown.
        threads, salvage, stats, open_path, from_start: As in ``decode_span``; what is counted are
            source frames.

    Raises:
        MediaError: as ``decode_span``.
    """
    flags: FlaggedOrders | None = None
    if plan is not None:
        info, span, flags = as_decoded(info, plan), decoded_span(span, plan), FlaggedOrders()
    frames = decode_span(
        uri,
        info,
        span,
        threads=threads,
        salvage=salvage,
        stats=stats,
        open_path=open_path,
        from_start=from_start,
        witness=flags.note if flags else None,
    )
    with closing(frames):
        if plan is None or flags is None:
            yield from frames
        else:
            yield from deinterlaced(
                frames, plan, span, video=info.video, flags=flags, last_duration=last_duration
            )


def deinterlaced(
    frames: Iterator[av.VideoFrame],
    plan: FieldPlan,
    span: Span,
    *,
    video: VideoStream,
    flags: FlaggedOrders,
    last_duration: int,
) -> Iterator[av.VideoFrame]:
    """Yield whole frames, those of the video deinterlaced in one go, whatever the span.

    At frame rate each has its source's PTS. At field rate there are two for each source frame, in
    ticks of half the length: at its PTS, and half way to the next frame's; of a frame that is
    whole, the second is a copy. About twenty frames are held.

    Args:
        frames: All frames of ``span``, planar, in order, with rising PTS.
        plan: The video's field plan.
        span: What was decoded, in source frames and ticks. ``CONTEXT`` frames of its lead and tail
            are used up, except where the video begins and ends.
        video: What the frames are; its time base is the source's.
        flags: Has noted each of the frames.
        last_duration: Ticks that the video's last frame is shown.

    Raises:
        ValueError: the span has less context.
    """
    lacks = (span.begin_pts is not None and span.lead < CONTEXT) or (
        span.end_pts is not None and span.tail < CONTEXT
    )
    if lacks:
        raise ValueError(f"{span.lead=} and {span.tail=} must be {CONTEXT} source frames")
    begin_pts = None if span.begin_pts is None else span.pts[CONTEXT]
    end_pts = None if span.end_pts is None else span.pts[-CONTEXT]
    time_base = video.time_base / plan.pictures
    decided = _decided(_judged(frames), plan, flags)
    held: tuple[int, list[av.VideoFrame]] | None = None
    for frame, pictures in _filtered(decided, video, plan):
        assert frame.pts is not None
        if held is not None:
            yield from _stamped(*held, frame.pts, time_base)
        is_early = begin_pts is not None and frame.pts < begin_pts
        is_late = end_pts is not None and frame.pts >= end_pts
        held = None if is_early or is_late else (frame.pts, pictures)
    if held is not None:
        yield from _stamped(*held, held[0] + last_duration, time_base)


def _stamped(
    pts: int, pictures: list[av.VideoFrame], next_pts: int, time_base: Fraction
) -> Iterator[av.VideoFrame]:
    moments = (pts,) if len(pictures) == 1 else (2 * pts, pts + next_pts)
    for picture, moment in zip(pictures, moments, strict=True):
        picture.pts, picture.time_base = moment, time_base
        yield picture


def _judged(frames: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, Verdict]]:
    """Yield frames with what their pixels say, each when the next is there."""
    earlier: Lines | None = None
    held: tuple[av.VideoFrame, Lines] | None = None
    for frame in frames:
        lines = picture_lines(frame)
        if held is not None:
            yield held[0], judge_fields(earlier, held[1], lines)
            earlier = held[1]
        held = (frame, lines)
    if held is not None:
        yield held[0], judge_fields(earlier, held[1], None)


def _decided(
    judged: Iterator[tuple[av.VideoFrame, Verdict]], plan: FieldPlan, flags: FlaggedOrders
) -> Iterator[tuple[av.VideoFrame, Order | None]]:
    """Yield frames with the order of their fields, None for those to leave as they are."""
    waiting: deque[av.VideoFrame] = deque()
    verdicts: deque[Verdict] = deque(maxlen=2 * _REACH + 1)

    def decide() -> tuple[av.VideoFrame, Order | None]:
        at = len(verdicts) - len(waiting)
        frame = waiting.popleft()
        assert frame.pts is not None
        return frame, _order(flags.take(frame.pts), list(verdicts), at, plan)

    for frame, verdict in judged:
        waiting.append(frame)
        verdicts.append(verdict)
        if len(waiting) > _REACH:
            yield decide()
    while waiting:
        while len(verdicts) > _REACH + len(waiting):
            verdicts.popleft()
        yield decide()


def _order(
    flagged: FieldOrder, verdicts: Sequence[Verdict], at: int, plan: FieldPlan
) -> Order | None:
    """Decide about the frame of ``verdicts[at]`` from its flag and what is seen around it.

    A single verdict errs where motion is slow or uneven. So a frame that is taken for interlaced
    is left whole only within a passage of whole frames.
    """
    expects_fields = flagged != "progressive" if plan.trusts_flags else plan.takes_unclear
    if expects_fields:
        num_whole = verdicts.count("progressive")
        is_interlaced = _shows_fields(verdicts) or 2 * num_whole <= len(verdicts)
    else:
        is_single = plan.trusts_flags or plan.has_pulldown
        reach = 0 if is_single else _NEAR
        is_interlaced = _shows_fields(verdicts[max(0, at - reach) : at + reach + 1])
    if not is_interlaced:
        return None
    return flagged if plan.trusts_flags and flagged != "progressive" else plan.order


def _shows_fields(verdicts: Sequence[Verdict]) -> bool:
    return "tff" in verdicts or "bff" in verdicts


def _filtered(
    decided: Iterator[tuple[av.VideoFrame, Order | None]], video: VideoStream, plan: FieldPlan
) -> Iterator[tuple[av.VideoFrame, list[av.VideoFrame]]]:
    """Yield each frame with the pictures that take its place."""
    bwdif = _Bwdif(video, plan)
    waiting: deque[tuple[av.VideoFrame, Order | None]] = deque()
    made: deque[av.VideoFrame] = deque()

    def ready() -> Iterator[tuple[av.VideoFrame, list[av.VideoFrame]]]:
        while len(made) >= plan.pictures:
            frame, order = waiting.popleft()
            pictures = [made.popleft() for _ in range(plan.pictures)]
            if order is None:
                pictures = [frame, *(_copy(frame) for _ in pictures[1:])]
            for picture in pictures:
                picture.colorspace, picture.color_range = frame.colorspace, frame.color_range
            yield frame, pictures

    for frame, order in decided:
        waiting.append((frame, order))
        made += bwdif.push(frame, order or plan.order)
        yield from ready()
    made += bwdif.finish()
    yield from ready()
    assert not waiting, "bwdif answers every frame"


def _copy(frame: av.VideoFrame) -> av.VideoFrame:
    return frame_from_planes(planes_of(frame), frame.format.name, frame.pts, frame.time_base)


class _Bwdif:
    """The filter with its state; what it yields lags one frame behind what it is given."""

    def __init__(self, video: VideoStream, plan: FieldPlan) -> None:
        self._marks = {order: _graph(video, ("setfield", order)) for order in ("tff", "bff")}
        mode = "send_field" if plan.rate == "field" else "send_frame"
        # It answers every frame: skipping those flagged progressive would leave the state of
        # its first frame, and so the picture, to where a span begins.
        self._graph = _graph(video, ("bwdif", f"mode={mode}:parity=auto:deint=all"))

    def push(self, frame: av.VideoFrame, order: Order) -> list[av.VideoFrame]:
        """Give it a frame, which stays as it is; return the pictures that are ready."""
        tags = frame.colorspace, frame.color_range
        frame.colorspace, frame.color_range = _UNSPECIFIED
        mark = self._marks[order]
        mark.vpush(frame)
        self._graph.vpush(mark.vpull())
        frame.colorspace, frame.color_range = tags
        return self._pulled()

    def finish(self) -> list[av.VideoFrame]:
        """Return the last pictures."""
        self._graph.vpush(None)
        return self._pulled()

    def _pulled(self) -> list[av.VideoFrame]:
        pictures = []
        while True:
            try:
                pictures.append(self._graph.vpull())
            except (av.error.BlockingIOError, av.error.EOFError):
                return pictures


def _graph(video: VideoStream, filter_and_arguments: tuple[str, str]) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=video.width,
        height=video.height,
        format=av.VideoFormat(video.planar_format),
        time_base=video.time_base,
    )
    graph.link_nodes(source, graph.add(*filter_and_arguments), graph.add("buffersink")).configure()
    return graph
