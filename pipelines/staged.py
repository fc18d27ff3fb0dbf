"""The staged topology: decode, enhance and encode as operators of their own.

Native planes cross the object store between them, so that nodes without a GPU can encode for
those that have one. A row is the fused topology's small row plus three columns: ``planes``
``[T, bytes of a frame]``, ``pts`` ``[T]`` and ``facts``, the chunk's facts so far as JSON. A row
without frames, because its chunk exists or its video failed, passes through.
"""

import time
from collections.abc import Callable, Iterator

import av
import numpy as np
from numpy.typing import NDArray

from pipelines.attempts import Attempts
from pipelines.chunks import (
    Row,
    fault_row,
    is_settled,
    job_of,
    load_enhancer,
    pack,
    publish_chunk,
    result_row,
    stop_uri_of,
    unpack,
)
from pipelines.context import RunContext
from pipelines.finishing import finish_of
from pipelines.outcome import HANG_GRACE_S, isolated, process_ends_after
from pipelines.scratch import scratch
from pipelines.sources import check_unchanged, local_source, unchanged
from pipelines.span import SpanRun, decoded, enhanced, picker_of
from pipelines.stages import StageClock
from vgen.errors import MediaError
from vgen.media.chunk import seal
from vgen.media.decode import DecodeStats, NeedsSequential
from vgen.media.encode import encode_chunk
from vgen.records import ChunkFacts

_PIXELS = ("planes", "pts", "facts")
_NO_PLANES = np.zeros((0, 0), np.uint8)
_NO_PTS = np.zeros(0, np.int64)
DECODE_THREADS = 2


def decode_row(row: Row, context: RunContext) -> Row:
    """Decode one span into planes, unless its chunk exists or its video has failed."""
    began = time.time()
    job, span, uri = job_of(row, context)
    stop_uri = stop_uri_of(job, context)
    if is_settled(job, uri, stop_uri, context):
        return _with_frames(result_row(row, began, is_reused=True), _NO_PLANES, _NO_PTS, None)
    limit_s = context.recipe.limits.seconds_per_file
    clock = StageClock(time.process_time)
    attempts = Attempts(uri, context.run_id)
    try:
        attempts.begin(job.ref.uri)
        with (
            isolated(job.ref.uri),
            unchanged(job.ref),
            local_source(job.ref, job.info) as source_path,
            process_ends_after(limit_s + HANG_GRACE_S),
        ):
            run = _span_run(row, context)
            run.source_path = source_path
            run.deadline = time.monotonic() + limit_s
            try:
                planes, pts = pack(clock.metered("decode", decoded(run)))
            except NeedsSequential:
                run.is_from_start, run.stats = True, DecodeStats()
                planes, pts = pack(clock.metered("decode", decoded(run)))
    except MediaError as error:
        attempts.end()
        failed = fault_row(row, began, error, stop_uri)
        return _with_frames(failed, _NO_PLANES, _NO_PTS, None)
    facts = ChunkFacts(
        start=span.start,
        stop=span.stop,
        frame_pts=(),
        packet_pts=(),
        dropped=tuple(sorted(run.stats.uncarried)),
        num_damaged_packets=run.stats.num_damaged_packets,
        num_missing=run.stats.num_missing,
        num_unplanned=run.stats.num_unplanned,
        first_crc=run.stats.first_crc,
        after_crc=run.stats.after_crc,
        stage_cpu_seconds=dict(clock.seconds),
    )
    return _with_frames(result_row(row, began), planes, pts, facts)


class EnhanceFrames:
    """One worker holding one release, given the decoded frames of a span."""

    def __init__(self, context: RunContext) -> None:
        """Load the release on the context's device."""
        self._context = context
        self._enhancer = load_enhancer(context)

    def __call__(self, row: Row) -> Row:
        """Replace the planes by those of the restored frames."""

        def restore(frames: Iterator[av.VideoFrame], facts: ChunkFacts) -> Row:
            run = _span_run(row, self._context)
            clock = StageClock(time.process_time)
            run.finish = finish_of(run.job, self._context)
            if run.finish is not None:
                run.finish.meter = clock.metered
            picker = picker_of(run)
            restored = enhanced(run, self._enhancer, frames, picker)
            planes, pts = pack(clock.metered("enhance", restored))
            told = {
                "notes": tuple(run.notes),
                "still": picker.still(),
                "luma": run.finish.points(run.span) if run.finish else (),
                "stage_cpu_seconds": {**facts.stage_cpu_seconds, **clock.seconds},
            }
            return _with_frames(_small(row), planes, pts, facts.model_copy(update=told))

        video = job_of(row, self._context)[0].info.video
        layout = (video.width, video.height, video.planar_format)
        return _on_frames("enhance", row, self._context, restore, layout)


def encode_row(row: Row, context: RunContext) -> Row:
    """Encode the restored frames, publish the chunk and drop the pixels."""
    job, _, uri = job_of(row, context)
    plan = job.encode

    def encode(frames: Iterator[av.VideoFrame], facts: ChunkFacts) -> Row:
        clock = StageClock(time.process_time)
        with scratch("span") as folder:
            path = folder / f"chunk.{plan.chunk_format}"
            clock.switch("encode")
            chunk = encode_chunk(frames, plan, path, uri=job.ref.uri)
            clock.switch(None)
            told = {
                "frame_pts": chunk.frame_pts,
                "packet_pts": chunk.packet_pts,
                "stage_cpu_seconds": {**facts.stage_cpu_seconds, **clock.seconds},
            }
            seal(path, facts.model_copy(update=told))
            check_unchanged(job.ref)
            publish_chunk(path, uri)
        Attempts(uri, context.run_id).end()
        return {**_small(row), "frames": len(chunk.frame_pts), "ended": time.time()}

    layout = (plan.width, plan.height, plan.pixel_format)
    return _small(_on_frames("encode", row, context, encode, layout))


def _on_frames(
    stage: str,
    row: Row,
    context: RunContext,
    work: Callable[[Iterator[av.VideoFrame], ChunkFacts], Row],
    layout: tuple[int, int, str],
) -> Row:
    """Do ``work`` on the row's frames; a fault of the file fails the row.

    Each stage counts its own starts: Ray repeats the stage whose worker died, not those before.
    """
    packed, pts, text = row["planes"], row["pts"], row["facts"]
    assert isinstance(packed, np.ndarray)
    assert isinstance(pts, np.ndarray)
    if not text:
        return row
    width, height, format_name = layout
    frames = unpack(packed, pts, width=width, height=height, format_name=format_name)
    job, _, uri = job_of(row, context)
    attempts = Attempts(f"{uri}.{stage}", context.run_id)
    try:
        attempts.begin(job.ref.uri)
        with isolated(job.ref.uri):
            ended = work(frames, ChunkFacts.model_validate_json(str(text)))
    except MediaError as error:
        attempts.end()
        Attempts(uri, context.run_id).end()
        failed = fault_row(row, float(str(row["began"])), error, stop_uri_of(job, context))
        return _with_frames(failed, _NO_PLANES, _NO_PTS, None)
    attempts.end()
    return ended


def _span_run(row: Row, context: RunContext) -> SpanRun:
    job, span, _ = job_of(row, context)
    return SpanRun(
        job=job, span=span, recipe=context.recipe, source_path=None, threads=DECODE_THREADS
    )


def _with_frames(
    small: Row, planes: NDArray[np.uint8], pts: NDArray[np.int64], facts: ChunkFacts | None
) -> Row:
    return {
        **small,
        "planes": planes,
        "pts": pts,
        "facts": facts.model_dump_json() if facts else "",
    }


def _small(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in _PIXELS}
