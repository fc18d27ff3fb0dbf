"""What Prefect's pages show is true, and names from strangers stay names."""

import re

import pytest

from flows.artifacts import (
    MAX_KEY_LENGTH,
    MAX_TABLE_ROWS,
    decision_markdown,
    escaped,
    key_of,
    link_of,
    percent_of,
    report_markdown,
    video_rows,
)
from pipelines.progress import Progress
from vgen.records import Fault, RunReport, Speed, Totals, VideoOutcome
from vgen.training.promote import ClassGain, Decision, PromotionRules
from vgen.training.scores import Evaluation


def outcome(name: str, status: str, message: str = "") -> VideoOutcome:
    error = Fault(stage="probe", kind="ProbeError", message=message) if message else None
    return VideoOutcome(source_uri=name, output_uri="", status=status, error=error)


def report_of(*videos: VideoOutcome) -> RunReport:
    counts = {s: sum(v.status == s for v in videos) for s in ("done", "skipped", "failed")}
    return RunReport(
        run_id="20260101T000000Z-0",
        release="restore-tiny",
        release_digest="0" * 64,
        recipe={},
        recipe_digest="",
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-01T00:01:00+00:00",
        totals=Totals(listed=len(videos), frames=1500, source_seconds=60.0, **counts),
        speed=Speed(frames_per_second=25.0, stage_cpu_seconds={}),
        videos=videos,
    )


def test_progress_is_read_from_the_very_lines_that_a_run_says():
    progress = Progress(num_videos=4, num_frames=200)
    assert percent_of(progress.line()) == 0.0
    progress.add_frames(50)
    assert percent_of(progress.line()) == 25.0
    progress.frames_reused = 150
    assert percent_of(progress.line()) == 100.0


@pytest.mark.parametrize(
    ("line", "percent"),
    [
        ("step 20 (pixels), 12.5 %, loss 0.1, 3 % waiting for data", 12.5),
        ("3/12 sources read", 25.0),
        ("0/0 videos, 0/0 frames, assembling, 3 s", 100.0),
        ("2 videos to enhance (100 frames), 0 already done", None),
        ("report: s3://b/7/8 frames.html", 87.5),
        ("training on 2 CPU workers", None),
    ],
)
def test_a_line_states_progress_or_none(line, percent):
    assert percent_of(line) == percent


def test_hostile_names_are_shown_as_they_are():
    hostile = "<img src=x onerror=alert(1)>|[a](javascript:x)`**b**\n# c\u202e.mp4"
    shown = escaped(hostile)
    assert "<" not in shown
    assert "\n" not in shown
    assert "\u202e" not in shown
    assert not re.search(r"(?<!\\)[\[\]`*|#(]", shown)


def test_a_report_tells_totals_and_why_videos_failed():
    shown = report_markdown(
        report_of(outcome("a.mp4", "done"), outcome("b|c.mp4", "failed", "no picture")),
        "/out/report.html",
    )
    assert "| 2 | 1 | 0 | 1 | 1,500 | 1:00 | 25.00 frames/s |" in shown
    assert "- b\\|c\\.mp4: no picture" in shown
    assert "file:///out/report" in shown.replace("\\", "")


def test_a_report_without_failures_says_nothing_of_them():
    assert "Failed" not in report_markdown(report_of(outcome("a.mp4", "done")), "s3://b/r.html")


def test_the_table_shows_failures_first_and_no_more_than_fit():
    videos = [outcome(f"/in/{n:04d}.mp4", "done") for n in range(MAX_TABLE_ROWS)]
    rows = video_rows([*videos, outcome("/in/z.mp4", "failed", "why"), outcome("s", "skipped")])
    assert len(rows) == MAX_TABLE_ROWS
    assert (rows[0]["video"], rows[0]["status"], rows[0]["remarks"]) == ("z.mp4", "failed", "why")
    assert rows[1]["video"] == "0000.mp4"


def test_long_lists_of_failures_are_cut_with_a_word():
    failed = [outcome(f"{n}", "failed", "why") for n in range(MAX_TABLE_ROWS + 3)]
    assert "and 3 more, see the page" in report_markdown(report_of(*failed), "s3://b/r.html")


def test_a_decision_shows_reasons_and_gains():
    evaluation = Evaluation.model_construct(release_digest="f" * 64)
    decision = Decision.model_construct(
        name="restore_x",
        is_promoted=False,
        reasons=("noise on clips loses 1.00 dB",),
        against="the input",
        gains=(
            ClassGain(
                name="noise on clips",
                before_db=30.0,
                after_db=29.0,
                gain_db=-1.0,
                flicker_before=0.0,
                flicker_after=0.0,
            ),
        ),
        rules=PromotionRules(),
        candidate=evaluation,
    )
    shown = decision_markdown(decision)
    assert "# restore\\_x: refused" in shown
    assert "- noise on clips loses 1\\.00 dB" in shown
    assert "| noise on clips | 30.00 | 29.00 | -1.00 |" in shown


@pytest.mark.parametrize("place", ["s3://Bucket/Ein Ordner/\u00fc", "/", "s3://b/" + "x/" * 200])
def test_keys_are_what_prefect_takes(place):
    key = key_of(place)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key)
    assert len(key) <= MAX_KEY_LENGTH


def test_links_to_local_pages_are_urls():
    assert link_of("/a b/report.html") == "file:///a%20b/report.html"
    assert link_of("s3://b/report.html") == "s3://b/report.html"
