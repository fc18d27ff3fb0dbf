"""What a source's flags and pictures say of its fields, from short runs of frames.

Runs start at key frames spread over the video, so that a frame costs no run-up; a source that
cannot be entered in the middle is judged by its beginning.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vgen.errors import DecodeError
from vgen.media.combing import Lines, Verdict, has_pulldown, judge_fields, picture_lines
from vgen.media.facts import VideoInfo
from vgen.media.packets import read_packets
from vgen.media.pixels import to_planar
from vgen.media.reader import decoded_frames
from vgen.media.source import open_source, translated
from vgen.media.streams import read_only
from vgen.media.tags import FieldOrder, field_order
from vgen.media.timeline import Timeline

NUM_RUNS = 5
"""Places that are looked at."""
RUN_FRAMES = 11
"""Frames of each: two cycles of telecine and the frame before."""
MAX_LINES = 1152
"""No interlaced system has more lines; larger pictures are looked at only if flagged."""


@dataclass(slots=True, kw_only=True)
class FieldEvidence:
    """Frames counted by what is said of their fields."""

    flagged: Counter[FieldOrder] = field(default_factory=Counter)
    """By their flags."""
    seen: Counter[Verdict] = field(default_factory=Counter)
    """By their pixels."""
    num_pulldown_runs: int = 0
    """Runs in which fields repeat as 3:2 pulldown does."""
    num_moving_runs: int = 0
    """Runs in which at least one frame could be judged by its pixels."""


def survey_fields(
    uri: str, info: VideoInfo, timeline: Timeline, *, open_path: str | None = None
) -> FieldEvidence:
    """Decode a few dozen frames and judge them.

    Args:
        uri: The source.
        info: As probed.
        timeline: Its frames; says where runs can start.
        open_path: A local copy to read instead.

    Raises:
        ProbeError: it cannot be opened any more.
    """
    evidence = FieldEvidence()
    video = info.video
    if video.field_order not in ("tff", "bff") and video.height > MAX_LINES:
        return evidence
    starts = _starts(timeline)
    with open_source(uri, open_path=open_path) as container:
        stream = next(s for s in container.streams.video if s.index == video.index)
        read_only(container, stream)
        stream.thread_count = 1
        num_frames = NUM_RUNS * RUN_FRAMES // len(starts)
        for start_pts in starts:
            _judge_run(_run(container, stream, start_pts, num_frames, uri), info, evidence)
    return evidence


def _starts(timeline: Timeline) -> tuple[int | None, ...]:
    """Return the PTS of key frames spread over the video; None stands for its beginning."""
    if timeline.access != "seek":
        return (None,)
    targets = ((2 * n + 1) * len(timeline) // (2 * NUM_RUNS) for n in range(NUM_RUNS))
    frames = dict.fromkeys(map(timeline.keyframe_at_or_before, targets))
    return tuple(timeline.pts[frame] if frame else None for frame in frames)


def _run(
    container: InputContainer,
    stream: VideoStream,
    start_pts: int | None,
    num_frames: int,
    uri: str,
) -> Iterator[av.VideoFrame]:
    try:
        if start_pts is not None:
            with translated(uri, DecodeError):
                container.seek(start_pts, stream=stream, backward=True)
    except DecodeError:
        return  # the span that owns the place will say what is wrong with it
    packets = read_packets(container, (stream,), uri=uri)
    frames = decoded_frames(packets, stream, lambda _pts: None)
    yield from islice((frame for frame in frames if not frame.is_corrupt), num_frames)


def _judge_run(frames: Iterator[av.VideoFrame], info: VideoInfo, evidence: FieldEvidence) -> None:
    video = info.video
    run: list[Lines] = []
    verdicts: Counter[Verdict] = Counter()
    for frame in frames:
        if (frame.width, frame.height, frame.format.name) != (
            video.width, video.height, video.pixel_format,
        ):  # fmt: skip
            break  # decoding the span says so
        frame.time_base = video.time_base  # absent where the decoder was flushed
        evidence.flagged[field_order(frame)] += 1
        run.append(picture_lines(to_planar(frame)))
        if len(run) > 2:
            verdicts[judge_fields(*run[-3:])] += 1
    evidence.seen += verdicts
    if verdicts.total() == verdicts["unclear"]:
        return
    evidence.num_moving_runs += 1
    starts = range(0, len(run) - RUN_FRAMES + 1, RUN_FRAMES)
    evidence.num_pulldown_runs += any(has_pulldown(run[at : at + RUN_FRAMES]) for at in starts)
