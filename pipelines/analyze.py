"""The analyze pass: measure whole videos on CPUs before any span is processed.

Stretches of a video are measured in parallel and reduced to one object; a rerun takes the object
that is there.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

import cv2
import ray

from pipelines.analysis import Analysis, analysis_uri
from pipelines.cluster import Cluster
from pipelines.context import RunContext
from pipelines.jobs import PlannedVideo, VideoJob, read_video_once
from pipelines.observe import (
    Observed,
    is_seen_in_keyframes,
    measure_keyframes,
    measure_stretch,
    stretch_of,
)
from pipelines.outcome import HANG_GRACE_S, fault_of, isolated, process_ends_after
from pipelines.sources import local_source, unchanged
from pipelines.span import SpanRun
from pipelines.wording import counted
from vgen import storage
from vgen.errors import MediaError
from vgen.manifest import OWN_FOLDER
from vgen.post.fit import fitting, shown_aspect
from vgen.post.stats import merge_stats
from vgen.records import Fault

log = logging.getLogger(__name__)

VIDEOS_IN_FLIGHT_PER_CPU = 2
"""Videos whose stretches are handed out at once: enough to keep a cluster busy."""


def analyze_videos(
    videos: Sequence[PlannedVideo],
    context: RunContext,
    cluster: Cluster,
    *,
    lut: bytes | None,
    say: Callable[[str], None],
) -> None:
    """Do what post-processing needs before any span; a fault of the file fails its video.

    Args:
        videos: Of the plan; those that are to do and were not analyzed are.
        context: The constants of the run.
        cluster: How much to use.
        lut: The look-up table that the recipe names, put where workers find it.
        say: Told a line if there is work.

    Raises:
        StorageError, ray.exceptions.RayError: infrastructure failed; a rerun goes on.
    """
    todo = [video for video in videos if video.status == "todo"]
    if todo and lut is not None:
        storage.write_bytes(context.lut_uri, lut)
    if not todo or not context.recipe.post.needs.frames:
        return
    chunks = storage.join(context.destination, OWN_FOLDER, "chunks")
    there = {one.uri for one in storage.list_objects(chunks)}
    waiting = deque(
        one for one in todo if analysis_uri(context.destination, one.work_key) not in there
    )
    if waiting:
        say(
            f"measuring {counted(len(waiting), 'video')} for {', '.join(context.recipe.post.steps)}"
        )
    limit = VIDEOS_IN_FLIGHT_PER_CPU * cluster.num_cpus
    running: dict[ray.ObjectRef, PlannedVideo] = {}
    while waiting or running:
        while waiting and len(running) < limit:
            video = waiting.popleft()
            running[_started(video, context)] = video
        [ready], _ = ray.wait(list(running), num_returns=1)
        video = running.pop(ready)
        video.fault = _collected(ready, video)
        if video.fault is not None:
            log.warning("analysis failed: %s", video.fault.message)
            video.status = "failed"


def observe(row_group: int, number: int, context: RunContext) -> Observed:
    """Measure one stretch of a video: the span at ``number``; runs in a worker.

    Where keyframes are enough, the first stretch stands for all, as there is little to do.
    """
    job, spans = read_video_once(context.plan_uri, row_group)
    settings, _ = fitting(context.recipe.post, job.info.video)
    by_keyframes = is_seen_in_keyframes(job, settings.needs)
    if not settings.needs.frames or (by_keyframes and number):
        return Observed()
    cv2.setNumThreads(1)
    began = time.process_time()
    limit_s = context.recipe.limits.seconds_per_file
    try:
        with (
            isolated(job.ref.uri),
            unchanged(job.ref),
            local_source(job.ref, job.info) as source_path,
            process_ends_after(limit_s + HANG_GRACE_S),
        ):
            run = SpanRun(
                job=job,
                # Fields become the frames of the spans only with their planned context.
                span=spans[number] if job.fields else stretch_of(spans, number),
                recipe=context.recipe,
                source_path=source_path,
                threads=1,
                deadline=time.monotonic() + limit_s,
            )
            if by_keyframes:
                observed = measure_keyframes(run, spans)
            else:
                observed = measure_stretch(run, settings.needs)
    except MediaError as error:
        return Observed(fault=fault_of("analyze", error))
    observed.cpu_seconds = time.process_time() - began
    return observed


def reduce_video(row_group: int, context: RunContext, *parts: Observed) -> Fault | None:
    """Reduce what was measured of a video to its analysis and store it; runs in a worker."""
    faults = [part.fault for part in parts if part.fault is not None]
    if faults:
        return faults[0]
    job, _ = read_video_once(context.plan_uri, row_group)
    began = time.process_time()
    try:
        analysis = analyzed(job, parts, context)
    except (ValueError, ArithmeticError) as error:  # measures that no plan follows from
        message = f"{error}: {job.ref.uri}"
        return Fault(stage="analyze", kind=type(error).__name__, message=message)
    spent_s = time.process_time() - began + sum(part.cpu_seconds for part in parts)
    analysis = analysis.model_copy(update={"cpu_seconds": spent_s})
    uri = analysis_uri(context.destination, job.work_key)
    storage.write_bytes(uri, analysis.model_dump_json().encode())
    return None


def analyzed(job: VideoJob, parts: Sequence[Observed], context: RunContext) -> Analysis:
    """Return the analysis of a video from the measures of its stretches."""
    # Torch, which those who only measure do without.
    from vgen.post.chain import plan_chain
    from vgen.post.told import curves_of, notes_of

    settings, _ = fitting(context.recipe.post, job.info.video)
    stats = merge_stats(part.stats for part in parts)
    cuts = sorted(cut for part in parts for cut in part.cuts)
    plan = plan_chain(
        settings,
        stats,
        cuts,
        aspect=shown_aspect(job.info.video),
        rate=len(stats) / max(job.info.duration_s, 1e-3),
        reference=context.post_files.reference if settings.color.reference else None,
    )
    curves = curves_of(stats, cuts, plan, job.info.num_frames)
    return Analysis(
        plan=plan.model_dump_json(),
        notes=notes_of(settings, plan, len(curves.shots)),
        curves=curves,
    )


def _started(video: PlannedVideo, context: RunContext) -> ray.ObjectRef:
    measure = ray.remote(observe).options(num_cpus=1, max_retries=1)
    reduce = ray.remote(reduce_video).options(num_cpus=1, max_retries=1)
    parts = [measure.remote(video.row_group, n, context) for n in range(len(video.spans))]
    return reduce.remote(video.row_group, context, *parts)


def _collected(reference: ray.ObjectRef, video: PlannedVideo) -> Fault | None:
    try:
        return ray.get(reference)  # type: ignore[no-any-return]
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        message = f"the process that analyzed it died ({type(error).__name__}): {video.ref.uri}"
        return Fault(stage="analyze", kind=type(error).__name__, message=message)
