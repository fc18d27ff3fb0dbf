"""One source of a dataset in a worker: read, cut, judged, and published as a shard."""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.attempts import Attempts
from pipelines.outcome import HANG_GRACE_S, fault_of, isolated, process_ends_after
from pipelines.scratch import scratch
from pipelines.sources import check_unchanged, local_source
from vgen import storage
from vgen.errors import MediaError, ProbeError, StorageError
from vgen.records import Record, VideoRef
from vgen.training.selection import DatasetSettings
from vgen.training.shards import CleanClip, ShardFacts, shard_uri, write_shard

if TYPE_CHECKING:
    from numpy.random import Generator

Row = dict[str, str]

MAX_STILL_BYTES = 1 << 28
_READ_BYTES = 1 << 22


class SourceJob(Record):
    """One source to take clips from."""

    ref: VideoRef
    licence: str
    """As stated; empty where nothing is."""
    shard: str
    """File name of the shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetContext:
    """The constants of one run; pickled to every worker."""

    destination: str
    settings: DatasetSettings
    run_id: str


def gather_row(row: Row, context: DatasetContext) -> Row:
    """Publish the shard of the source in ``row["job"]``.

    Returns:
        ``shard``, and either ``facts`` (JSON of ``ShardFacts``) or ``fault`` (JSON of ``Fault``).

    Raises:
        StorageError: the shard cannot be published.
    """
    job = SourceJob.model_validate_json(row["job"])
    target = shard_uri(context.destination, job.shard)
    attempts = Attempts(target, context.run_id)
    with scratch("dataset") as folder:
        path = folder / job.shard
        try:
            attempts.begin(job.ref.uri)
            limit_s = context.settings.limits.seconds_per_file + HANG_GRACE_S
            with isolated(job.ref.uri), process_ends_after(limit_s):
                facts = gather_shard(job, context.settings, path)
        except MediaError as error:
            attempts.end()
            return _failed(job, error)
        except StorageError as error:
            attempts.end()
            # The listing showed it a moment ago: it went away, or may not be read.
            return _failed(job, ProbeError(str(error), uri=job.ref.uri))
        storage.publish(path, target)
    attempts.end()
    return {"shard": job.shard, "facts": facts.model_dump_json(), "fault": ""}


def _failed(job: SourceJob, error: MediaError) -> Row:
    return {"shard": job.shard, "facts": "", "fault": fault_of("decode", error).model_dump_json()}


def gather_shard(job: SourceJob, settings: DatasetSettings, path: Path) -> ShardFacts:
    """Write the clips of one source to the local file ``path``.

    Raises:
        MediaError: the source is at fault.
        StorageError: it cannot be read.
    """
    # OpenCV reads its limit when it is loaded, and only then refuses before it allocates.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(settings.limits.max_pixels)
    from vgen.training.clips import is_held_out
    from vgen.training.gather import generator_of, is_still

    name = storage.name_of(job.ref.uri)
    sha256 = _digest(job.ref)
    facts = ShardFacts(
        source_uri=job.ref.uri,
        source_etag=job.ref.etag,
        source_sha256=sha256,
        kind="still" if is_still(name) else "video",
        licence=job.licence,
        is_held_out=is_held_out(name, settings.held_out),
        shard=job.shard,
    )
    rejected: Counter[str] = Counter()
    take = _still_clips if facts.kind == "still" else _video_clips
    clips = take(job.ref, settings, generator_of(sha256, settings), rejected)
    facts = write_shard(path, facts, clips, rejected)
    check_unchanged(job.ref)
    return facts


def _digest(ref: VideoRef) -> str:
    digest = hashlib.sha256()
    with storage.open_read(ref.uri) as stream:
        while content := stream.read(_READ_BYTES):
            digest.update(content)
    return digest.hexdigest()


def _still_clips(
    ref: VideoRef, settings: DatasetSettings, rng: "Generator", rejected: Counter[str]
) -> Iterator[CleanClip]:
    from vgen.training.gather import still_clips

    if ref.size_bytes > MAX_STILL_BYTES:
        size = f"{ref.size_bytes} bytes are more than {MAX_STILL_BYTES}"
        raise ProbeError(f"a picture refused: {size}", uri=ref.uri)
    yield from still_clips(storage.read_bytes(ref.uri), ref.uri, settings, rng, rejected)


def _video_clips(
    ref: VideoRef,
    settings: DatasetSettings,
    rng: "Generator",
    rejected: Counter[str],
) -> Iterator[CleanClip]:
    from vgen.media.probe import probe_video
    from vgen.training.gather import OpenedVideo, video_clips

    info, timeline = probe_video(ref, settings.limits)
    with local_source(ref, info) as open_path:
        video = OpenedVideo(
            uri=ref.uri,
            info=info,
            timeline=timeline,
            open_path=open_path,
            deadline=time.monotonic() + settings.limits.seconds_per_file,
        )
        yield from video_clips(video, settings, rng, rejected)
