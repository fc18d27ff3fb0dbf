"""From the chunks of one video to its published output: the last task of a video.

Object first, manifest last: the manifest is the commit. Between the two a ``publishing`` record
beside the chunks says which bytes are about to appear, so that a rerun after a kill knows an
output without manifest as its own.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from pipelines.analysis import Analysis, read_analysis
from pipelines.claim import Publishing, obstacle, pending_uri, published_of
from pipelines.jobs import VideoJob, chunk_of, read_video
from pipelines.outcome import HANG_GRACE_S, fault_of, isolated, process_ends_after
from pipelines.release_files import ReleaseRef
from pipelines.scratch import scratch
from pipelines.sources import check_unchanged, local_source, unchanged
from vgen import storage
from vgen.config import Recipe
from vgen.errors import DamagedError, MediaError, MissingError, RefusedError, VerifyError
from vgen.manifest import Manifest, chunk_prefix, pts_digest, write_manifest
from vgen.media.assemble import assemble_video
from vgen.media.chunk import checked_media, read_facts
from vgen.media.concat import ChunkSource
from vgen.media.verify import verify_output
from vgen.post.fit import fitting
from vgen.records import ChunkFacts, Curves, Fault, Record, Still, VideoOutcome

log = logging.getLogger(__name__)


class Assembled(Record):
    """What the driver learns about a video from its last task."""

    outcome: VideoOutcome
    still: Still | None = None
    curves: Curves | None = None
    """Where the video was post-processed from measures."""
    stage_cpu_seconds: dict[str, float] = {}
    """CPU seconds of all its stages, those of reused chunks included."""


def assemble(
    plan_uri: str,
    row_group: int,
    *,
    destination: str,
    recipe: Recipe,
    release: ReleaseRef,
    is_overwrite: bool,
) -> Assembled:
    """Concatenate, verify and publish one video; a fault of the file becomes its outcome.

    Raises:
        StorageError: the destination or the plan is at fault; the run stops.
    """
    job, spans = read_video(plan_uri, row_group)
    began = time.process_time()
    stage = "assemble"
    try:
        with (
            isolated(job.ref.uri),
            unchanged(job.ref),
            scratch("assemble") as folder,
            local_source(job.ref, job.info) as source_path,
            process_ends_after(recipe.limits.seconds_per_file + HANG_GRACE_S),
        ):
            post, told = fitting(recipe.post, job.info.video)
            analysis = read_analysis(destination, job.work_key) if post.needs.frames else Analysis()
            chunks = [_opened(chunk_of(destination, job, span)) for span in spans]
            facts = [chunk.facts for chunk in chunks]
            check_joints(facts, uri=job.ref.uri)
            path = folder / f"output.{job.encode.container}"
            result = assemble_video(
                job.ref.uri,
                job.info,
                job.encode,
                chunks,
                path,
                last_duration=job.last_duration,
                open_path=source_path,
            )
            # Chunks and sound are of one version only if it is still the one that was listed.
            check_unchanged(job.ref)
            stage = "verify"
            frame_pts = [pts for one in facts for pts in one.frame_pts]
            verify_output(path, job.info, job.encode, frame_pts, result, uri=job.ref.uri)
            stage = "publish"
            outcome = VideoOutcome(
                source_uri=job.ref.uri,
                output_uri=job.output_uri,
                status="done",
                frames=len(frame_pts),
                duration_s=job.info.duration_s,
                dropped=(*job.encode.dropped, *result.dropped, *_lost(facts)),
                notes=(
                    *job.info.notes,
                    *job.encode.notes,
                    *result.notes,
                    *_notes(facts),
                    *told,
                    *analysis.notes,
                ),
            )
            _publish(
                job,
                path,
                outcome,
                tuple(frame_pts),
                destination,
                recipe,
                release,
                is_overwrite=is_overwrite,
            )
    except MediaError as error:
        log.warning("%s failed: %s", stage, error)
        return Assembled(outcome=failed(job, fault_of(stage, error)))
    except DamagedError as error:
        log.warning("%s failed: %s", stage, error)
        _drop_damaged([chunk_of(destination, job, span) for span in spans])
        fault = VerifyError(f"{error}; the next run makes that chunk anew", uri=job.ref.uri)
        return Assembled(outcome=failed(job, fault_of(stage, fault)))
    except MissingError:
        # Another run took the chunks, or an attempt of this task whose end was lost.
        published = _published_already(job, destination)
        if published is None:
            raise
        return Assembled(outcome=published)
    storage.delete_prefix(chunk_prefix(destination, job.work_key))
    seconds = _summed(facts)
    seconds["assemble"] = time.process_time() - began
    if post.needs.frames:
        seconds["analyze"] = analysis.cpu_seconds
    # Chunks of an earlier run may hold stills that this one's recipe does not want shown.
    stills = [one.still for one in facts if one.still is not None and recipe.report.stills]
    return Assembled(
        outcome=outcome,
        still=max(stills, key=lambda still: still.change, default=None),
        curves=_curves(analysis, facts) if post.steps else None,
        stage_cpu_seconds=seconds,
    )


def check_joints(facts: Sequence[ChunkFacts], *, uri: str) -> None:
    """Compare what neighbouring spans decoded of the frame at their joint.

    A last resort: damage that a decoder conceals without a word may look different when it
    is reached by a seek.

    Raises:
        VerifyError: two spans saw different pictures.
    """
    for before, after in pairwise(facts):
        seen, owned = before.after_crc, after.first_crc
        if seen and owned and seen[0] == owned[0] and seen != owned:
            raise VerifyError(
                f"frame {after.start} decodes differently in two spans: the source is damaged in a "
                f"way that its decoder conceals; run with --span-frames {facts[-1].stop} to decode "
                "it in one go",
                uri=uri,
                pts=owned[0],
            )


def failed(job: VideoJob, fault: Fault) -> VideoOutcome:
    """Return the outcome of a video that failed with ``fault``."""
    return VideoOutcome(
        source_uri=job.ref.uri,
        output_uri=job.output_uri,
        status="failed",
        duration_s=job.info.duration_s,
        error=fault,
    )


def _published_already(job: VideoJob, destination: str) -> VideoOutcome | None:
    """Return the outcome of what is published of this very work; None where nothing is."""
    manifest = published_of(destination, job.output_path, job.work_key)
    if manifest is None:
        return None
    return VideoOutcome(
        source_uri=job.ref.uri,
        output_uri=job.output_uri,
        status="done",
        frames=manifest.frames,
        duration_s=manifest.duration_s,
        dropped=manifest.dropped,
        notes=manifest.notes,
    )


def _opened(uri: str) -> ChunkSource:
    open_chunk: Callable[[], BinaryIO] = partial(storage.open_read, uri)
    with open_chunk() as stream:
        return ChunkSource(open=open_chunk, facts=read_facts(stream, name=uri), name=uri)


def _drop_damaged(uris: Sequence[str]) -> None:
    for uri in uris:
        try:
            checked_media(storage.open_read(uri), name=uri).close()
        except DamagedError:
            storage.delete(uri)


def _notes(facts: Sequence[ChunkFacts]) -> tuple[str, ...]:
    """Say once for the video what its spans counted."""
    damaged = sum(one.num_damaged_packets for one in facts)
    missing = sum(one.num_missing for one in facts)
    unplanned = sum(one.num_unplanned for one in facts)
    notes = [note for one in facts for note in one.notes]
    if damaged:
        notes.append(f"{damaged} damaged packets or frames; what decodes was kept in its time")
    if missing:
        notes.append(f"{missing} announced frames could not be decoded and are missing")
    if unplanned:
        notes.append(f"{unplanned} frames decoded that no packet announced were kept")
    return tuple(dict.fromkeys(notes))


def _curves(analysis: Analysis, facts: Sequence[ChunkFacts]) -> Curves:
    """Join what was measured before with the luma that the spans noted."""
    luma = tuple(point for one in facts for point in one.luma)
    return analysis.curves.model_copy(update={"luma": luma})


def _lost(facts: Sequence[ChunkFacts]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(what for one in facts for what in one.dropped))


def _summed(facts: Sequence[ChunkFacts]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for one in facts:
        for stage, spent in one.stage_cpu_seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    return seconds


def _publish(
    job: VideoJob,
    path: Path,
    outcome: VideoOutcome,
    frame_pts: tuple[int, ...],
    destination: str,
    recipe: Recipe,
    release: ReleaseRef,
    *,
    is_overwrite: bool,
) -> None:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    size_bytes = path.stat().st_size
    fault = obstacle(
        destination, job.output_path, job.work_key, job.ref.uri, is_overwrite=is_overwrite
    )
    if fault is not None:
        raise VerifyError(fault, uri=job.ref.uri)
    record = Publishing(output_path=job.output_path, size_bytes=size_bytes, digest=digest)
    record_uri = pending_uri(destination, job.work_key)
    storage.write_bytes(record_uri, record.model_dump_json().encode())
    if storage.is_local(destination):
        # The slow copy from scratch goes below _vgen: a kill leaves nothing beside the outputs.
        # Its name is its own: another run may be publishing the same video.
        name = f"staged-output-{uuid4().hex}"
        staged = storage.join(chunk_prefix(destination, job.work_key), name)
        storage.publish(path, staged)
        path = Path(staged)
    manifest = Manifest(
        work_key=job.work_key,
        source_uri=job.ref.uri,
        source_etag=job.ref.etag,
        source_size_bytes=job.ref.size_bytes,
        output=job.output_path,
        size_bytes=size_bytes,
        sha256=digest,
        frames=outcome.frames,
        duration_s=outcome.duration_s,
        frame_pts_sha256=pts_digest(frame_pts),
        release=release.name,
        release_digest=release.digest,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest(),
        code_version=version("vgen"),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        dropped=outcome.dropped,
        notes=outcome.notes,
    )
    try:
        storage.publish(path, job.output_uri)
        write_manifest(destination, manifest)
    except RefusedError as error:
        # The record above could be written, so this place alone may not.
        raise VerifyError(f"the output cannot be published: {error}", uri=job.ref.uri) from error
