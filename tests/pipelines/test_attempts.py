"""Poison files are found by counting starts; innocent ones are not."""

import pytest

from pipelines.attempts import MAX_ATTEMPTS, Attempts
from vgen import storage
from vgen.errors import DecodeError


@pytest.fixture
def chunk(tmp_path):
    return str(tmp_path / "key" / "000000000-000000048")


def marks(chunk):
    return [one for one in storage.list_objects(storage.parent_of(chunk)) if "attempt" in one.uri]


def test_a_span_whose_worker_keeps_dying_is_quarantined(chunk):
    for _ in range(MAX_ATTEMPTS):
        Attempts(chunk, "run-1").begin("a.mp4")
    with pytest.raises(DecodeError, match=r"quarantined: its worker process died 3 times.*a\.mp4"):
        Attempts(chunk, "run-1").begin("a.mp4")
    assert marks(chunk) == []


def test_an_orderly_end_forgets_the_attempts(chunk):
    for _ in range(2 * MAX_ATTEMPTS):
        attempts = Attempts(chunk, "run-1")
        attempts.begin("a.mp4")
        attempts.end()
    assert marks(chunk) == []


def test_starts_of_killed_runs_do_not_count(chunk):
    for number in range(2 * MAX_ATTEMPTS):
        Attempts(chunk, f"run-{number}").begin("a.mp4")
