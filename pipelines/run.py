"""One run from settings to report: what ``vgen enhance``, ``vgen plan`` and the flows call.

``prepare`` checks everything that can be refused before a worker starts; its errors mean that
nothing has happened. From ``execute`` on, work may be done, and the same call goes on with it.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipelines.cluster import Cluster, connected, device_before_ray, idle_cluster
from pipelines.context import STAGED_ROW_BYTES, RunContext, Topology, choose_topology
from pipelines.jobs import PlannedVideo
from pipelines.listing import ListingFault, describe_passed_over, list_sources
from pipelines.naming import scan_manifests
from pipelines.places import check_apart, check_destination
from pipelines.post_files import PostFiles, read_post_files
from pipelines.progress import Progress
from pipelines.release_files import ReleaseRef, resolve_release
from pipelines.result import RunResult, totals_of
from pipelines.scratch import scratch
from pipelines.wording import counted
from vgen import storage
from vgen.config import Recipe
from vgen.errors import ConfigError
from vgen.manifest import Manifest, new_run_id, run_uri, utc_now
from vgen.media.encoders import check_encoder
from vgen.models.release import check_restores
from vgen.records import RunReport, Speed, VideoOutcome, VideoRef

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
    registry: str | None = None
    """Where names of releases are looked up first; None for what ``VGEN_REGISTRY`` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request that passed every check, and what there is to do."""

    request: Request
    destination: str
    release: ReleaseRef
    listing: list[VideoRef | ListingFault]
    passed_over: Counter[str]
    """Files of SOURCE that are not called like videos, by suffix."""
    manifests: dict[str, Manifest]
    """What is published, by work key."""
    post_files: PostFiles = field(default_factory=PostFiles)
    """What the recipe's post-processing names."""


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
    release = resolve_release(request.recipe.release, registry=request.registry)
    check_restores(release.name, release.spec)
    post_files = read_post_files(request.recipe.post)
    source = request.source
    destination = storage.normalize_uri(request.destination)
    check_apart(source, destination)
    check_destination(destination, is_dry=is_dry)
    passed_over: Counter[str] = Counter()
    listing = list_sources(source, passed_over=passed_over)
    for one in listing:
        if isinstance(one, VideoRef) and storage.contains(destination, one.uri):
            raise ConfigError(f"source {one.uri!r} lies in DESTINATION; choose another one")
    return Prepared(
        request=request,
        destination=destination,
        release=release,
        listing=listing,
        passed_over=passed_over,
        manifests={one.work_key: one for one in scan_manifests(destination).values()},
        post_files=post_files,
    )


def execute(
    prepared: Prepared,
    *,
    say: Callable[[str], None],
    on_progress: Callable[[str], None] | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Finished:
    """Do what is to do and write the report.

    Args:
        prepared: What ``prepare`` returned.
        say: Told a line now and then, for people.
        on_progress: Told lines of progress; None shows progress on stderr.
        clock: Returns the time, aware.

    Raises:
        ConfigError: there is no Ray at the address.
        StorageError, ray.exceptions.RayError: infrastructure failed; a rerun goes on.
    """
    started = clock()
    # A night without a new video starts no Ray.
    if is_settled(prepared):
        return execute_on(idle_cluster(), prepared, say=say, clock=clock, started=started)
    with connected(prepared.request.address) as cluster:
        return execute_on(
            cluster, prepared, say=say, on_progress=on_progress, clock=clock, started=started
        )


def execute_on(
    cluster: Cluster,
    prepared: Prepared,
    *,
    say: Callable[[str], None],
    on_progress: Callable[[str], None] | None = None,
    clock: Callable[[], datetime] = utc_now,
    started: datetime | None = None,
    worker: type | None = None,
) -> Finished:
    """Do what ``execute`` does, on a Ray that is connected.

    Args:
        cluster: What of it to use.
        prepared: What ``prepare`` returned.
        say: Told a line now and then, for people.
        on_progress: Told lines of progress; None shows progress on stderr.
        clock: Returns the time, aware.
        started: When the run began; this moment if None.
        worker: Actor class in place of the topology's own; for tests that make workers fail.
    """
    from pipelines.plan import plan_run
    from pipelines.report import write_report

    started = started or clock()
    request = prepared.request
    run_id = new_run_id(lambda: started, _seed(prepared))
    topology = request.topology or choose_topology(cluster)
    plan = plan_run(
        videos_of(prepared, cluster.device),
        destination=prepared.destination,
        recipe=request.recipe,
        release=prepared.release,
        manifests=prepared.manifests,
        span_frames=request.span_frames,
        row_bytes=STAGED_ROW_BYTES if topology == "staged" else None,
        run_id=run_id,
        num_cpus=cluster.num_cpus,
        is_overwrite=request.is_overwrite,
    )
    for line in (*idle_settings(request.recipe), *describe_passed_over(prepared.passed_over)):
        say(line)
    say(describe_plan(plan.videos, cluster, prepared))
    context = RunContext(
        run_id=run_id,
        plan_uri=plan.plan_uri,
        destination=prepared.destination,
        recipe=request.recipe,
        release=prepared.release,
        device=cluster.device,
        is_overwrite=request.is_overwrite,
        post_files=replace(prepared.post_files, lut=None),
    )
    if request.recipe.post.steps:
        from pipelines.analyze import analyze_videos  # imports OpenCV

        analyze_videos(plan.videos, context, cluster, lut=prepared.post_files.lut, say=say)
    todo = [video for video in plan.videos if video.status == "todo"]
    with scratch("run") as folder:
        log_path = folder / "spans.jsonl"
        with log_path.open("w", encoding="utf-8") as spans_log:
            result = RunResult(spans_log=spans_log)
            if todo:
                from pipelines.enhance import run_plan  # imports Ray Data

                num_frames = sum(video.frames for video in todo)
                with Progress(
                    num_videos=len(todo), num_frames=num_frames, say=on_progress
                ) as progress:
                    run_plan(
                        plan.videos, context, cluster, progress, topology, result, worker=worker
                    )
        log_uri = storage.join(run_uri(prepared.destination, run_id), "spans.jsonl")
        storage.publish(log_path, log_uri)
    outcomes = [_outcome(n, video, result.outcomes) for n, video in enumerate(plan.videos)]
    report = _report(prepared, run_id, (started, clock()), outcomes, result)
    report_uri, page_uri = write_report(prepared.destination, report, result.stills, result.curves)
    return Finished(
        report=report,
        report_uri=report_uri,
        page_uri=page_uri,
        num_reused=result.num_reused,
        num_made=result.num_made,
    )


def _report(
    prepared: Prepared,
    run_id: str,
    times: tuple[datetime, datetime],
    outcomes: list[VideoOutcome],
    result: RunResult,
) -> RunReport:
    started, finished = times
    recipe = prepared.request.recipe
    elapsed_s = max(1e-9, (finished - started).total_seconds())
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
            frames_per_second=result.num_frames / elapsed_s,
            stage_cpu_seconds=dict.fromkeys(_STAGES, 0.0) | result.stage_cpu_seconds,
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
        files_digest=prepared.post_files.digest,
    )


def is_settled(prepared: Prepared) -> bool:
    """Whether it is known without a Ray that there is nothing to do."""
    device = device_before_ray(prepared.request.address)
    if device is None:
        return False
    return all(video.status != "todo" for video in videos_of(prepared, device))


def idle_settings(recipe: Recipe) -> list[str]:
    """Say which settings change nothing, a line each."""
    return [
        f"post.{name} is set and changes nothing: post.steps does not name {name}"
        for name in recipe.post.idle
    ]


def describe_plan(videos: list[PlannedVideo], cluster: Cluster, prepared: Prepared) -> str:
    """Say in one line what a run is about to do, and with what."""
    if not videos:
        return f"no videos found in {prepared.request.source!r}"
    todo = [video for video in videos if video.status == "todo"]
    published = {
        storage.join(prepared.destination, one.output) for one in prepared.manifests.values()
    }
    # One whose manifest is of this very work has lost its output, and replaces nothing.
    replacing = sum(
        video.output_uri in published and video.work_key not in prepared.manifests for video in todo
    )
    told = counted(sum(video.frames for video in todo), "frame")
    if replacing:
        told += f"; {replacing} replace outputs of another recipe, release or source"
    counts = [
        f"{counted(len(todo), 'video')} to enhance ({told})",
        f"{sum(video.status == 'skipped' for video in videos)} already done",
        f"{sum(video.status == 'failed' for video in videos)} refused",
    ]
    place = "this machine" if cluster.is_embedded else "the cluster"
    gpus = f" and {cluster.num_gpus} GPUs" if cluster.num_gpus else ", no GPU"
    return f"{', '.join(counts)}; {place} has {cluster.num_cpus} CPUs{gpus}"


def _seed(prepared: Prepared) -> str:
    # Runs of other sources into one destination may start in the same second.
    parts = (
        prepared.request.source,
        prepared.destination,
        prepared.release.digest,
        prepared.request.recipe.digest(),
    )
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def _outcome(index: int, video: PlannedVideo, outcomes: dict[int, VideoOutcome]) -> VideoOutcome:
    if index in outcomes:
        return outcomes[index]
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
