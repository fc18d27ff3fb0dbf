"""What a flow shows on Prefect's pages: progress that moves, reports, links, decisions.

Names of videos come from strangers' archives: in Markdown they are escaped. A server that is away
must not cost a run its result, so progress that cannot be shown is dropped with a warning; what
is shown at the end is tried several times by Prefect's client.
"""

import contextvars
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from pipelines.report import clock_text, count_text, visible
from vgen import storage
from vgen.records import RunReport, VideoOutcome
from vgen.training.promote import Decision

MAX_TABLE_ROWS = 500
"""Failed videos first; the page of the run has all."""
UPDATE_INTERVAL_S = 5.0
MAX_KEY_LENGTH = 60

_FRACTION = re.compile(r"\b(\d+)/(\d+) (?:frames|sources)\b")
_PERCENT = re.compile(r"\b(\d+(?:\.\d+)?) %")
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&])")


class Teller:
    """Passes on what a run says to Prefect's log, and moves a progress artifact with it."""

    def __init__(self, key: str) -> None:
        """Show progress under ``key`` from the first line on that states some."""
        self._key = key
        self._log = get_run_logger()
        # Lines may come from another thread, which Prefect could not match to the task run.
        self._context = contextvars.copy_context()
        self._artifact: UUID | None = None
        self._shown_at_s = 0.0
        self._percent = 0.0

    def __call__(self, line: str) -> None:
        """Log a line; update the artifact where it states progress."""
        self._log.info("%s", line)
        percent = percent_of(line)
        if percent is None or percent < self._percent:
            return
        self._percent = percent
        if time.monotonic() - self._shown_at_s >= UPDATE_INTERVAL_S:
            self._context.copy().run(self._show, line)

    def finish(self) -> None:
        """Show that all is done."""
        self._percent = 100.0
        self._show("done")

    def _show(self, line: str) -> None:
        self._shown_at_s = time.monotonic()
        try:
            if self._artifact is None:
                made = create_progress_artifact(self._percent, key=self._key, description=line)
                self._artifact = cast("UUID", made)  # not a coroutine, as nothing here is async
            else:
                update_progress_artifact(self._artifact, self._percent, description=line)
        except httpx.HTTPError as error:
            self._log.warning("progress cannot be shown: %s", error)


def percent_of(line: str) -> float | None:
    """Return the progress that a line of a run states, 0 to 100, None where it states none."""
    fraction = _FRACTION.search(line)
    if fraction:
        whole = int(fraction[2])
        return 100.0 * min(int(fraction[1]), whole) / whole if whole else 100.0
    percent = _PERCENT.search(line) if line.startswith("step ") else None
    return min(100.0, float(percent[1])) if percent else None


def publish_report(report: RunReport, page_uri: str, destination: str) -> None:
    """Show a run: its report as Markdown and table, and a link to its page with the stills."""
    name = key_of(destination)
    create_markdown_artifact(
        report_markdown(report, page_uri), key=f"report-{name}", description=f"run {report.run_id}"
    )
    rows = video_rows(report.videos)
    if rows:
        create_table_artifact(rows, key=f"videos-{name}", description=f"run {report.run_id}")
    create_link_artifact(
        link_of(page_uri),
        link_text="report with stills before and after",
        key=f"page-{name}",
        description=f"run {report.run_id}",
    )


def publish_training(page_uri: str, releases: Sequence[str], run: str) -> None:
    """Show a training run: a link to its curves and samples."""
    create_link_artifact(
        link_of(page_uri),
        link_text="training curves and samples",
        key=f"training-{key_of(run)}",
        description=f"releases: {', '.join(releases)}",
    )


def publish_decision(decision: Decision, registry: str) -> None:
    """Show a promotion or its refusal, with the reasons and every gain."""
    create_markdown_artifact(
        decision_markdown(decision),
        key=f"promotion-{key_of(registry)}",
        description=f"{decision.name}: {'promoted' if decision.is_promoted else 'refused'}",
    )


def report_markdown(report: RunReport, page_uri: str) -> str:
    """Return the totals of a run and the reasons of what failed."""
    totals = report.totals
    counts = (totals.listed, totals.done, totals.skipped, totals.failed)
    cells = (
        *map(count_text, (*counts, totals.frames)),
        clock_text(totals.source_seconds),
        f"{report.speed.frames_per_second:.2f} frames/s",
    )
    release = f"{escaped(report.release)} ({report.release_digest[:16]})"
    lines = [
        f"# Run {report.run_id}",
        "",
        f"Release {release}, from {report.started_at} to {report.finished_at}.",
        "",
        "| listed | done | skipped | failed | frames | video | speed |",
        "|---|---|---|---|---|---|---|",
        f"| {' | '.join(cells)} |",
        "",
        f"Page with stills: {escaped(link_of(page_uri))}",
    ]
    failed = [
        f"- {escaped(video.source_uri)}: {escaped(video.error.message)}"
        for video in report.videos
        if video.error is not None
    ]
    if failed:
        lines += ["", "## Failed", "", *failed[:MAX_TABLE_ROWS]]
    if len(failed) > MAX_TABLE_ROWS:
        lines.append(f"- and {len(failed) - MAX_TABLE_ROWS} more, see the page")
    return "\n".join(lines) + "\n"


def video_rows(videos: Sequence[VideoOutcome]) -> list[dict[str, str | int | float]]:
    """Return a row for each video that failed or was done, failed ones first."""
    ranked = sorted(
        (video for video in videos if video.status != "skipped"),
        key=lambda video: (video.status != "failed", video.source_uri),
    )
    return [
        {
            "video": visible(storage.name_of(video.source_uri) or video.source_uri),
            "status": video.status,
            "frames": video.frames,
            "seconds": round(video.duration_s, 1),
            "remarks": visible(
                "; ".join([*([video.error.message] if video.error else []), *video.notes])
            ),
        }
        for video in ranked[:MAX_TABLE_ROWS]
    ]


def decision_markdown(decision: Decision) -> str:
    """Return a decision with its reasons and a row for every class of damage."""
    verdict = "promoted" if decision.is_promoted else "refused"
    lines = [
        f"# {escaped(decision.name)}: {verdict}",
        "",
        f"Candidate {decision.candidate.release_digest[:16]} against {escaped(decision.against)}.",
        "",
        *(f"- {escaped(reason)}" for reason in decision.reasons),
        "",
        "| class | before, dB | after, dB | gain, dB |",
        "|---|---|---|---|",
        *(
            f"| {escaped(gain.name)} | {gain.before_db:.2f} | {gain.after_db:.2f} "
            f"| {gain.gain_db:+.2f} |"
            for gain in decision.gains
        ),
    ]
    return "\n".join(lines) + "\n"


def key_of(place: str) -> str:
    """Return what artifacts of a place are called: lower case, digits and dashes."""
    key = re.sub(r"[^a-z0-9]+", "-", place.lower()).strip("-")
    return key[-MAX_KEY_LENGTH:].strip("-") or "root"


def link_of(uri: str) -> str:
    """Return ``uri`` as something that a browser may open."""
    return Path(uri).as_uri() if storage.is_local(uri) else uri


def escaped(text: str) -> str:
    """Return ``text`` so that Markdown and HTML show it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", visible(text)).replace("\\<", "&lt;").replace("\\&", "&amp;")
