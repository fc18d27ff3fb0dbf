"""The newest run of a destination, read from its objects alone."""

from typing import Literal

import pyarrow.parquet as pq
from rich.console import Console

from pipelines.naming import scan_manifests
from pipelines.wording import counted, duration
from vgen import storage
from vgen.errors import ConfigError
from vgen.manifest import chunk_uri, run_uri
from vgen.records import Record, RunReport, span_name


class RunStatus(Record):
    """How far a run is."""

    run_id: str
    state: Literal["finished", "unfinished"]
    """unfinished: still running, or stopped before its report; the objects cannot tell which."""
    listed: int
    done: int
    """Published in this run."""
    skipped: int
    failed: int
    """Known so far."""
    frames: int
    """Frames to do in this run."""
    frames_done: int
    """Frames in finished chunks and published videos."""
    source_seconds: float
    report_uri: str | None = None


def read_status(destination: str) -> RunStatus:
    """Read the state of the newest run under ``destination``.

    Raises:
        ConfigError: there is no run.
    """
    home = storage.normalize_uri(destination)
    runs = storage.join(home, "_vgen", "runs")
    found = {storage.relative_to(one.uri, runs) for one in storage.list_objects(runs)}
    ids = sorted({name.split("/")[0] for name in found})
    if not ids:
        raise ConfigError(f"no run of vgen under {home!r}")
    run_id = ids[-1]
    if f"{run_id}/report.json" in found:
        return _from_report(home, run_id)
    if f"{run_id}/plan.parquet" not in found:
        raise ConfigError(f"run {run_id} under {home!r} has no plan yet; try again in a moment")
    return _from_plan(home, run_id)


def show_status(state: RunStatus, console: Console) -> None:
    """Print the state for people."""
    share = state.frames_done / state.frames if state.frames else 1.0
    console.print(
        f"run {state.run_id}: {state.state}, {state.done + state.skipped + state.failed} of "
        f"{counted(state.listed, 'video')} settled ({state.done} done, {state.skipped} skipped, "
        f"{state.failed} failed), {state.frames_done} of {state.frames} frames ({share:.0%}), "
        f"{duration(state.source_seconds)} of video"
    )
    if state.report_uri is not None:
        console.print(f"report: {state.report_uri}", markup=False)
    elif state.state == "unfinished":
        console.print("no report yet: it runs, or it was stopped; the same command goes on")


def _from_report(home: str, run_id: str) -> RunStatus:
    uri = storage.join(run_uri(home, run_id), "report.json")
    report = RunReport.model_validate_json(storage.read_bytes(uri))
    totals = report.totals
    return RunStatus(
        run_id=run_id,
        state="finished",
        listed=totals.listed,
        done=totals.done,
        skipped=totals.skipped,
        failed=totals.failed,
        frames=totals.frames,
        frames_done=totals.frames,
        source_seconds=totals.source_seconds,
        report_uri=storage.join(run_uri(home, run_id), "report.html"),
    )


def _from_plan(home: str, run_id: str) -> RunStatus:
    columns = ["source_uri", "status", "work_key", "duration_s", "start", "stop"]
    with storage.open_read(storage.join(run_uri(home, run_id), "plan.parquet")) as stream:
        rows = pq.read_table(
            stream, columns=columns, use_threads=False, pre_buffer=False
        ).to_pylist()
    published = {one.work_key for one in scan_manifests(home).values()}
    chunks = {one.uri for one in storage.list_objects(storage.join(home, "_vgen", "chunks"))}
    videos = {row["source_uri"]: row for row in rows}
    stopped = {uri.split("/")[-2] for uri in chunks if uri.rpartition("/")[2] == f"failed-{run_id}"}
    todo = [row for row in rows if row["status"] == "todo"]
    frames_done = sum(
        row["stop"] - row["start"]
        for row in todo
        if row["work_key"] in published
        or chunk_uri(home, row["work_key"], span_name(row["start"], row["stop"])) in chunks
    )
    keys = {row["work_key"] for row in todo}
    statuses = [row["status"] for row in videos.values()]
    return RunStatus(
        run_id=run_id,
        state="unfinished",
        listed=len(videos),
        done=len(keys & published),
        skipped=statuses.count("skipped"),
        failed=statuses.count("failed") + len(keys & stopped),
        frames=sum(row["stop"] - row["start"] for row in todo),
        frames_done=frames_done,
        source_seconds=sum(
            row["duration_s"] or 0.0 for row in videos.values() if row["status"] == "todo"
        ),
    )
