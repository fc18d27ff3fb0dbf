"""Cut a timeline into spans, the slow obvious way."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from vgen.media.timeline import Timeline
from vgen.records import Span, VideoRef


def ref_of(path: Path) -> VideoRef:
    """List one local file."""
    size_bytes = path.stat().st_size
    return VideoRef(uri=str(path), relative_path=path.name, etag="test", size_bytes=size_bytes)


def spans_at(
    timeline: Timeline, cuts: Iterable[int], *, lead: int = 0, tail: int = 0
) -> list[Span]:
    """Cut before the frames ``cuts``; context reaches at most ``lead`` and ``tail`` frames."""
    num_frames, pts = len(timeline), timeline.pts
    borders = [0, *sorted({cut for cut in cuts if 0 < cut < num_frames}), num_frames]
    spans = []
    for start, stop in pairwise(borders):
        begin, end = max(0, start - lead), min(num_frames, stop + tail)
        spans.append(
            Span(
                start=start,
                stop=stop,
                lead=start - begin,
                tail=end - stop,
                begin_pts=pts[begin] if begin > 0 else None,
                start_pts=pts[start] if start > 0 else None,
                stop_pts=pts[stop] if stop < num_frames else None,
                end_pts=pts[end] if end < num_frames else None,
                pts=pts[begin:end],
            )
        )
    return spans


def whole(timeline: Timeline) -> Span:
    """Return the span of all frames."""
    return spans_at(timeline, ())[0]
