"""Cut a video's timeline into spans: the units that workers take, finish and retry.

Sizes follow guided self-scheduling (Polychronopoulos and Kuck, 1987): a span takes a fixed
share of what is left, so late spans are small and workers finish together. The share does not
depend on the number of workers, and neither then do the chunks.
"""

from bisect import bisect_right

from vgen.media.timeline import Timeline
from vgen.records import Span

SHARE = 6
"""A span takes one part in this many of what is left."""
MIN_FRAMES = 48
"""Below this, starting a span costs more than the tail it shortens."""
MAX_FRAMES = 600
"""Above this, a retry loses too much work."""
MAX_DECODES = 8
"""Spans of a source that cannot be entered in the middle: each decodes from its first packet."""


def plan_spans(
    timeline: Timeline, *, lead: int, tail: int, max_frames: int | None, is_whole: bool = False
) -> tuple[Span, ...]:
    """Cut ``timeline`` into spans that cover every frame exactly once, in order.

    Args:
        timeline: The frames to produce.
        lead: Context frames the network wants before a frame.
        tail: Context frames it wants after one.
        max_frames: Upper bound of frames a span that the user asked for; None if not asked.
        is_whole: Make one span of all, whatever the sizes that are good for workers.

    Returns:
        Spans whose lead and tail are clipped at the video's ends; none for an empty timeline.
    """
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames={max_frames} must be at least 1")
    spans: list[Span] = []
    start = 0
    while start < len(timeline):
        stop = len(timeline) if is_whole else _next_stop(timeline, start, max_frames)
        spans.append(_span(timeline, start, stop, lead=lead, tail=tail))
        start = stop
    return tuple(spans)


def _next_stop(timeline: Timeline, start: int, max_frames: int | None) -> int:
    end = len(timeline)
    target, most = _sizes(timeline, end - start)
    if max_frames is not None:
        target, most = min(target, max_frames), min(most, max_frames)
    if start + target >= end:
        return end
    stop = _snapped(timeline, start, start + target)
    if 2 * (end - stop) >= target:
        return stop
    # What is left would be a sliver, and a span's fixed cost would go into a few frames.
    return end if end - start <= most else start + (end - start + 1) // 2


def _sizes(timeline: Timeline, remaining: int) -> tuple[int, int]:
    """Return the size to aim at and the largest size allowed."""
    if timeline.access == "seek":
        return min(max(_parts(remaining, SHARE), MIN_FRAMES), MAX_FRAMES), MAX_FRAMES
    size = max(_parts(len(timeline), MAX_DECODES), MIN_FRAMES)
    return size, size


def _snapped(timeline: Timeline, start: int, limit: int) -> int:
    """Return the last keyframe up to ``limit``, or ``limit`` if that would halve the span.

    Starting on a keyframe saves decoding half a GOP twice; where nothing can be entered in
    the middle there is nothing to save.
    """
    if timeline.access != "seek":
        return limit
    after = bisect_right(timeline.keyframes, limit)
    keyframe = timeline.keyframes[after - 1] if after else 0
    return keyframe if 2 * (keyframe - start) >= limit - start else limit


def _span(timeline: Timeline, start: int, stop: int, *, lead: int, tail: int) -> Span:
    end, pts = len(timeline), timeline.pts
    begin, finish = max(start - lead, 0), min(stop + tail, end)
    return Span(
        start=start,
        stop=stop,
        lead=start - begin,
        tail=finish - stop,
        begin_pts=pts[begin] if begin else None,
        start_pts=pts[start] if start else None,
        stop_pts=pts[stop] if stop < end else None,
        end_pts=pts[finish] if finish < end else None,
        pts=pts[begin:finish],
    )


def _parts(count: int, parts: int) -> int:
    return -(-count // parts)
