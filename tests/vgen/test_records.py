import inspect
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from vgen import records
from vgen.records import (
    ChunkFacts,
    Fault,
    Record,
    Span,
    Still,
    VideoOutcome,
    VideoRef,
    span_name,
)

RECORDS = [
    one
    for _, one in inspect.getmembers(records, inspect.isclass)
    if issubclass(one, Record) and one is not Record
]


@pytest.mark.parametrize("kind", RECORDS)
def test_every_record_is_frozen_and_closed(kind):
    assert issubclass(kind, BaseModel)
    assert kind.model_config["frozen"]
    assert kind.model_config["extra"] == "forbid"
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.model_validate({"no_such_field": 1})


def test_a_record_cannot_be_changed():
    ref = VideoRef(uri="/a", relative_path="a", etag="1", size_bytes=1)
    with pytest.raises(ValidationError, match="frozen"):
        ref.uri = "/b"


def test_records_come_back_from_json_as_they_were():
    still = Still(pts=1, change=0.5, before_jpeg="YQ==", after_jpeg="Yg==")
    facts = ChunkFacts(
        start=0,
        stop=2,
        frame_pts=(-5, 1 << 40),
        packet_pts=(1 << 40, -5),
        notes=("a\nb",),
        stage_cpu_seconds={"decode": 0.5},
        still=still,
    )
    assert ChunkFacts.model_validate_json(facts.model_dump_json()) == facts
    outcome = VideoOutcome(
        source_uri="/\u00e9",
        output_uri="",
        status="failed",
        error=Fault(stage="probe", kind="ProbeError", message="no video"),
    )
    assert VideoOutcome.model_validate_json(outcome.model_dump_json()) == outcome


def test_a_video_ends_in_one_of_three_ways():
    with pytest.raises(ValidationError, match="'done', 'skipped' or 'failed'"):
        VideoOutcome(source_uri="/a", output_uri="/b", status="copied")


def test_the_report_of_a_video_has_the_fields_of_the_contract():
    outcome = VideoOutcome(source_uri="/a", output_uri="/b", status="done")
    assert set(json.loads(outcome.model_dump_json())) == {
        "source_uri",
        "output_uri",
        "status",
        "frames",
        "duration_s",
        "dropped",
        "notes",
        "error",
    }


@given(
    pts=st.lists(st.integers(-1000, 1000), unique=True, min_size=1, max_size=40).map(sorted),
    cuts=st.lists(st.integers(1, 39), unique=True, max_size=6).map(sorted),
    strays=st.lists(st.integers(-1100, 1100), max_size=5),
)
def test_spans_own_every_pts_exactly_once(pts, cuts, strays):
    bounds = [0, *(cut for cut in cuts if cut < len(pts)), len(pts)]
    spans = [
        Span(
            start=start,
            stop=stop,
            begin_pts=pts[start] if start else None,
            start_pts=pts[start] if start else None,
            stop_pts=pts[stop] if stop < len(pts) else None,
            end_pts=pts[stop] if stop < len(pts) else None,
            pts=tuple(pts[start:stop]),
        )
        for start, stop in pairwise(bounds)
    ]
    # Also those that no plan announced: before the first, between, after the last.
    for value in [*pts, *strays]:
        assert sum(span.owns(value) for span in spans) == 1
    for span in spans:
        assert all(span.owns(value) for value in span.pts)


@given(ranges=st.lists(st.tuples(st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1)), min_size=2))
def test_span_names_sort_as_their_frames_do(ranges):
    assert sorted(ranges) == sorted(ranges, key=lambda one: span_name(*one))


def test_a_span_is_named_by_its_frames():
    span = Span(
        start=48, stop=96, begin_pts=None, start_pts=1, stop_pts=None, end_pts=None, pts=(1,)
    )
    assert span.name == "000000048-000000096"
