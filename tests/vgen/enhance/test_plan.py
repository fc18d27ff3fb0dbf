"""Spans cover a timeline once, within bounds, whatever it looks like."""

import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgen.enhance.plan import MAX_DECODES, MAX_FRAMES, MIN_FRAMES, plan_spans
from vgen.media.timeline import Timeline


def timeline_of(num_frames, keyframes=(0,), access="seek", steps=(1,)):
    pts, at = [], -7
    for frame in range(num_frames):
        pts.append(at)
        at += steps[frame % len(steps)]
    return Timeline(
        pts=tuple(pts),
        keyframes=tuple(keyframes),
        time_base=Fraction(1, 90_000),
        access=access,
        last_duration=1,
    )


@st.composite
def timelines(draw):
    num_frames = draw(st.integers(1, 5000))
    picked = draw(st.sets(st.integers(0, num_frames - 1), max_size=60))
    return timeline_of(
        num_frames,
        keyframes=sorted(picked | {0}),
        access=draw(st.sampled_from(["seek", "sequential", "ordinal"])),
        steps=draw(st.lists(st.integers(1, 9), min_size=1, max_size=5)),
    )


contexts = st.integers(0, 9)
bounds = st.none() | st.integers(1, 900)


@given(timelines(), contexts, contexts, bounds)
def test_spans_cover_every_frame_once_in_order(timeline, lead, tail, most):
    spans = plan_spans(timeline, lead=lead, tail=tail, max_frames=most)
    frames = [frame for span in spans for frame in range(span.start, span.stop)]
    assert frames == list(range(len(timeline)))


@given(timelines(), contexts)
def test_all_frames_can_be_asked_for_in_one_span(timeline, lead):
    (span,) = plan_spans(timeline, lead=lead, tail=lead, max_frames=None, is_whole=True)
    assert (span.start, span.stop, span.lead, span.tail) == (0, len(timeline), 0, 0)
    assert (span.begin_pts, span.end_pts) == (None, None)


@given(timelines(), contexts, contexts, bounds)
def test_a_span_owns_exactly_its_frames_by_pts(timeline, lead, tail, most):
    for span in plan_spans(timeline, lead=lead, tail=tail, max_frames=most):
        # Ownership is an interval, so its ends and their outer neighbours tell all of it.
        near = {span.start - 1, span.start, span.stop - 1, span.stop, 0, len(timeline) - 1}
        for frame in near & set(range(len(timeline))):
            assert span.owns(timeline.pts[frame]) == (span.start <= frame < span.stop)


@given(timelines(), contexts, contexts, bounds)
def test_context_is_clipped_at_the_ends_only(timeline, lead, tail, most):
    end = len(timeline)
    for span in plan_spans(timeline, lead=lead, tail=tail, max_frames=most):
        begin, finish = max(span.start - lead, 0), min(span.stop + tail, end)
        assert (span.start - span.lead, span.stop + span.tail) == (begin, finish)
        assert span.pts == timeline.pts[begin:finish]
        assert span.begin_pts == (None if begin == 0 else timeline.pts[begin])
        assert span.end_pts == (None if finish == end else timeline.pts[finish])


@given(timelines(), bounds)
def test_no_span_exceeds_its_bound(timeline, most):
    sizes = sizes_of(plan_spans(timeline, lead=1, tail=1, max_frames=most))
    if most is not None:
        assert max(sizes) <= most
    if timeline.access == "seek":
        assert max(sizes) <= MAX_FRAMES


@given(timelines(), bounds)
def test_there_is_no_sliver(timeline, most):
    sizes = sizes_of(plan_spans(timeline, lead=0, tail=0, max_frames=most))
    least = min(MIN_FRAMES, most or MIN_FRAMES)
    assert len(sizes) == 1 or 2 * min(sizes) >= least


@given(timelines())
def test_a_source_without_entry_points_is_decoded_a_few_times_only(timeline):
    spans = plan_spans(timeline, lead=1, tail=1, max_frames=None)
    assert timeline.access == "seek" or len(spans) <= MAX_DECODES


@given(timelines(), contexts, contexts)
def test_sizes_do_not_depend_on_context(timeline, lead, tail):
    bare = plan_spans(timeline, lead=0, tail=0, max_frames=None)
    wide = plan_spans(timeline, lead=lead, tail=tail, max_frames=None)
    assert [(s.start, s.stop) for s in bare] == [(s.start, s.stop) for s in wide]


def test_spans_shrink_towards_the_end():
    sizes = sizes_of(plan_spans(timeline_of(3600), lead=1, tail=1, max_frames=None))
    assert sizes[0] == 600
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= 2 * MIN_FRAMES


def test_spans_stop_on_keyframes_where_that_keeps_half_of_them():
    timeline = timeline_of(4000, keyframes=range(0, 4000, 250))
    spans = plan_spans(timeline, lead=1, tail=1, max_frames=None)
    assert spans[0].stop == 500
    assert spans[1].stop == 1000


def test_a_keyframe_that_would_halve_a_span_is_passed_by():
    timeline = timeline_of(4000, keyframes=(0, 200))
    assert plan_spans(timeline, lead=1, tail=1, max_frames=None)[0].stop == 600


def test_an_explicit_bound_wins_over_few_decodes():
    spans = plan_spans(timeline_of(100, access="ordinal"), lead=0, tail=0, max_frames=5)
    assert sizes_of(spans) == [5] * 20


def test_a_rest_too_small_for_a_span_is_shared_where_it_cannot_be_taken():
    spans = plan_spans(timeline_of(21), lead=0, tail=0, max_frames=10)
    assert sizes_of(spans) == [10, 6, 5]


def test_a_bound_below_one_is_refused():
    with pytest.raises(ValueError, match="max_frames=0 must be at least 1"):
        plan_spans(timeline_of(5), lead=0, tail=0, max_frames=0)


def test_planning_needs_no_torch():
    code = "import sys, vgen.enhance.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def sizes_of(spans):
    return [span.stop - span.start for span in spans]
