"""The run: every unfinished span of a plan becomes a chunk, every finished video an output.

``chunk_rows`` is the whole data flow in one function. Rows enter and leave without pixels.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

from pipelines.assemble import Assembled, assemble
from pipelines.chunks import EnhanceSpan, Row
from pipelines.cluster import Cluster
from pipelines.context import STAGED_ROW_BYTES, RunContext, Topology
from pipelines.jobs import PlannedVideo
from pipelines.progress import Progress
from pipelines.result import RunResult
from pipelines.staged import EnhanceFrames, decode_row, encode_row
from vgen import storage
from vgen.manifest import chunk_uri
from vgen.records import Fault, VideoOutcome, span_name

log = logging.getLogger(__name__)

# Two rows an actor: the next one is there when the first is done, and few are bound too early.
ROWS_IN_FLIGHT_PER_ACTOR = 2
# The driver schedules some 20 to 50 blocks a second and keeps a record of each.
MAX_BLOCKS = 2000


def chunk_rows(
    rows: list[Row],
    context: RunContext,
    cluster: Cluster,
    topology: Topology,
    worker: type | None = None,
) -> Iterator[Row]:
    """Hand out spans and yield a small row for each that ended, in any order.

    Neighbouring operators ask for different resources on purpose: Ray Data fuses operators
    that ask for the same, and then a single actor does everything.

    Args:
        rows: What to do, by place in the plan.
        context: The constants of the run.
        cluster: How much to use.
        topology: Which operators there are.
        worker: Actor class in place of the topology's own, ``EnhanceSpan`` or ``EnhanceFrames``.
    """
    settings = DataContext.get_current()
    settings.enable_progress_bars = False
    settings.print_on_execution_start = False
    # Every row leaves its task as soon as it is there, not when 128 MiB have gathered.
    settings.target_max_block_size = 1 if topology == "fused" else STAGED_ROW_BYTES
    # A span may rightly take hours. Workers end themselves when one hangs, and by default a run
    # without a finished row for half an hour would be ended.
    settings.execution_no_progress_timeout_s = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised
    # from_arrow would ask a task about every block: a second at the start.
    spans = ray.data.from_blocks(_blocks(rows))
    on_gpu = cluster.device == "cuda"
    actors = cluster.num_gpus if on_gpu else cluster.num_cpus
    pool = ActorPoolStrategy(
        size=max(1, min(actors, len(rows))),
        max_tasks_in_flight_per_actor=ROWS_IN_FLIGHT_PER_ACTOR,
    )
    # A GPU actor asks for no CPU, or pools of actors could starve each other for ever.
    needs: dict[str, float] = {"num_gpus": 1, "num_cpus": 0} if on_gpu else {"num_cpus": 1}
    if topology == "fused":
        chunks = spans.map(
            worker or EnhanceSpan, fn_constructor_args=(context,), compute=pool, **needs
        )
    else:
        decode_cpus, encode_cpus = (2.0, 1.0) if on_gpu else (0.25, 0.25)
        needs = needs if on_gpu else {"num_cpus": 0.5}
        chunks = (
            spans.map(
                partial(decode_row, context=context),
                num_cpus=decode_cpus,
                compute=TaskPoolStrategy(size=max(1, cluster.num_cpus // 4)),
            )
            .map(worker or EnhanceFrames, fn_constructor_args=(context,), compute=pool, **needs)
            .map(partial(encode_row, context=context), num_cpus=encode_cpus)
        )
    yield from chunks.iter_rows()


def run_plan(
    videos: list[PlannedVideo],
    context: RunContext,
    cluster: Cluster,
    progress: Progress,
    topology: Topology,
    result: RunResult,
    *,
    worker: type | None = None,
) -> None:
    """Produce, assemble and publish every video that is to do; ``result`` is filled meanwhile.

    Raises:
        StorageError, ray.exceptions.RayError: infrastructure failed; a rerun goes on.
    """
    there = {one.uri for one in storage.list_objects(_chunks_uri(context))}
    missing: dict[int, int] = {}
    rows: list[Row] = []
    faults: dict[int, Fault] = {}
    unmade: dict[int, int] = {}

    def settle(index: int, assembled: Assembled) -> None:
        result.settle(index, assembled)
        if assembled.outcome.status == "failed":
            progress.videos_failed += 1
            progress.frames_given_up += unmade.get(index, 0)
        else:
            progress.videos_done += 1

    with Crew(context, settle, limit=max(2, cluster.num_cpus // 2)) as crew:
        for index, video in enumerate(videos):
            if video.status != "todo":
                continue
            todo = [n for n, uri in enumerate(_chunk_uris(video, context)) if uri not in there]
            reused = set(range(len(video.spans))) - set(todo)
            result.num_reused += len(reused)
            lengths = [stop - start for start, stop in video.spans]
            unmade[index] = sum(lengths[n] for n in todo)
            progress.frames_reused += sum(lengths[n] for n in reused)
            missing[index] = len(todo)
            rows += [{"video": index, "row_group": video.row_group, "span": n} for n in todo]
            if not todo:
                crew.submit(index, video)
        if rows:
            for row in chunk_rows(rows, context, cluster, topology, worker):
                result.add_row(row)
                index = int(str(row["video"]))
                if row["fault"] and index not in faults:
                    faults[index] = Fault.model_validate_json(str(row["fault"]))
                    settle(index, _failed(videos[index], faults[index]))
                frames = int(str(row["frames"]))
                unmade[index] -= frames
                progress.add_frames(frames)
                missing[index] -= 1
                if missing[index] == 0 and index not in faults:
                    crew.submit(index, videos[index])
        progress.phase = "assembling"


class Crew:
    """Assembles videos beside the running data flow, a few at a time.

    Tasks ask for no CPU: actors hold all of them until the last span is done, and a finished
    video should not wait for that. How many run at once is bounded here instead.
    """

    def __init__(
        self, context: RunContext, settle: Callable[[int, Assembled], None], *, limit: int
    ) -> None:
        """Start nothing yet; ``settle`` is called from the crew's thread."""
        self._context = context
        self._settle = settle
        self._limit = limit
        self._waiting: list[tuple[int, PlannedVideo]] = []
        self._lock = threading.Condition()
        self._is_closed = False
        self._is_stopped = False
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="assembly", daemon=True)

    def __enter__(self) -> "Crew":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with self._lock:
            self._is_closed = True
            self._is_stopped = kind is not None
            self._lock.notify()
        self._thread.join()
        if self._fault is not None and kind is None:
            raise self._fault

    def submit(self, index: int, video: PlannedVideo) -> None:
        """Queue a video whose chunks are all there.

        Raises:
            BaseException: what stopped the crew, so that the run stops too.
        """
        with self._lock:
            if self._fault is not None:
                raise self._fault
            self._waiting.append((index, video))
            self._lock.notify()

    def _work(self) -> None:
        running: dict[ray.ObjectRef, tuple[int, PlannedVideo]] = {}
        task = ray.remote(assemble).options(num_cpus=0, max_retries=2, scheduling_strategy="SPREAD")
        try:
            while not self._is_stopped:
                with self._lock:
                    if not running and not self._waiting:
                        if self._is_closed:
                            return
                        self._lock.wait()
                    start = self._waiting[: self._limit - len(running)]
                    del self._waiting[: len(start)]
                for index, video in start:
                    running[self._started(task, video)] = (index, video)
                ready, _ = ray.wait(list(running), timeout=0.2) if running else ([], [])
                for reference in ready:
                    index, video = running.pop(reference)
                    self._settle(index, _collected(reference, video))
        except BaseException as error:  # noqa: BLE001  handed to the driver's thread, which raises
            self._fault = error

    def _started(self, task: ray.remote_function.RemoteFunction, video: PlannedVideo) -> object:
        context = self._context
        return task.remote(
            context.plan_uri,
            video.row_group,
            destination=context.destination,
            recipe=context.recipe,
            release=context.release,
            is_overwrite=context.is_overwrite,
        )


def _collected(reference: ray.ObjectRef, video: PlannedVideo) -> Assembled:
    try:
        return ray.get(reference)  # type: ignore[no-any-return]
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        message = f"its worker process died repeatedly while assembling: {error}"
        fault = Fault(stage="assemble", kind=type(error).__name__, message=message)
        return _failed(video, fault)


def _failed(video: PlannedVideo, fault: Fault) -> Assembled:
    outcome = VideoOutcome(
        source_uri=video.ref.uri,
        output_uri=video.output_uri,
        status="failed",
        duration_s=video.duration_s,
        error=fault,
    )
    return Assembled(outcome=outcome)


def _chunks_uri(context: RunContext) -> str:
    return storage.join(context.destination, "_vgen", "chunks")


def _chunk_uris(video: PlannedVideo, context: RunContext) -> list[str]:
    return [
        chunk_uri(context.destination, video.work_key, span_name(start, stop))
        for start, stop in video.spans
    ]


def _blocks(rows: list[Row]) -> list[pa.Table]:
    """Cut rows into blocks: one row each, or, of very many, neighbours together.

    The last rows stay single, so that no worker is left with several at the end.
    """
    size = max(1, -(-len(rows) // MAX_BLOCKS))
    tail = min(len(rows), MAX_BLOCKS // 4) if size > 1 else 0
    head = rows[: len(rows) - tail]
    groups = [head[at : at + size] for at in range(0, len(head), size)]
    groups += [[row] for row in rows[len(rows) - tail :]]
    return [pa.Table.from_pylist(group) for group in groups]


if __name__ == "__main__":  # for `ray job submit -- python -m pipelines.enhance ...`
    import sys

    from pipelines.cli import main

    sys.exit(main(["enhance", *sys.argv[1:]]))
