"""The report of a run, as JSON for programs, a page for people, and a table for the terminal.

The page is one file that loads nothing and runs nothing: styles and pictures are inside, and its
Content-Security-Policy forbids the rest. Names in it come from strangers' archives; they are
escaped, kept apart from the text around them, and what would print as nothing or turn the reading
direction is written as an escape.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.table import Table
from rich.text import Text

from pipelines.plots import HEIGHT, WIDTH, Plot, plots_of
from vgen.manifest import run_uri
from vgen.records import Curves, RunReport, Still, VideoOutcome
from vgen.storage import join, name_of, write_bytes

MAX_STILLS = 100
"""Pairs of stills on the page, of the videos that changed most: about 5 MB."""
MAX_OPEN_ROWS = 40
"""Longer lists fold the rest away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """CPU time of one stage."""

    name: str
    cpu_seconds: float
    share: float
    """Of all stages, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRow:
    """One video as the page shows it."""

    name: str
    outcome: VideoOutcome
    still: Still | None
    plots: tuple[Plot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoGroup:
    """Videos with the same status."""

    title: str
    status: str
    rows: tuple[VideoRow, ...]


def write_report(
    destination: str,
    report: RunReport,
    stills: Mapping[str, Still],
    curves: Mapping[str, Curves] | None = None,
) -> tuple[str, str]:
    """Write ``report.html`` and then ``report.json`` of a run; return the URIs, JSON's first.

    Args:
        destination: Where the videos were published.
        report: What happened.
        stills: By output URI; empty where the recipe wants none.
        curves: Of videos that were post-processed, by output URI.
    """
    folder = run_uri(destination, report.run_id)
    page_uri, report_uri = join(folder, "report.html"), join(folder, "report.json")
    page = render_page(report, stills, curves)
    write_bytes(page_uri, page.encode(errors="backslashreplace"))
    # Last: where it is, the run has ended.
    write_bytes(report_uri, report.model_dump_json(indent=2).encode())
    return report_uri, page_uri


def render_page(
    report: RunReport, stills: Mapping[str, Still], curves: Mapping[str, Curves] | None = None
) -> str:
    """Return the page of a run as one HTML document without any reference to the outside."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(visible=visible, clock=clock_text, count=count_text, when=when_text)
    shown = _most_changed(report, stills)
    num_stills = sum(video.output_uri in stills for video in report.videos)
    return environment.get_template("report.html.j2").render(
        report=report,
        wall_seconds=_wall_seconds(report),
        stages=_stage_rows(report),
        groups=_groups(report, shown, curves or {}),
        settings=tuple(_flattened("", report.recipe)),
        num_stills=num_stills,
        num_stills_shown=len(shown),
        max_open_rows=MAX_OPEN_ROWS,
        plot_size=(WIDTH, HEIGHT),
    )


def totals_table(report: RunReport) -> Table:
    """Return the totals and speed of a run as a table for the terminal."""
    totals, speed = report.totals, report.speed
    table = Table(title=Text(f"run {report.run_id}"), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, count, style in (
        ("listed", totals.listed, ""),
        ("done", totals.done, "green"),
        ("skipped", totals.skipped, ""),
        ("failed", totals.failed, "red" if totals.failed else ""),
        ("frames", totals.frames, ""),
    ):
        table.add_row(name, Text(count_text(count), style=style))
    table.add_row("video", clock_text(totals.source_seconds))
    table.add_row("took", clock_text(_wall_seconds(report)))
    table.add_row("speed", f"{speed.frames_per_second:.2f} frames/s", end_section=True)
    for stage in _stage_rows(report):
        table.add_row(f"CPU {stage.name}", f"{clock_text(stage.cpu_seconds)} ({stage.share:.0%})")
    return table


def visible(text: str) -> str:
    """Return ``text`` with characters that print as nothing or turn its direction escaped."""
    return "".join(
        char.encode("unicode_escape").decode() if _is_invisible(char) else char for char in text
    )


def clock_text(seconds: float) -> str:
    """Return a duration as ``1:02:03`` or ``2:03``, below a minute as ``4.5 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def count_text(count: int) -> str:
    """Return a count with its thousands apart."""
    return f"{count:,}"


def when_text(stamp: str) -> str:
    """Return an ISO 8601 time with its offset as ``2026-11-22 16:00:00 UTC``."""
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _is_invisible(char: str) -> bool:
    # Joiners shape letters and emoji in plain names.
    return (
        unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and char not in "\u200c\u200d"
    )


def _most_changed(report: RunReport, stills: Mapping[str, Still]) -> dict[str, Still]:
    ours = {uri: stills[uri] for uri in (v.output_uri for v in report.videos) if uri in stills}
    ranked = sorted(ours, key=lambda uri: (-ours[uri].change, uri))
    return {uri: ours[uri] for uri in ranked[:MAX_STILLS]}


def _wall_seconds(report: RunReport) -> float:
    started = datetime.fromisoformat(report.started_at)
    return (datetime.fromisoformat(report.finished_at) - started).total_seconds()


def _stage_rows(report: RunReport) -> tuple[StageRow, ...]:
    seconds = report.speed.stage_cpu_seconds
    whole = sum(seconds.values())
    return tuple(
        StageRow(name=name, cpu_seconds=spent, share=spent / whole if whole else 0.0)
        for name, spent in seconds.items()
    )


def _groups(
    report: RunReport, stills: Mapping[str, Still], curves: Mapping[str, Curves]
) -> tuple[VideoGroup, ...]:
    titles = {"failed": "Failed", "done": "Enhanced", "skipped": "Already done"}
    groups = []
    for status, title in titles.items():
        rows = tuple(
            VideoRow(
                name=name_of(video.source_uri) or video.source_uri,
                outcome=video,
                still=stills.get(video.output_uri) if status == "done" else None,
                plots=plots_of(curves.get(video.output_uri, Curves())) if status == "done" else (),
            )
            for video in report.videos
            if video.status == status
        )
        if rows:
            groups.append(VideoGroup(title=title, status=status, rows=rows))
    return tuple(groups)


def _flattened(prefix: str, settings: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield each setting as ``encode.crf`` and its value."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flattened(f"{prefix}{name}.", value)
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value)) or "none"
        else:
            yield f"{prefix}{name}", str(value)
