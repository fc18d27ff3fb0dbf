"""From a listing to ``plan.parquet``: what is to do, what is done, what is refused.

The plan is written before any worker is asked for a network. It has one row group a video, so
that a worker reads its video alone and the driver never holds all timelines.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import pyarrow.parquet as pq
import ray

from pipelines.claim import is_as_published, obstacle
from pipelines.jobs import (
    PLAN_SCHEMA,
    PLAN_VERSION,
    PlannedVideo,
    VideoJob,
    settled_rows,
    span_rows,
)
from pipelines.listing import ListingFault
from pipelines.naming import PARALLEL_READS, output_names
from pipelines.numerics import numerics
from pipelines.probing import ProbedVideo, probe_source
from pipelines.release_files import ReleaseRef
from pipelines.scratch import scratch
from vgen import storage
from vgen.config import Recipe
from vgen.manifest import Manifest, run_uri, work_key
from vgen.models.spec import ModelSpec
from vgen.records import Fault, Span, VideoRef

log = logging.getLogger(__name__)

# Probes that may wait for results at once: enough to keep a cluster busy, few enough to bound
# the timelines in flight.
PROBES_IN_FLIGHT_PER_CPU = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A plan and where it lies."""

    run_id: str
    plan_uri: str
    videos: list[PlannedVideo]
    """In listing order."""


def judge_listing(
    listing: list[VideoRef | ListingFault],
    *,
    destination: str,
    recipe: Recipe,
    release: ReleaseRef,
    manifests: Mapping[str, Manifest],
    device: str,
    files_digest: str = "",
) -> list[PlannedVideo]:
    """Tell what is published already from what is to do, without opening a source.

    Args:
        listing: What SOURCE holds.
        destination: Where outputs go.
        recipe: The settings.
        release: The network.
        manifests: What is published there, by work key.
        device: Device kind the network would run on.
        files_digest: Of the files that the recipe names; empty where it names none.
    """
    arithmetic = numerics(device)
    asked = recipe.digest()
    if files_digest:
        asked = hashlib.sha256(f"{asked}/{files_digest}".encode()).hexdigest()

    def judged(one: VideoRef | ListingFault) -> PlannedVideo:
        return _listed(one, destination, asked, release, manifests, arithmetic)

    # Of what is published, each output is looked at: a round trip to a bucket for every one.
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        return list(pool.map(judged, listing))


def plan_run(
    videos: list[PlannedVideo],
    *,
    destination: str,
    recipe: Recipe,
    release: ReleaseRef,
    manifests: Mapping[str, Manifest],
    span_frames: int | None,
    row_bytes: int | None = None,
    run_id: str,
    num_cpus: int,
    is_overwrite: bool = False,
    is_written: bool = True,
) -> RunPlan:
    """Plan every video that is to do and write the plan below the destination.

    Args:
        videos: From ``judge_listing``; filled in here.
        destination: Where outputs go.
        recipe: The settings.
        release: The network.
        manifests: What is published there, by work key.
        span_frames: Upper bound of frames a span; None for the default sizes.
        row_bytes: Upper bound of a span's pixels; None where they stay in one process.
        run_id: Names the run's folder.
        num_cpus: How many probes can run at once.
        is_overwrite: Files in the destination that vgen did not publish may be replaced.
        is_written: False for a dry run, which writes nothing.
    """
    plan_uri = storage.join(run_uri(destination, run_id), "plan.parquet")
    with scratch("plan") as folder:
        # Names depend on all containers, so timelines wait on disk until all are known.
        probed_path, path = folder / "probed.jsonl", folder / "plan.parquet"
        todo = [video for video in videos if video.status == "todo"]
        # The names of what is done are taken, and their videos hold them.
        skipped = [video for video in videos if video.status == "skipped"]
        suffixes = {video.ref.uri: PurePosixPath(video.output_uri).suffix for video in skipped}
        with probed_path.open("w", encoding="utf-8") as lines:
            for video, probed in _probed(
                todo, recipe, spec_around(release.spec, recipe), (span_frames, row_bytes), num_cpus
            ):
                if probed.encode is None:
                    video.status, video.fault = "failed", probed.fault
                    continue
                suffixes[video.ref.uri] = f".{probed.encode.container}"
                lines.write(f"{probed.model_dump_json()}\n")
        todo = [video for video in todo if video.status == "todo"]
        names = output_names(
            [video.ref for video in (*skipped, *todo)],
            lambda ref: suffixes[ref.uri],
            {one.output: one.source_uri for one in manifests.values()},
        )
        _refuse_obstructed(todo, names, destination, is_overwrite=is_overwrite)
        with (
            probed_path.open(encoding="utf-8") as lines,
            # Statistics would hold the longest texts twice, in a footer that every reader reads.
            pq.ParquetWriter(
                path, PLAN_SCHEMA, compression="zstd", write_statistics=False
            ) as writer,
        ):
            # A refused video has no rows; its line is passed over.
            planned = (pair for pair in zip(todo, lines, strict=True) if pair[0].status == "todo")
            for row_group, (video, line) in enumerate(planned):
                probed = ProbedVideo.model_validate_json(line)
                job = _job(video, probed, destination, names[video.ref.uri])
                _describe(video, job, probed.spans, row_group)
                rows = span_rows(job, probed.spans)
                writer.write_table(rows, row_group_size=len(rows))
            settled = [video for video in videos if video.status != "todo"]
            if settled:
                writer.write_table(settled_rows(settled))
        if is_written:
            storage.publish(path, plan_uri)
    return RunPlan(run_id=run_id, plan_uri=plan_uri, videos=videos)


def _refuse_obstructed(
    todo: list[PlannedVideo], names: Mapping[str, str], destination: str, *, is_overwrite: bool
) -> None:
    """Fail videos whose output cannot be published before any work goes into them."""

    def told(video: PlannedVideo) -> str | None:
        name = names[video.ref.uri]
        return obstacle(destination, name, video.work_key, video.ref.uri, is_overwrite=is_overwrite)

    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        for video, fault in zip(todo, pool.map(told, todo), strict=True):
            if fault is not None:
                video.status = "failed"
                video.fault = Fault(stage="plan", kind="StorageError", message=fault)


def spec_around(spec: ModelSpec, recipe: Recipe) -> ModelSpec:
    """Return the network's needs with the frames around a span that post-processing looks at."""
    reach = recipe.post.reach
    return replace(spec, lead=spec.lead + reach, tail=spec.tail + reach)


def _listed(
    one: VideoRef | ListingFault,
    destination: str,
    asked: str,
    release: ReleaseRef,
    manifests: Mapping[str, Manifest],
    arithmetic: str,
) -> PlannedVideo:
    if isinstance(one, ListingFault):
        ref = VideoRef(uri=one.uri, relative_path=one.uri, etag="", size_bytes=0)
        return PlannedVideo(ref=ref, status="failed", fault=one.error)
    key = work_key(
        source_uri=one.uri,
        etag=one.etag,
        release_digest=release.digest,
        recipe_digest=asked,
        plan_version=PLAN_VERSION,
        numerics=arithmetic,
    )
    published = manifests.get(key)
    if published is None or not is_as_published(published, destination):
        return PlannedVideo(ref=one, status="todo", work_key=key)
    return PlannedVideo(
        ref=one,
        status="skipped",
        work_key=key,
        output_uri=storage.join(destination, published.output),
        frames=published.frames,
        duration_s=published.duration_s,
        dropped=published.dropped,
        notes=published.notes,
    )


def _job(video: PlannedVideo, probed: ProbedVideo, destination: str, output: str) -> VideoJob:
    assert probed.info is not None
    assert probed.encode is not None
    return VideoJob(
        ref=video.ref,
        output_path=output,
        output_uri=storage.join(destination, output),
        work_key=video.work_key,
        info=probed.info,
        encode=probed.encode,
        last_duration=probed.last_duration,
        fields=probed.fields,
    )


def _describe(video: PlannedVideo, job: VideoJob, spans: tuple[Span, ...], row_group: int) -> None:
    video.output_uri = job.output_uri
    video.row_group = row_group
    video.frames = job.info.num_frames
    video.duration_s = job.info.duration_s
    video.spans = tuple((span.start, span.stop) for span in spans)
    video.dropped = job.encode.dropped
    video.notes = (*job.info.notes, *job.encode.notes)


def _probed(
    videos: list[PlannedVideo],
    recipe: Recipe,
    spec: ModelSpec,
    bounds: tuple[int | None, int | None],
    num_cpus: int,
) -> Iterator[tuple[PlannedVideo, ProbedVideo]]:
    """Probe in parallel and yield in order, so that equal listings give equal plans."""
    task = ray.remote(probe_source).options(num_cpus=1, max_retries=1)
    window = PROBES_IN_FLIGHT_PER_CPU * num_cpus
    started = [task.remote(video.ref, recipe, spec, *bounds) for video in videos[:window]]
    for number, video in enumerate(videos):
        probed = _collected(started[number], video)
        started[number] = None  # frees the timeline in the object store
        following = number + window
        if following < len(videos):
            started.append(task.remote(videos[following].ref, recipe, spec, *bounds))
        yield video, probed


def _collected(reference: ray.ObjectRef, video: PlannedVideo) -> ProbedVideo:
    try:
        return ray.get(reference)  # type: ignore[no-any-return]
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        message = f"the process that probed it died ({type(error).__name__}): {video.ref.uri}"
        fault = Fault(stage="probe", kind=type(error).__name__, message=message)
        return ProbedVideo(fault=fault)
