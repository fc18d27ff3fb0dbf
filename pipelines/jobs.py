"""The rows of a plan: what a worker is told about one video and one span of it."""

import functools
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from vgen import storage
from vgen.errors import StorageError
from vgen.manifest import chunk_uri
from vgen.media.facts import EncodePlan, VideoInfo
from vgen.media.fields import FieldPlan
from vgen.records import Fault, Record, Span, VideoRef

PLAN_VERSION = 13
"""Part of every work key: raise it when the same inputs give other bytes than before."""

PLAN_SCHEMA = pa.schema(
    [
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("output_uri", pa.string()),
        pa.field("work_key", pa.string()),
        pa.field("frames", pa.int64()),
        pa.field("duration_s", pa.float64()),
        pa.field("fault", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("stop", pa.int64()),
        # JSON of the records below; the video's is repeated in its rows and stored once.
        pa.field("span", pa.string()),
        pa.field("video", pa.dictionary(pa.int32(), pa.string())),
    ]
)


class VideoJob(Record):
    """One video to enhance: everything but its spans."""

    ref: VideoRef
    output_path: str
    """Path of the output below the destination."""
    output_uri: str
    work_key: str
    info: VideoInfo
    """The source, with the time base and the frames of the output where fields become frames."""
    encode: EncodePlan
    last_duration: int
    """Ticks that the last frame is shown."""
    fields: FieldPlan | None = None
    """How its fields become frames; None where they are left as they are."""


@dataclass(slots=True, kw_only=True)
class PlannedVideo:
    """What the driver keeps of a listed video; small, because there may be 100,000 of them."""

    ref: VideoRef
    status: str
    """todo, skipped or failed."""
    output_uri: str = ""
    work_key: str = ""
    row_group: int = -1
    """Its rows in the plan, where it is to do."""
    frames: int = 0
    duration_s: float = 0.0
    spans: tuple[tuple[int, int], ...] = ()
    fault: Fault | None = None
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def span_rows(job: VideoJob, spans: tuple[Span, ...]) -> pa.Table:
    """Return the plan's rows of one video."""
    video = job.model_dump_json()
    rows = [
        {
            "source_uri": job.ref.uri,
            "status": "todo",
            "output_uri": job.output_uri,
            "work_key": job.work_key,
            "frames": job.info.num_frames,
            "duration_s": job.info.duration_s,
            "fault": None,
            "start": span.start,
            "stop": span.stop,
            "span": span.model_dump_json(),
            "video": video,
        }
        for span in spans
    ]
    return pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)


def settled_rows(videos: list[PlannedVideo]) -> pa.Table:
    """Return the plan's rows of videos that need no work: skipped, or failed before it."""
    rows = [
        {
            "source_uri": video.ref.uri,
            "status": video.status,
            "output_uri": video.output_uri or None,
            "work_key": video.work_key or None,
            "frames": video.frames,
            "duration_s": video.duration_s,
            "fault": video.fault.model_dump_json() if video.fault else None,
        }
        for video in videos
    ]
    return pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)


def read_video(plan_uri: str, row_group: int) -> tuple[VideoJob, tuple[Span, ...]]:
    """Read one video and its spans from the plan.

    Raises:
        StorageError: the plan is gone or is not one.
    """
    try:
        with storage.open_read(plan_uri) as stream:
            # In this thread: one of Arrow's that lets go of a buffer while Python ends aborts it.
            table = pq.ParquetFile(stream).read_row_group(row_group, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise StorageError(f"cannot read the plan {plan_uri!r}: {error}") from error
    job = VideoJob.model_validate_json(table["video"][0].as_py())
    spans = tuple(Span.model_validate_json(text) for text in table["span"].to_pylist())
    return job, spans


@functools.lru_cache(maxsize=4)
def read_video_once(plan_uri: str, row_group: int) -> tuple[VideoJob, tuple[Span, ...]]:
    """Do what ``read_video`` does, and keep the last few for this process's next row."""
    return read_video(plan_uri, row_group)


def chunk_of(destination: str, job: VideoJob, span: Span) -> str:
    """URI of the chunk that answers ``span``."""
    return chunk_uri(destination, job.work_key, span.name)
