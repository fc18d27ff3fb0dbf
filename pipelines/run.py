"""One run from settings to report: what ``vgen enhance``, ``vgen plan`` and the flows call.

``prepare`` checks everything that can be refused before a worker starts; its errors mean that
nothing has happened. From ``execute`` on, work may be done, and the same call goes on with it.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pipelines.assemble import Assembled
from pipelines.cluster import Cluster, connected, device_before_ray, idle_cluster
from pipelines.context import RunContext, Topology
from pipelines.jobs import PlannedVideo
from pipelines.listing import ListingFault, list_sources
from pipelines.naming import scan_manifests
from pipelines.progress import Progress
from pipelines.release_files import ReleaseRef, resolve_release
from vgen import storage
from vgen.config import Recipe
from vgen.errors import ConfigError
from vgen.manifest import Manifest, new_run_id, run_uri, utc_now
from vgen.media.encoders import check_encoder
from vgen.records import RunReport, Speed, Still, Totals, VideoOutcome, VideoRef

if TYPE_CHECKING:
    from pipelines.enhance import RunResult  # imports Ray

_STAGES = ("decode", "enhance", "post", "encode", "assemble")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asked for."""

    source: str
    destination: str
    recipe: Recipe
    address: str | None = None
    span_frames: int | None = None
    is_overwrite: bool = False
    topology: Topology | None = None
    """None lets the plan choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request that passed every check, and what there is to do."""

    request: Request
    destination: str
    release: ReleaseRef
    listing: list[VideoRef | ListingFault]
    manifests: dict[str, Manifest]
    """What is published, by work key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A finished run."""

    report: RunReport
    report_uri: str
    page_uri: str
    num_reused: int
    """Chunks that an earlier run had finished."""
    num_made: int
    """Chunks that this run made."""


def prepare(request: Request, *, is_dry: bool = False) -> Prepared:
    """Check settings, release, places and listing, and change nothing.

    Raises:
        ConfigError, ReleaseError, StorageError: refused, with the remedy.
    """
    check_encoder(request.recipe.encode)
    release = resolve_release(request.recipe.release)
    source = request.source
    destination = storage.normalize_uri(request.destination)
    _check_apart(source, destination)
    storage.check_reachable(destination, writable=not is_dry)
    listing = list_sources(source)
    for one in listing:
        if storage.contains(destination, one.uri):
            raise ConfigError(f"source {one.uri!r} lies in DESTINATION; choose another one")
    return Prepared(
        request=request,
        destination=destination,
        release=release,
        listing=listing,
        manifests={one.work_key: one for one in scan_manifests(destination).values()},
    )


def execute(
    prepared: Prepared, *, say: Callable[[str], None], clock: Callable[[], datetime] = utc_now
) -> Finished:
    """Do what is to do and write the report.

    Args:
        prepared: What ``prepare`` returned.
        say: Told a line now and then, for people.
        clock: Returns the time, aware.

    Raises:
        ConfigError: there is no Ray at the address.
        StorageError, ray.exceptions.RayError: infrastructure failed; a rerun goes on.
    """
    started = clock()
    # A night without a new video costs a listing, and no start of Ray.
    if is_settled(prepared):
        return execute_on(idle_cluster(), prepared, say=say, clock=clock, started=started)
    with connected(prepared.request.address) as cluster:
        return execute_on(cluster, prepared, say=say, clock=clock, started=started)


def execute_on(
    cluster: Cluster,
    prepared: Prepared,
    *,
    say: Callable[[str], None],
    clock: Callable[[], datetime] = utc_now,
    started: datetime | None = None,
    worker: type | None = None,
) -> Finished:
    """Do what ``execute`` does, on a Ray that is connected.

    Args:
        cluster: What of it to use.
        prepared: What ``prepare`` returned.
        say: Told a line now and then, for people.
        clock: Returns the time, aware.
        started: When the run began; this moment if None.
        worker: Actor class in place of the topology's own; for tests that make workers fail.
    """
    from pipelines.enhance import choose_topology, run_plan  # Ray is up: import it now
    from pipelines.plan import plan_run
    from pipelines.report import write_report

    started = started or clock()
    request = prepared.request
    run_id = new_run_id(lambda: started, _seed(prepared))
    plan = plan_run(
        videos_of(prepared, cluster.device),
        destination=prepared.destination,
        recipe=request.recipe,
        release=prepared.release,
        manifests=prepared.manifests,
        span_frames=request.span_frames,
        run_id=run_id,
        num_cpus=cluster.num_cpus,
    )
    say(describe_plan(plan.videos, cluster))
    context = RunContext(
        run_id=run_id,
        plan_uri=plan.plan_uri,
        destination=prepared.destination,
        recipe=request.recipe,
        release=prepared.release,
        device=cluster.device,
        is_overwrite=request.is_overwrite,
    )
    todo = [video for video in plan.videos if video.status == "todo"]
    topology = request.topology or choose_topology(cluster)
    with Progress(num_videos=len(todo), num_frames=sum(video.frames for video in todo)) as progress:
        result = run_plan(plan.videos, context, cluster, progress, topology, worker=worker)
    outcomes = [_outcome(n, video, result.assembled) for n, video in enumerate(plan.videos)]
    report = _report(prepared, run_id, (started, clock()), outcomes, result)
    _write_spans(prepared.destination, run_id, result.rows)
    report_uri, page_uri = write_report(prepared.destination, report, _stills(result.assembled))
    return Finished(
        report=report,
        report_uri=report_uri,
        page_uri=page_uri,
        num_reused=result.num_reused,
        num_made=sum(1 for row in result.rows if not row["is_reused"] and not row["fault"]),
    )


def _report(
    prepared: Prepared,
    run_id: str,
    times: tuple[datetime, datetime],
    outcomes: list[VideoOutcome],
    result: "RunResult",
) -> RunReport:
    started, finished = times
    recipe = prepared.request.recipe
    seconds: dict[str, float] = dict.fromkeys(_STAGES, 0.0)
    for one in result.assembled.values():
        for stage, spent in one.stage_cpu_seconds.items():
            seconds[stage] += spent
    frames = sum(int(str(row["frames"])) for row in result.rows)
    return RunReport(
        run_id=run_id,
        release=prepared.release.name,
        release_digest=prepared.release.digest,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest(),
        started_at=started.isoformat(timespec="seconds"),
        finished_at=finished.isoformat(timespec="seconds"),
        totals=totals_of(outcomes),
        speed=Speed(
            frames_per_second=frames / max(1e-9, (finished - started).total_seconds()),
            stage_cpu_seconds=seconds,
        ),
        videos=tuple(outcomes),
    )


def videos_of(prepared: Prepared, device: str) -> list[PlannedVideo]:
    """Tell what is published already from what is to do on that kind of device."""
    from pipelines.plan import judge_listing

    return judge_listing(
        prepared.listing,
        destination=prepared.destination,
        recipe=prepared.request.recipe,
        release=prepared.release,
        manifests=prepared.manifests,
        device=device,
    )


def is_settled(prepared: Prepared) -> bool:
    """Whether it is known without a Ray that there is nothing to do."""
    device = device_before_ray(prepared.request.address)
    if device is None:
        return False
    return all(video.status != "todo" for video in videos_of(prepared, device))


def describe_plan(videos: list[PlannedVideo], cluster: Cluster) -> str:
    """Say in one line what a run is about to do, and with what."""
    todo = [video for video in videos if video.status == "todo"]
    counts = [
        f"{len(todo)} videos to enhance ({sum(video.frames for video in todo)} frames)",
        f"{sum(video.status == 'skipped' for video in videos)} already done",
        f"{sum(video.status == 'failed' for video in videos)} refused",
    ]
    place = "this machine" if cluster.is_embedded else "the cluster"
    gpus = f" and {cluster.num_gpus} GPUs" if cluster.num_gpus else ", no GPU"
    return f"{', '.join(counts)}; {place} has {cluster.num_cpus} CPUs{gpus}"


def totals_of(outcomes: list[VideoOutcome]) -> Totals:
    """Count outcomes; every listed video is in exactly one of the counts."""
    done = [one for one in outcomes if one.status == "done"]
    return Totals(
        listed=len(outcomes),
        done=len(done),
        skipped=sum(one.status == "skipped" for one in outcomes),
        failed=sum(one.status == "failed" for one in outcomes),
        frames=sum(one.frames for one in done),
        source_seconds=sum(one.duration_s for one in done),
    )


def _write_spans(destination: str, run_id: str, rows: list[dict[str, object]]) -> None:
    """Keep who did which span from when to when, for operators and benchmarks."""
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    storage.write_bytes(storage.join(run_uri(destination, run_id), "spans.jsonl"), lines.encode())


def _check_apart(source: str, destination: str) -> None:
    if any(mark in source for mark in "*?["):
        return  # a glob is judged by the files it finds
    place = storage.normalize_uri(source)
    if storage.contains(place, destination) or storage.contains(destination, place):
        raise ConfigError(
            f"SOURCE {place!r} and DESTINATION {destination!r} lie within each other; "
            "choose a destination outside"
        )


def _seed(prepared: Prepared) -> str:
    parts = (prepared.destination, prepared.release.digest, prepared.request.recipe.digest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _outcome(index: int, video: PlannedVideo, assembled: dict[int, Assembled]) -> VideoOutcome:
    if index in assembled:
        return assembled[index].outcome
    assert video.status in {"skipped", "failed"}, f"{video.ref.uri} was lost by the run"
    return VideoOutcome(
        source_uri=video.ref.uri,
        output_uri=video.output_uri,
        status="skipped" if video.status == "skipped" else "failed",
        frames=video.frames if video.status == "skipped" else 0,
        duration_s=video.duration_s,
        dropped=video.dropped,
        notes=video.notes,
        error=video.fault,
    )


def _stills(assembled: dict[int, Assembled]) -> dict[str, Still]:
    return {
        one.outcome.output_uri: one.still for one in assembled.values() if one.still is not None
    }
