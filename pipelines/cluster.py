"""The Ray this run stands on: an embedded one, or one that is already there.

Environment variables that change how workers run are set in this module only. They must be in
the environment before a worker process starts: the allocator reads its settings once.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vgen.errors import ConfigError

log = logging.getLogger(__name__)

# Measured: glibc returning a network's buffers to the kernel after every frame costs about 30 %
# of its CPU time, and spinning OpenMP threads steal cores from decoders and encoders.
WORKER_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# Nobody reads what a Ray that lives as long as the run tells of itself (metrics, when which task
# began, how long its loops took), and collecting it costs CPU time.
EMBEDDED_ENVIRONMENT = {
    **WORKER_ENVIRONMENT,
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_event_stats": "0",
}
_QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}
# Rows between operators are small, pixels cross the store in the staged topology only.
LOCAL_OBJECT_STORE_BYTES = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What one machine of a cluster offers to Ray."""

    cpus: int
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What the cluster offers."""

    nodes: tuple[Node, ...]
    is_embedded: bool
    """True where this process started Ray and ends it."""
    memory_bytes: int
    """Memory of all nodes that Ray manages, 0 where it does not say."""

    @property
    def num_cpus(self) -> int:
        """CPUs of all nodes, at least one."""
        return max(1, sum(node.cpus for node in self.nodes))

    @property
    def num_gpus(self) -> int:
        """GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)

    @property
    def has_cpu_only_nodes(self) -> bool:
        """Whether there are nodes whose CPUs serve no GPU."""
        return any(node.cpus and not node.gpus for node in self.nodes)

    @property
    def device(self) -> str:
        """Device kind on which networks run: cuda or cpu."""
        return "cuda" if self.num_gpus else "cpu"


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Attach to the Ray at ``address``, or start an embedded one, for as long as the body runs.

    Args:
        address: ``local``, ``auto``, ``host:port`` or ``ray://...``; None means ``RAY_ADDRESS``
            where that is set, else ``local``.

    Raises:
        ConfigError: there is no Ray at the address.
    """
    target = address or os.environ.get("RAY_ADDRESS") or "local"
    is_embedded = target == "local"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if is_embedded:
        for name, value in EMBEDDED_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    import ray  # costs a second: `vgen --help` and refused recipes do without

    if ray.is_initialized():
        yield _facts(is_embedded=False)
        return
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if is_embedded:
            start_embedded(usable_cpus(), LOCAL_OBJECT_STORE_BYTES)
        else:
            ray.init(address=target, runtime_env={"env_vars": WORKER_ENVIRONMENT}, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"no Ray at {target!r}: {error}; start one, or use --address local"
        ) from error
    if at_sigterm is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, at_sigterm)  # Ray's own prints a stack trace and aborts
    try:
        yield _facts(is_embedded=is_embedded)
    finally:
        ray.shutdown()


def start_embedded(num_cpus: int, object_store_bytes: int) -> None:
    """Start a Ray in this process's care, and once more if a busy machine let it time out.

    Raises:
        ConfigError: it timed out twice.
    """
    import ray

    for attempt in (1, 2):
        try:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                object_store_memory=object_store_bytes,
                **_QUIET,
            )
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            if attempt == 2:
                raise ConfigError(
                    "Ray did not start within 30 s, twice: the machine is too busy; try again later"
                ) from error
        else:
            return


def device_before_ray(address: str | None) -> str | None:
    """Return the device kind an embedded Ray would find, or None where only Ray can tell."""
    is_embedded = (address or os.environ.get("RAY_ADDRESS") or "local") == "local"
    has_driver = any(Path(place).exists() for place in ("/proc/driver/nvidia", "/dev/dxg"))
    return "cpu" if is_embedded and not has_driver else None


def idle_cluster() -> Cluster:
    """Describe this machine for a run that has nothing to do and starts no Ray."""
    return Cluster(nodes=(Node(cpus=usable_cpus()),), is_embedded=True, memory_bytes=0)


def usable_cpus() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _facts(*, is_embedded: bool) -> Cluster:
    import ray

    total = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Cluster(
        nodes=tuple(
            Node(cpus=int(node.get("CPU", 0)), gpus=int(node.get("GPU", 0))) for node in total
        ),
        is_embedded=is_embedded,
        memory_bytes=int(sum(node.get("memory", 0) for node in total)),
    )
