"""``vgen dataset``: from videos and stills to shards of clean clips.

One source is one row, one shard and one object, whose name is derived from all that decides what
is in it: a shard that is there is not made again, and the clips do not depend on how many workers
there are. ``dataset.json`` is written last and names the shards that belong to the dataset.
"""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pipelines.cluster import Cluster, connected
from pipelines.dataset_source import DatasetContext, Row, SourceJob, gather_row
from pipelines.listing import VIDEO_SUFFIXES, ListingFault, list_sources
from pipelines.places import check_apart
from pipelines.progress import QUIET_INTERVAL_S
from pipelines.wording import counted
from vgen import storage
from vgen.errors import ConfigError, StorageError
from vgen.manifest import new_run_id, utc_now
from vgen.records import Fault, VideoRef
from vgen.training.dataset import FailedSource, Summary, write_summary
from vgen.training.licences import allows_training, licences_of
from vgen.training.selection import DATASET_VERSION, STILL_SUFFIXES, DatasetSettings
from vgen.training.shards import ShardFacts, read_facts, shard_uri, shards_prefix

PARALLEL_READS = 16
# The driver schedules some 20 to 50 blocks a second and keeps a record of each.
MAX_BLOCKS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asked for."""

    source: str
    destination: str
    settings: DatasetSettings
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request that passed every check, and what SOURCE holds."""

    request: Request
    destination: str
    jobs: list[SourceJob]
    left_out: int
    faults: list[FailedSource]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished dataset."""

    summary: Summary
    summary_uri: str
    num_made: int
    num_reused: int


def prepare(request: Request) -> Prepared:
    """Check settings, places and listing, and change nothing.

    Raises:
        ConfigError, StorageError: refused, with the remedy.
    """
    destination = storage.normalize_uri(request.destination)
    check_apart(request.source, destination)
    storage.check_reachable(destination, writable=True)
    listing = list_sources(request.source, VIDEO_SUFFIXES | STILL_SUFFIXES)
    for one in listing:
        if isinstance(one, VideoRef) and storage.contains(destination, one.uri):
            raise ConfigError(f"source {one.uri!r} lies in DESTINATION; choose another one")
    refs = [one for one in listing if isinstance(one, VideoRef)]
    if not listing:
        raise ConfigError(f"no video and no still picture lies at {request.source!r}")
    licences = licences_of(ref.uri for ref in refs)
    jobs = [_job(ref, licences[ref.uri], request.settings) for ref in refs]
    if request.settings.require_licence:
        jobs = [job for job in jobs if allows_training(job.licence)]
        if not jobs:
            raise ConfigError(
                f"no MANIFEST.csv states a licence that allows training for any of {len(refs)} "
                "files; state it there, or leave out --require-licence"
            )
    return Prepared(
        request=request,
        destination=destination,
        jobs=jobs,
        left_out=len(refs) - len(jobs),
        faults=[
            FailedSource(source_uri=one.uri, error=one.error)
            for one in listing
            if isinstance(one, ListingFault)
        ],
    )


def build(
    prepared: Prepared,
    *,
    say: Callable[[str], None],
    work: Callable[..., Row] = gather_row,
) -> Built:
    """Make the shards that are not there and commit the dataset.

    Args:
        prepared: What ``prepare`` returned.
        say: Told a line now and then, for people.
        work: In place of ``gather_row``; for tests that make workers die.

    Raises:
        ConfigError: there is no Ray at the address, or not one clip was fit.
        StorageError, ray.exceptions.RayError: infrastructure failed; a rerun goes on.
    """
    reused = _finished(prepared, say)
    todo = [job for job in prepared.jobs if job.shard not in reused]
    found: dict[str, ShardFacts | Fault] = dict(reused)
    context = DatasetContext(
        destination=prepared.destination,
        settings=prepared.request.settings,
        run_id=new_run_id(utc_now, prepared.destination),
    )
    say(f"{counted(len(todo), 'source')} to read, {len(reused)} already done")
    if todo:
        with connected(prepared.request.address) as cluster:
            said_at_s = time.monotonic()
            for row in gathered_rows(todo, context, cluster, work):
                outcome = _outcome(row)
                found[row["shard"]] = outcome
                if time.monotonic() - said_at_s > QUIET_INTERVAL_S:
                    said_at_s = time.monotonic()
                    say(f"{len(found) - len(reused)}/{len(todo)} sources read")
    summary = _summary(prepared, found)
    if not summary.clips:
        raise ConfigError(_nothing(summary))
    summary_uri = write_summary(prepared.destination, summary)
    return Built(
        summary=summary,
        summary_uri=summary_uri,
        num_made=len(todo) - summary.failed + len(prepared.faults),
        num_reused=len(reused),
    )


def gathered_rows(
    jobs: list[SourceJob],
    context: DatasetContext,
    cluster: Cluster,
    work: Callable[..., Row],
) -> Iterator[Row]:
    """Hand out sources and yield a small row for each that ended, in any order."""
    import pyarrow as pa
    import ray.data
    from ray.data import DataContext, TaskPoolStrategy

    options = DataContext.get_current()
    options.enable_progress_bars = False
    options.print_on_execution_start = False
    options.execution_no_progress_timeout_s = -1  # a long video rightly takes its time
    options.target_max_block_size = 1  # rows leave as they come, not when many have gathered
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised
    rows = [{"job": job.model_dump_json()} for job in jobs]
    size = -(-len(rows) // MAX_BLOCKS)
    blocks = [pa.Table.from_pylist(rows[at : at + size]) for at in range(0, len(rows), size)]
    yield from (
        ray.data.from_blocks(blocks)
        .map(
            partial(work, context=context),
            num_cpus=1,
            compute=TaskPoolStrategy(size=min(cluster.num_cpus, len(blocks))),
        )
        .iter_rows()
    )


def describe(built: Built) -> Iterator[str]:
    """Yield what a person wants to know of a finished dataset, in lines."""
    summary = built.summary
    kinds = ", ".join(f"{count} of {kind}s" for kind, count in summary.clips.items())
    yield (
        f"{sum(summary.clips.values())} clips ({kinds}), {summary.held_out_clips} held out, "
        f"{summary.frames} frames; {built.num_made} shards made, {built.num_reused} there already"
    )
    counts = {"without a fit clip": summary.without_clips, "without a licence": summary.left_out}
    counts["failed"] = summary.failed
    told = [f"{count} {what}" for what, count in counts.items() if count]
    yield f"{summary.used} of {summary.listed} files used{''.join(f', {one}' for one in told)}"
    if summary.rejected:
        reasons = (f"{count} {reason}" for reason, count in summary.rejected.items())
        yield f"not taken: {', '.join(reasons)}"
    if not summary.held_out_clips:
        yield "nothing is held out for evaluation; name files by --held-out to change that"
    yield f"dataset: {built.summary_uri}"


def _job(ref: VideoRef, licence: str, settings: DatasetSettings) -> SourceJob:
    # JSON, so that no two lists of parts run together into one text.
    parts = json.dumps([ref.uri, ref.etag, licence, settings.digest(), DATASET_VERSION])
    key = hashlib.sha256(parts.encode()).hexdigest()[:32]
    return SourceJob(ref=ref, licence=licence, shard=f"{key}.parquet")


def _finished(prepared: Prepared, say: Callable[[str], None]) -> dict[str, ShardFacts]:
    """Return what earlier runs made of these sources, by shard."""
    held = {
        storage.name_of(one.uri)
        for one in storage.list_objects(shards_prefix(prepared.destination))
    }
    names = [job.shard for job in prepared.jobs if job.shard in held]

    def facts_or_reason(name: str) -> ShardFacts | str:
        try:
            return read_facts(shard_uri(prepared.destination, name))
        except StorageError as error:
            return str(error)

    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        read = dict(zip(names, pool.map(facts_or_reason, names), strict=True))
    for reason in read.values():
        if isinstance(reason, str):
            say(f"made again: {reason}")
    return {name: facts for name, facts in read.items() if isinstance(facts, ShardFacts)}


def _outcome(row: Row) -> ShardFacts | Fault:
    if row["fault"]:
        return Fault.model_validate_json(row["fault"])
    return ShardFacts.model_validate_json(row["facts"])


def _summary(prepared: Prepared, found: dict[str, ShardFacts | Fault]) -> Summary:
    sources, faults = [], list(prepared.faults)
    for job in prepared.jobs:
        outcome = found[job.shard]
        if isinstance(outcome, Fault):
            faults.append(FailedSource(source_uri=job.ref.uri, error=outcome))
        else:
            sources.append(outcome)
    rejected, clips, licences = Counter[str](), Counter[str](), Counter[str]()
    for facts in sources:
        rejected.update(facts.rejected)
        if facts.clips:
            clips[facts.kind] += facts.clips
            licences[facts.licence] += facts.clips
    settings = prepared.request.settings
    used = sum(facts.clips > 0 for facts in sources)
    return Summary(
        seed=settings.seed,
        recipe=settings.model_dump(mode="json"),
        listed=len(prepared.jobs) + prepared.left_out + len(prepared.faults),
        used=used,
        without_clips=len(sources) - used,
        left_out=prepared.left_out,
        failed=len(faults),
        clips=dict(sorted(clips.items())),
        held_out_clips=sum(facts.clips for facts in sources if facts.is_held_out),
        frames=sum(facts.frames for facts in sources),
        rejected=dict(sorted(rejected.items())),
        licences=dict(sorted(licences.items())),
        sources=tuple(sources),
        faults=tuple(faults),
    )


def _nothing(summary: Summary) -> str:
    """Say why not one clip was fit."""
    reasons = [f"{count} {reason}" for reason, count in summary.rejected.items()]
    reasons += [f"{summary.failed} unreadable"] if summary.failed else []
    return f"no clip of {summary.listed} files is fit ({', '.join(reasons)}); no dataset was made"
