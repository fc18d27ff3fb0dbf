"""Make whole frames of the fields of interlaced ones, with FFmpeg's bwdif.

Which frames it replaces is decided frame by frame, from pixels and flags within ``fields.CONTEXT``
frames, so that it does not depend on where a video is cut into spans; whole frames pass untouched.
Frames that 3:2 pulldown wove of two film frames are not interpolated: the first field is joined
with the second field of the frame before, as FFmpeg's fieldmatch filter does.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

import av

from vgen.media.bwdif import Bwdif
from vgen.media.combing import Lines, Verdict, follows_film, judge_fields, picture_lines
from vgen.media.decode import DecodeStats, decode_span
from vgen.media.facts import VideoInfo, VideoStream
from vgen.media.fields import CONTEXT, FieldPlan, Order, as_decoded, decoded_span
from vgen.media.pixels import frame_from_planes, planes_of
from vgen.media.tags import FieldOrder, field_order
from vgen.records import Span

_REACH = CONTEXT - 1  # frames on each side whose verdicts count
_NEAR = 2  # the same in a video that is mostly whole, so that no woven frame at a border stays


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
    decided = _decided(_judged(frames, plan), plan, flags)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    frame: av.VideoFrame
    verdict: Verdict
    follows: bool
    """Its first field belongs with the second field of the frame before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    frame: av.VideoFrame
    order: Order | None
    """Of its fields; None for a frame to leave as it is."""
    follows: bool


def _judged(frames: Iterator[av.VideoFrame], plan: FieldPlan) -> Iterator[_Judged]:
    """Yield frames with what their pixels say, each when the next is there."""
    earlier: Lines | None = None
    held: tuple[av.VideoFrame, Lines] | None = None
    for frame in frames:
        lines = picture_lines(frame)
        if held is not None:
            yield _judge(*held, earlier, lines, plan)
            earlier = held[1]
        held = (frame, lines)
    if held is not None:
        yield _judge(*held, earlier, None, plan)


def _judge(
    frame: av.VideoFrame, lines: Lines, before: Lines | None, after: Lines | None, plan: FieldPlan
) -> _Judged:
    return _Judged(
        frame=frame,
        verdict=judge_fields(before, lines, after),
        follows=plan.has_pulldown and follows_film(before, lines, plan.order),
    )


def _decided(
    judged: Iterator[_Judged], plan: FieldPlan, flags: FlaggedOrders
) -> Iterator[_Decided]:
    """Yield frames with what is to be done with them."""
    waiting: deque[_Judged] = deque()
    verdicts: deque[Verdict] = deque(maxlen=2 * _REACH + 1)

    def decide() -> _Decided:
        at = len(verdicts) - len(waiting)
        one = waiting.popleft()
        assert one.frame.pts is not None
        order = _order(flags.take(one.frame.pts), list(verdicts), at, plan)
        return _Decided(frame=one.frame, order=order, follows=one.follows)

    for one in judged:
        waiting.append(one)
        verdicts.append(one.verdict)
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
    decided: Iterator[_Decided], video: VideoStream, plan: FieldPlan
) -> Iterator[tuple[av.VideoFrame, list[av.VideoFrame]]]:
    """Yield each frame with the pictures that take its place."""
    bwdif = Bwdif(video, plan)
    waiting: deque[_Decided] = deque()
    made: deque[av.VideoFrame] = deque()
    before: av.VideoFrame | None = None

    def ready() -> Iterator[tuple[av.VideoFrame, list[av.VideoFrame]]]:
        nonlocal before
        while len(made) >= plan.pictures:
            one = waiting.popleft()
            pictures = [made.popleft() for _ in range(plan.pictures)]
            whole = one.frame if one.order is None else None
            if one.order is not None and one.follows and before is not None:
                whole = _joined(one.frame, before, one.order)
            if whole is not None:
                pictures = [whole, *(_copy(whole) for _ in pictures[1:])]
            before = one.frame
            for picture in pictures:
                picture.colorspace = one.frame.colorspace
                picture.color_range = one.frame.color_range
            yield one.frame, pictures

    for one in decided:
        waiting.append(one)
        made += bwdif.push(one.frame, one.order or plan.order)
        yield from ready()
    made += bwdif.finish()
    yield from ready()
    assert not waiting, "bwdif answers every frame"


def _joined(frame: av.VideoFrame, before: av.VideoFrame, order: Order) -> av.VideoFrame:
    """Return the film frame of the first field of ``frame`` and the second of the one before."""
    film = _copy(frame)
    second = slice(1, None, 2) if order == "tff" else slice(0, None, 2)
    for target, source in zip(planes_of(film), planes_of(before), strict=True):
        target[second] = source[second]
    return film


def _copy(frame: av.VideoFrame) -> av.VideoFrame:
    return frame_from_planes(planes_of(frame), frame.format.name, frame.pts, frame.time_base)
