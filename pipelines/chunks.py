"""The row functions of a run: a small row in, a chunk object written, a small row out.

Ray hands rows as dictionaries and gives them back in any order; what a row means stands in it.
Nothing here imports Ray, so every function can be called, and is tested, as it is.
"""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from pipelines.attempts import Attempts
from pipelines.claim import published_of
from pipelines.context import RunContext
from pipelines.finishing import finish_of
from pipelines.jobs import VideoJob, chunk_of, read_video_once
from pipelines.outcome import HANG_GRACE_S, fault_of, isolated, process_ends_after
from pipelines.release_files import release_path
from pipelines.scratch import scratch, sweep_scratch
from pipelines.sources import check_unchanged, local_source, unchanged
from pipelines.span import SpanRun, produce_chunk
from vgen import storage
from vgen.errors import MediaError, MissingError, StorageError
from vgen.manifest import chunk_prefix
from vgen.media.chunk import read_facts
from vgen.records import Fault, Span

if TYPE_CHECKING:
    from vgen.enhance.enhancer import Enhancer

Row = dict[str, object]


class EnhanceSpan:
    """One worker holding one release; called with one span at a time."""

    def __init__(self, context: RunContext) -> None:
        """Load the release on the context's device."""
        sweep_scratch()
        self._context = context
        self._enhancer = load_enhancer(context)

    def __call__(self, row: Row) -> Row:
        """Produce the span's chunk unless it exists; a fault of the file is in the row."""
        return produce_row(row, self._enhancer, self._context)


def load_enhancer(context: RunContext) -> "Enhancer":
    """Load the run's release in this process, with one torch thread on a CPU."""
    # The driver imports this module too, and should not pay for torch.
    from vgen.enhance.enhancer import Enhancer

    if context.device == "cpu":
        import cv2
        import torch

        torch.set_num_threads(1)
        cv2.setNumThreads(1)
    with scratch("release") as folder:
        path = release_path(context.release, folder)
        return Enhancer.load(path or "identity", device=context.device)


def produce_row(row: Row, enhancer: "Enhancer", context: RunContext) -> Row:
    """Produce one span's chunk from decoded source to published object."""
    began = time.time()
    job, span, uri = job_of(row, context)
    stop_uri = stop_uri_of(job, context)
    if is_settled(job, uri, stop_uri, context):
        return result_row(row, began, is_reused=True)
    attempts = Attempts(uri, context.run_id)
    try:
        attempts.begin(job.ref.uri)
        limit_s = context.recipe.limits.seconds_per_file
        with (
            isolated(job.ref.uri),
            unchanged(job.ref),
            scratch("span") as folder,
            local_source(job.ref, job.info) as source_path,
            process_ends_after(limit_s + HANG_GRACE_S),
        ):
            run = SpanRun(
                job=job,
                span=span,
                recipe=context.recipe,
                source_path=source_path,
                threads=context.decode_threads,
                deadline=time.monotonic() + limit_s,
                finish=finish_of(job, context),
            )
            path = folder / f"chunk.{job.encode.chunk_format}"
            facts = produce_chunk(run, enhancer, path, has_threads=context.has_threads)
            check_unchanged(job.ref)  # what was decoded is of the version that the key names
            publish_chunk(path, uri)
    except MediaError as error:
        attempts.end()
        return fault_row(row, began, error, stop_uri)
    attempts.end()
    return {
        **result_row(row, began, frames=len(facts.frame_pts)),
        "first_frame_at": run.first_frame_at,
    }


def is_settled(job: VideoJob, uri: str, stop_uri: str, context: RunContext) -> bool:
    """Whether nothing is left to do for a span: its chunk is there, or its video is done or failed.

    Ray repeats rows whose worker died. Their video may have been published meanwhile, by this run
    or by another, and its chunks deleted.
    """
    if storage.exists(uri) or storage.exists(stop_uri):
        return True
    return published_of(context.destination, job.output_path, job.work_key) is not None


def publish_chunk(path: Path, uri: str) -> None:
    """Make a sealed chunk file an object, whole or not at all.

    Another run may put its own there at the same moment. That one is as good, though its size may
    differ by the figures in it. Or it has published the video and taken all chunks away: where it
    has not, assembling the video will say what is missing.
    """
    try:
        storage.publish(path, uri)
    except MissingError:
        return
    except StorageError:
        if not _is_chunk(uri):
            raise


def _is_chunk(uri: str) -> bool:
    try:
        with storage.open_read(uri) as stream:
            read_facts(stream, name=uri)
    except StorageError:
        return False
    return True


def job_of(row: Row, context: RunContext) -> tuple[VideoJob, Span, str]:
    """Return the video, the span and the chunk's URI that ``row`` stands for."""
    job, spans = read_video_once(context.plan_uri, int_of(row, "row_group"))
    span = spans[int_of(row, "span")]
    return job, span, chunk_of(context.destination, job, span)


def stop_uri_of(job: VideoJob, context: RunContext) -> str:
    """URI that exists once the video has failed: trying its other spans would only cost time."""
    return storage.join(chunk_prefix(context.destination, job.work_key), f"failed-{context.run_id}")


def fault_row(row: Row, began: float, error: MediaError, stop_uri: str) -> Row:
    """Return the row of a span that failed, and stop the rest of its video."""
    stage = {"DecodeError": "decode", "EncodeError": "encode"}.get(type(error).__name__, "enhance")
    fault = fault_of(stage, error)
    storage.write_bytes(stop_uri, fault.model_dump_json().encode())
    return result_row(row, began, fault=fault)


def result_row(
    row: Row,
    began: float,
    *,
    frames: int = 0,
    fault: Fault | None = None,
    is_reused: bool = False,
) -> Row:
    """Return the small row of a span that ended."""
    return {
        "video": int_of(row, "video"),
        "row_group": int_of(row, "row_group"),
        "span": int_of(row, "span"),
        "frames": frames,
        "fault": fault.model_dump_json() if fault else "",
        "is_reused": is_reused,
        "pid": os.getpid(),
        "began": began,
        "ended": time.time(),
        "first_frame_at": began,
    }


def int_of(row: Row, key: str) -> int:
    """Return an integer column, which Ray may hand over as a numpy one."""
    value = row[key]
    assert isinstance(value, (int, np.integer))
    return int(value)


def pack(frames: Iterable[av.VideoFrame]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Gather planar frames as one array ``[T, bytes of a frame]`` and their PTS, for the store."""
    from vgen.media.pixels import planes_of

    rows: list[NDArray[np.uint8]] = []
    pts: list[int] = []
    for frame in frames:
        planes = [np.ascontiguousarray(plane).view(np.uint8).ravel() for plane in planes_of(frame)]
        rows.append(np.concatenate(planes))
        assert frame.pts is not None
        pts.append(frame.pts)
    packed = np.stack(rows) if rows else np.zeros((0, 0), np.uint8)
    return packed, np.array(pts, np.int64)


def unpack(
    packed: NDArray[np.uint8], pts: NDArray[np.int64], *, width: int, height: int, format_name: str
) -> Iterator[av.VideoFrame]:
    """Undo ``pack``."""
    from vgen.media.pixels import frame_from_planes, planar_format

    layout = planar_format(format_name)
    shapes = layout.plane_shapes(width, height)
    for row, moment in zip(packed, pts, strict=True):
        planes, offset = [], 0
        for rows, columns in shapes:
            size_bytes = rows * columns * layout.dtype.itemsize
            plane = row[offset : offset + size_bytes].view(layout.dtype)
            planes.append(plane.reshape(rows, columns))
            offset += size_bytes
        yield frame_from_planes(planes, format_name, int(moment), None)
