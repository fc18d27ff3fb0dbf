"""A training run on Ray: what ``vgen train`` and the flows call.

Ray Train places the workers, makes their process group, and makes a new one when a worker or node
is lost; where more or fewer become available, also then. Every new group goes on from the newest
checkpoint in RUN, and so does the same command after its driver was killed: checkpoints are the
loop's own (``vgen.training.checkpoints``), and Ray's are not used, so that a run looks the same
whoever started its processes, and nothing is unpickled.

Workers make their own examples in processes beside them. Ray Data was measured for that: its
dispatcher sets a limit for the whole run, and its rows come in no order that a resumed run could
repeat.
"""

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.cluster import Cluster, connected
from pipelines.scratch import scratch
from pipelines.terminal import StoppedError
from vgen import storage
from vgen.errors import ConfigError
from vgen.manifest import new_run_id, utc_now
from vgen.records import Record
from vgen.training.checkpoint_files import CHECKPOINTS, check_run
from vgen.training.dataset import is_dataset
from vgen.training.news import News
from vgen.training.settings import TrainSettings, release_uri

if TYPE_CHECKING:
    from pipelines.train_worker import Work

MAX_FAILURES = 3
"""Times that the group of workers is made anew after one of them died. Preempted nodes do not
count; nor do reruns."""
GROUP_TIMEOUT_S = 1800
"""Longest time that workers wait for the first one to validate and save."""
POLL_S = 0.5
PAGE = "report.html"
"""Name of the page with curves and samples, in RUN."""
MAX_PROCESSES = 16
"""Processes that make examples, a worker: enough for the fastest GPU seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What a person asked for."""

    data: str
    run: str
    settings: TrainSettings
    workers: int | None = None
    """None: one a GPU, or one where there is none."""
    min_workers: int | None = None
    """Go on with as few as this where nodes are lost; None: with ``workers`` only."""
    processes: int | None = None
    """Beside each worker, that make examples; None: one for each of its further CPUs."""
    address: str | None = None
    log_every_s: float = 10.0


class Trained(Record):
    """A finished training run."""

    run_uri: str
    release_uris: tuple[str, ...]
    page_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """How many workers there are, and what each of them has."""

    workers: int
    min_workers: int
    cpus: int
    """Of one worker, its processes included."""
    processes: int
    has_gpu: bool


def prepare_training(request: TrainRequest) -> TrainRequest:
    """Check places and numbers, and change nothing; return the request with its URIs resolved.

    Raises:
        ConfigError, ReleaseError, StorageError: refused, with the remedy.
    """
    for name, value in (("--workers", request.workers), ("--min-workers", request.min_workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    if request.processes is not None and request.processes < 0:
        raise ConfigError(f"--processes must be at least 0, got {request.processes}")
    data_uri, run_uri = storage.normalize_uri(request.data), storage.normalize_uri(request.run)
    if storage.contains(data_uri, run_uri):
        raise ConfigError(f"RUN {run_uri!r} lies in DATA; choose another folder")
    storage.check_reachable(data_uri, writable=False)
    if not storage.is_folder(data_uri):
        raise ConfigError(f"DATA {data_uri!r} is no folder or prefix with clips in it")
    if not storage.is_local(data_uri) and not is_dataset(data_uri):
        raise ConfigError(f"DATA {data_uri!r} is no dataset; make one with vgen dataset first")
    from vgen.training.clips import check_material  # imports OpenCV and av, which drivers can spare

    check_material(data_uri, frames=request.settings.pool.frames)
    storage.check_reachable(run_uri, writable=True)
    check_run(run_uri, request.settings)
    _check_start(request.settings, run_uri)
    return dataclasses.replace(request, data=data_uri, run=run_uri)


def _check_start(settings: TrainSettings, run_uri: str) -> None:
    if settings.start_from:
        from vgen.training.initial import check_start  # imports torch

        # A run that has begun goes on from its own weights.
        if not storage.is_folder(storage.join(run_uri, CHECKPOINTS)):
            check_start(settings)


def train_on_ray(request: TrainRequest, *, say: Callable[[str], None]) -> Trained:
    """Train until the recipe's budget is spent; going on, if RUN holds a checkpoint.

    Args:
        request: As ``prepare_training`` returned it.
        say: Told a line now and then, for people.

    Raises:
        ConfigError, ReleaseError: refused; nothing was changed.
        DivergedError: training stopped learning.
        StorageError: something could not be read or written.
        StoppedError: workers died too often.
    """
    with connected(request.address) as cluster:
        return train_on(cluster, request, say=say)


def train_on(cluster: Cluster, request: TrainRequest, *, say: Callable[[str], None]) -> Trained:
    """Do what ``train_on_ray`` does, on a Ray that is connected."""
    import ray

    from pipelines.train_board import Board
    from pipelines.train_report import write_page
    from pipelines.train_worker import Work

    crew = choose_crew(cluster, request)
    board = ray.remote(num_cpus=0)(Board).remote()
    work = Work(
        data_uri=request.data,
        run_uri=request.run,
        settings=request.settings,
        threads=1 if crew.processes else crew.cpus,
        processes=crew.processes,
        log_every_s=request.log_every_s,
        board=board,
    )
    kind = "GPU" if crew.has_gpu else "CPU"
    say(f"training on {crew.workers} {kind} workers, {crew.processes} processes beside each")
    run_id = new_run_id(utc_now, request.run)
    with scratch("train") as folder:
        fitting = _Fitting(lambda: _fit(work, crew, run_id, str(folder)))
        while not fitting.is_over(POLL_S):
            _pass_on(ray.get(board.take.remote()), say)
        _pass_on(ray.get(board.take.remote()), say)
    fault = ray.get(board.fault.remote())
    ray.kill(board)
    if fault is not None:
        raise fault
    fitting.result()
    return Trained(
        run_uri=request.run,
        release_uris=releases_of(request.run, request.settings),
        page_uri=write_page(request.run, request.settings),
    )


def releases_of(run_uri: str, settings: TrainSettings) -> tuple[str, ...]:
    """Return what a finished run published, the pixel stage's first.

    A last step before the adversarial stage may spend what was left of a budget in seconds.
    """
    uris = (release_uri(run_uri, settings, is_perceptual=stage) for stage in (False, True))
    return tuple(uri for uri in uris if storage.exists(uri))


def choose_crew(cluster: Cluster, request: TrainRequest) -> Crew:
    """Share the cluster's CPUs among the workers.

    Raises:
        ConfigError: it has not enough for all of them.
    """
    units, kind = (cluster.num_gpus, "GPUs") if cluster.num_gpus else (cluster.num_cpus, "CPUs")
    workers = request.workers or cluster.num_gpus or 1
    least = request.min_workers or workers
    if least > workers:
        raise ConfigError(f"--min-workers {least} is more than --workers {workers}")
    if workers > min(units, cluster.num_cpus):
        raise ConfigError(
            f"{workers} workers need as many {kind}, and Ray has {min(units, cluster.num_cpus)}; "
            "lower --workers, or attach to a larger cluster with --address"
        )
    if workers > request.settings.batch:
        raise ConfigError(
            f"{workers} workers cannot share a batch of {request.settings.batch}; raise batch"
        )
    cpus = _cpus_each(cluster, workers)
    spare = min(MAX_PROCESSES, cpus - 1)
    processes = spare if request.processes is None else request.processes
    return Crew(
        workers=workers,
        min_workers=least,
        cpus=max(1, min(cpus, 1 + processes)),
        processes=processes,
        has_gpu=cluster.num_gpus > 0,
    )


def _cpus_each(cluster: Cluster, workers: int) -> int:
    """Return the most CPUs that each of ``workers`` can have on the node it is on.

    Raises:
        ConfigError: some find no place, whatever they ask for.
    """
    for cpus in range(cluster.num_cpus // workers, 0, -1):
        rooms = (node.cpus // cpus for node in cluster.nodes)
        if cluster.num_gpus:
            rooms = (min(node.cpus // cpus, node.gpus) for node in cluster.nodes)
        if sum(rooms) >= workers:
            return cpus
    raise ConfigError(
        f"{workers} workers find no place: a GPU of Ray's has no CPU beside it; give nodes with "
        "GPUs as many CPUs at least, or lower --workers"
    )


def _fit(work: "Work", crew: Crew, run_id: str, folder: str) -> None:
    """Run the workers to their end, again after failures; Ray keeps its own notes in ``folder``."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from pipelines.train_worker import EndAtFault, run_worker

    is_elastic = crew.min_workers < crew.workers
    gpus = {"GPU": 1} if crew.has_gpu else {}
    TorchTrainer(
        run_worker,
        train_loop_config={"work": work},
        scaling_config=ScalingConfig(
            num_workers=(crew.min_workers, crew.workers) if is_elastic else crew.workers,
            use_gpu=crew.has_gpu,
            resources_per_worker={"CPU": crew.cpus, **gpus},
        ),
        run_config=RunConfig(
            name=run_id,
            storage_path=folder,
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[EndAtFault(work.board)],
        ),
        # gloo beside NCCL, so that words about time and storage do not wait for a GPU.
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if crew.has_gpu else "gloo", timeout_s=GROUP_TIMEOUT_S
        ),
    ).fit()


class _Fitting:
    """Ray Train's ``fit`` in a thread, as in the main one it would take over Ctrl-C."""

    def __init__(self, fit: Callable[[], None]) -> None:
        self._fit = fit
        self._fault: BaseException | None = None
        # A daemon: after an interruption the process must not wait for it.
        self._thread = threading.Thread(target=self._run, name="fit", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._fit()
        except BaseException as error:  # noqa: BLE001  carried to the thread that asks
            self._fault = error

    def is_over(self, wait_s: float) -> bool:
        """Wait a little; return whether the workers have ended."""
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def result(self) -> None:
        """Raise what ended the workers, if they did not end well.

        Raises:
            StoppedError: workers died too often.
        """
        from ray.train import TrainingFailedError

        if isinstance(self._fault, TrainingFailedError):
            lines = [line.strip() for line in str(self._fault).splitlines() if line.strip()]
            raise StoppedError(
                f"the workers failed {MAX_FAILURES + 1} times, at last with: {lines[-1]}"
            ) from self._fault
        if self._fault is not None:
            raise self._fault


def _pass_on(news: list[News], say: Callable[[str], None]) -> None:
    for one in news:
        say(one.line())


if __name__ == "__main__":  # for `ray job submit -- python -m pipelines.train ...`
    import sys

    from pipelines.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))
