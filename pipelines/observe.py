"""What is measured of a video, stretch by stretch or at its keyframes, from small pictures.

Figures are of single frames or of two neighbours, so they do not depend on where stretches are cut.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from pipelines.jobs import VideoJob
from pipelines.span import SpanRun, decoded
from vgen.enhance.coding import Coding
from vgen.enhance.shots import Thumbnail, is_cut, thumbnail
from vgen.enhance.small import luma_levels, small_rgb
from vgen.errors import DecodeError
from vgen.media.decode import DecodeStats, NeedsSequential
from vgen.media.packets import AnyPacket
from vgen.media.pixels import planar_format, planes_of, to_planar
from vgen.media.reader import FrameReader
from vgen.post.fit import shown_aspect
from vgen.post.stats import FrameStats, Observer, measure_picture
from vgen.post_options import Needs
from vgen.records import Fault, Span

NOISE_STRIDE = 12
"""Noise is measured in one frame of so many, and where shots start: a shot has one level."""

ALIKE_LUMA, ALIKE_MEAN, ALIKE_LIGHT = 0.06, 0.03, 0.03
"""Differences of luma's percentiles, of mean luma and colour, and of the light's colour up to which
two keyframes are corrected as one, whether there is a cut between them or not. Beyond them the
frames between are searched, which costs time and changes nothing where there is no cut."""

CUT_SHARE, CUT_EXCESS = 0.3, 3.0
"""A frame that starts a shot is coded nearly afresh. So there is none among packets of which each
is smaller than this share of a usual keyframe's, and no larger than this many times nine tenths of
all packets between keyframes."""

LEAST_DISTANCE_S = Fraction(1, 2)
"""Keyframes that are nearer are passed over where every frame is one."""


@dataclass(slots=True, kw_only=True)
class Observed:
    """What was measured of one stretch."""

    stats: list[FrameStats] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    """Numbers of the frames that start a shot."""
    cpu_seconds: float = 0.0
    fault: Fault | None = None


def stretch_of(spans: Sequence[Span], number: int) -> Span:
    """Return the span at ``number`` with one frame of context before it and none after."""
    span = spans[number]
    own = _own(span)
    before: tuple[int, ...] = (_own(spans[number - 1])[-1],) if number else ()
    return Span(
        start=span.start,
        stop=span.stop,
        lead=len(before),
        begin_pts=before[0] if span.start > 1 else None,
        start_pts=span.start_pts,
        stop_pts=span.stop_pts,
        end_pts=span.stop_pts,
        pts=before + own,
    )


def measure_stretch(run: SpanRun, needs: Needs, *, only_cuts: bool = False) -> Observed:
    """Measure the frames that a stretch owns; those that no packet announced are passed over.

    A stretch that turns out to be damaged is done again from the source's first packet.

    Args:
        run: Of the stretch.
        needs: What is measured.
        only_cuts: Look for cuts, which costs little, and measure only the frames that start shots.
    """
    try:
        return _measured(run, needs, only_cuts=only_cuts)
    except NeedsSequential:
        again = replace(run, is_from_start=True, stats=DecodeStats())
        return _measured(again, needs, only_cuts=only_cuts)


def _measured(run: SpanRun, needs: Needs, *, only_cuts: bool) -> Observed:
    video, span, observed = run.job.info.video, run.span, Observed()
    coding = Coding.of(planar_format(video.planar_format), video.color)
    observer = Observer(
        with_motion=needs.motion, with_light=needs.light, aspect=shown_aspect(video)
    )
    previous: Thumbnail | None = None
    for frame in decoded(run):
        assert frame.pts is not None
        at = bisect_left(span.pts, frame.pts)
        if span.pts[at : at + 1] != (frame.pts,):
            continue
        number, planes = span.start - span.lead + at, planes_of(frame)
        current = thumbnail(planes[0], coding.format.bit_depth)
        starts_shot = previous is not None and is_cut(previous, current)
        previous = current
        if only_cuts and not starts_shot:
            continue
        luma_hw, gain = None, 1.0
        if needs.noise and (number % NOISE_STRIDE == 0 or starts_shot):
            luma_hw, gain = luma_levels(planes, coding)
        row = observer.see(
            number,
            small_rgb(planes, coding, uri=run.job.ref.uri),
            luma_hw=luma_hw,
            luma_gain=gain,
            starts_shot=starts_shot,
        )
        if span.owns(frame.pts):
            observed.stats.append(row)
            observed.cuts += [number] * starts_shot
    return observed


def is_seen_in_keyframes(job: VideoJob, needs: Needs) -> bool:
    """Whether looking at a video's keyframes is enough, and they can be told from the rest."""
    return not needs.every_frame and job.info.access == "seek" and job.fields is None


def measure_keyframes(run: SpanRun, spans: Sequence[Span]) -> Observed:
    """Measure a whole video at its keyframes, and find the frames at which shots start.

    Encoders start a new group of frames at a cut, or do not care and keep to their rhythm. So where
    two keyframes differ, the second starts the shot if it came out of turn; otherwise the frames
    between are decoded and looked at one by one. Where only places differ and light and colours are
    alike, as where a camera moves, one correction serves both, and no shot is told. What follows
    the last keyframe is decoded unless its packets are too small for a cut.

    Args:
        run: Of any span of the video; its own one does not matter.
        spans: All spans of the video.
    """
    pts = tuple(moment for span in spans for moment in _own(span))
    observed, keys, sizes = Observed(), list[tuple[FrameStats, Thumbnail]](), _Sizes()
    for row, small in _keyframes(run, pts, sizes):
        observed.stats.append(row)
        keys.append((row, small))
    rhythm = _rhythm([row.frame for row, _ in keys])
    for (before, small), (after, following) in pairwise(keys):
        if not is_cut(small, following) or _are_alike(before, after):
            continue
        if after.frame - before.frame < rhythm:
            observed.cuts.append(after.frame)
        else:
            _search(run, _between(pts, before.frame, after.frame + 1), observed)
    if keys and not sizes.rule_out_cuts(pts[keys[-1][0].frame + 1 :]):
        _search(run, _between(pts, keys[-1][0].frame, len(pts)), observed)
    observed.stats.sort(key=lambda row: row.frame)
    return observed


def _are_alike(before: FrameStats, after: FrameStats) -> bool:
    """Whether one correction serves both, whatever else is in the pictures."""
    pairs = [
        (before.luma, after.luma, ALIKE_LUMA),
        (before.mean_ycc, after.mean_ycc, ALIKE_MEAN),
    ]
    if before.illuminant is not None and after.illuminant is not None:
        pairs.append((before.illuminant, after.illuminant, ALIKE_LIGHT))
    elif before.illuminant is not after.illuminant:
        return False
    return all(
        abs(a - b) <= most for left, right, most in pairs for a, b in zip(left, right, strict=True)
    )


class _Sizes:
    """What the packets of a video weigh, in bytes."""

    def __init__(self) -> None:
        self._keys: list[int] = []
        self._others: dict[int, int] = {}

    def add(self, packet: AnyPacket) -> None:
        """Take note of a packet."""
        if packet.is_keyframe:
            self._keys.append(packet.size)
        elif packet.pts is not None:
            self._others[packet.pts] = packet.size

    def rule_out_cuts(self, pts: tuple[int, ...]) -> bool:
        """Whether no frame of ``pts`` can start a shot, by what they weigh."""
        found = [self._others.get(moment) for moment in pts]
        if not pts:
            return True
        if None in found or not self._keys:
            return False
        most = min(
            CUT_SHARE * np.median(self._keys),
            CUT_EXCESS * np.quantile(list(self._others.values()), 0.9),
        )
        return bool(max(size for size in found if size is not None) < most)


def _keyframes(
    run: SpanRun, pts: tuple[int, ...], sizes: _Sizes
) -> Iterator[tuple[FrameStats, Thumbnail]]:
    video, uri = run.job.info.video, run.job.ref.uri
    coding = Coding.of(planar_format(video.planar_format), video.color)
    reader = FrameReader(
        uri=uri,
        info=run.job.info,
        threads=run.threads,
        path=run.source_path,
        # Judged by the spans that own them; here a frame more or less does not matter.
        on_damage=_ignored,
        on_suspicion=_ignored,
    )
    distance = round(LEAST_DISTANCE_S / video.time_base)
    for frame in reader.keyframes(distance, on_packet=sizes.add):
        assert frame.pts is not None
        if time.monotonic() > run.deadline:
            raise DecodeError("took longer than limits.seconds_per_file", uri=uri, pts=frame.pts)
        at = bisect_left(pts, frame.pts)
        layout = (frame.width, frame.height, frame.format.name)
        is_planned = pts[at : at + 1] == (frame.pts,)
        if not is_planned or layout != (video.width, video.height, video.pixel_format):
            continue
        planar = to_planar(frame)
        planes = planes_of(planar)
        row = replace(measure_picture(small_rgb(planes, coding, uri=uri)), frame=at)
        yield row, thumbnail(planes[0], coding.format.bit_depth)


def _search(run: SpanRun, span: Span, observed: Observed) -> None:
    """Add the cuts of a stretch, and what the frames that start its shots look like."""
    found = measure_stretch(
        replace(run, span=span, stats=DecodeStats()), run.recipe.post.needs, only_cuts=True
    )
    observed.cuts += found.cuts
    observed.stats += found.stats


def _between(pts: tuple[int, ...], number: int, stop: int) -> Span:
    """Return the frames after ``number`` up to ``stop``, with the one before them."""
    end = pts[stop] if stop < len(pts) else None
    return Span(
        start=number + 1,
        stop=stop,
        lead=1,
        begin_pts=pts[number] if number else None,
        start_pts=pts[number + 1],
        stop_pts=end,
        end_pts=end,
        pts=pts[number:stop],
    )


def _rhythm(numbers: Sequence[int]) -> int:
    """Return how many frames apart most keyframes are; the most of those that are as common."""
    apart = Counter(b - a for a, b in pairwise(numbers))
    return max(apart, key=lambda distance: (apart[distance], distance), default=0)


def _own(span: Span) -> tuple[int, ...]:
    return span.pts[span.lead : len(span.pts) - span.tail]


def _ignored(pts: int | None) -> None:
    """Take no note."""
