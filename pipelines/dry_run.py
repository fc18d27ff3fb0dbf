"""What ``vgen plan`` shows: the plan of a run that is not made."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from pipelines.cluster import connected, idle_cluster
from pipelines.run import Request, is_settled, prepare, videos_of
from pipelines.terminal import shown
from pipelines.wording import counted, duration
from vgen.manifest import new_run_id, utc_now
from vgen.records import Fault, Record

T = TypeVar("T")


class OutlookVideo(Record):
    """What would become of one listed video."""

    source_uri: str
    output_uri: str
    status: str
    frames: int
    duration_s: float
    spans: int
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    error: Fault | None


class Outlook(Record):
    """What a run would do."""

    release: str
    todo: int
    skipped: int
    failed: int
    frames: int
    spans: int
    source_seconds: float
    passed_over: dict[str, int]
    """Files of SOURCE that are not called like videos, by suffix."""
    videos: tuple[OutlookVideo, ...]


def dry_run(request: Request, *, guarded: Callable[[Callable[[], Outlook]], Outlook]) -> Outlook:
    """Plan ``request`` and write nothing.

    Args:
        request: As for a run.
        guarded: Wraps the part that needs Ray.

    Raises:
        ConfigError, ReleaseError, StorageError: refused, with the remedy.
    """
    prepared = prepare(request, is_dry=True)

    def outlook() -> Outlook:
        with contextlib.ExitStack() as stack:
            cluster = idle_cluster()
            if not is_settled(prepared):
                cluster = stack.enter_context(connected(request.address))
            from pipelines.plan import plan_run

            plan = plan_run(
                videos_of(prepared, cluster.device),
                destination=prepared.destination,
                recipe=request.recipe,
                release=prepared.release,
                manifests=prepared.manifests,
                span_frames=request.span_frames,
                run_id=new_run_id(utc_now, "plan"),
                num_cpus=cluster.num_cpus,
                is_overwrite=request.is_overwrite,
                is_written=False,
            )
        todo = [video for video in plan.videos if video.status == "todo"]
        return Outlook(
            release=prepared.release.name,
            todo=len(todo),
            skipped=sum(video.status == "skipped" for video in plan.videos),
            failed=sum(video.status == "failed" for video in plan.videos),
            frames=sum(video.frames for video in todo),
            spans=sum(len(video.spans) for video in todo),
            source_seconds=sum(video.duration_s for video in todo),
            passed_over=dict(prepared.passed_over),
            videos=tuple(
                OutlookVideo(
                    source_uri=video.ref.uri,
                    output_uri=video.output_uri,
                    status=video.status,
                    frames=video.frames,
                    duration_s=video.duration_s,
                    spans=len(video.spans),
                    dropped=video.dropped,
                    notes=video.notes,
                    error=video.fault,
                )
                for video in plan.videos
            ),
        )

    return guarded(outlook)


def show_plan(outlook: Outlook, console: Console) -> None:
    """Print the plan for people."""
    table = Table(title=f"plan with {outlook.release}", title_justify="left")
    for name in ("source", "status", "frames", "length", "spans", "what to know"):
        # Names share their beginnings: what is cut off would be what tells them apart.
        justify: JustifyMethod = "right" if name in {"frames", "length", "spans"} else "left"
        table.add_column(name, justify=justify, overflow="fold")
    for video in outlook.videos:
        remarks = [*(f"dropped: {what}" for what in video.dropped), *video.notes]
        if video.error is not None:
            remarks.insert(0, video.error.message)
        table.add_row(
            Text(shown(video.source_uri)),
            "refused" if video.status == "failed" else video.status,
            str(video.frames),
            duration(video.duration_s),
            str(video.spans),
            Text(shown("; ".join(remarks))),
        )
    console.print(table)
    console.print(
        f"{counted(outlook.todo, 'video')} to do ({counted(outlook.frames, 'frame')} in "
        f"{counted(outlook.spans, 'span')}, {duration(outlook.source_seconds)} of video), "
        f"{outlook.skipped} already done, {outlook.failed} refused"
    )
