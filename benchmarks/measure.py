"""CPU seconds, wall time and peak memory of a command with everything it starts.

Ray's processes detach from the driver, so waiting for children sees too little. Here the
measuring process becomes the subreaper of its descendants, and all of them are sampled from
``/proc``. What a process spends in its last fraction of a second is not seen. Linux only.
"""

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")
# Summing up the memory of a large process costs milliseconds, taken from what is being measured.
_SAMPLE_S = 0.5
_MEMORY_EVERY = 6


@dataclass(slots=True, kw_only=True)
class Measured:
    """What one command took."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """User and system time of the whole tree."""
    peak_bytes: int = 0
    """Largest sum over processes of anonymous and shared memory, without file cache."""
    others: float = 0.0
    """Share of the machine's CPU time that other processes used meanwhile."""
    returncode: int = 0
    output: str = ""


@dataclass(slots=True)
class _Sampler:
    root: int
    cpu_s: dict[tuple[int, int], float] = field(default_factory=dict)
    peak_bytes: int = 0
    is_done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        count = 0
        while not self.is_done.wait(_SAMPLE_S):
            self.sample(with_memory=count % _MEMORY_EVERY == 0)
            count += 1

    def sample(self, *, with_memory: bool) -> None:
        tree = _descendants(self.root)
        total = 0
        for pid, started, cpu_s in tree:
            self.cpu_s[pid, started] = max(cpu_s, self.cpu_s.get((pid, started), 0.0))
            if with_memory:
                total += _own_memory_bytes(pid)
        self.peak_bytes = max(self.peak_bytes, total)


def measure(
    command: Sequence[str], *, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Measured:
    """Run ``command`` to its end and measure it with all it started."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    busy_before, began = _machine_busy_s(), time.monotonic()
    with subprocess.Popen(
        command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        sampler = _Sampler(os.getpid())
        own = {pid for pid, _, _ in _descendants(os.getpid())} - {process.pid}
        thread = threading.Thread(target=sampler.run, daemon=True)
        thread.start()
        output, _ = process.communicate()
        wall_s = time.monotonic() - began
        _wait_for_stragglers(own)
        sampler.is_done.set()
        thread.join()
    cpu_s = sum(spent for (pid, _), spent in sampler.cpu_s.items() if pid not in own)
    machine_s = _machine_busy_s() - busy_before
    others = max(0.0, machine_s - cpu_s) / (wall_s * (os.cpu_count() or 1))
    return Measured(
        wall_s=wall_s,
        cpu_s=cpu_s,
        peak_bytes=sampler.peak_bytes,
        others=others,
        returncode=process.returncode,
        output=output,
    )


def median(values: Sequence[float]) -> float:
    """Return the middle value; the mean of the two middle ones for an even number."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def cpu_seconds_of(work: Callable[[], object]) -> float:
    """CPU seconds of this process, all threads, while ``work`` runs."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _descendants(root: int) -> list[tuple[int, int, float]]:
    """Return pid, start tick and CPU seconds of every living descendant."""
    parents: dict[int, tuple[int, int, float]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
        parents[int(entry.name)] = (int(fields[1]), int(fields[19]), cpu_s)
    found: list[tuple[int, int, float]] = []
    frontier = {root}
    while frontier:
        below = {pid for pid, (parent, _, _) in parents.items() if parent in frontier}
        found += [(pid, parents[pid][1], parents[pid][2]) for pid in below]
        frontier = below
    return found


def _own_memory_bytes(pid: int) -> int:
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    wanted = ("Pss_Anon:", "Pss_Shmem:")
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(wanted))


def _machine_busy_s() -> float:
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = (int(one) for one in fields[:7])
    return (user + nice + system + irq + softirq) / _TICKS


def _wait_for_stragglers(own: set[int]) -> None:
    """Wait until what the command left behind has ended, and reap it."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        left = {pid for pid, _, _ in _descendants(os.getpid())} - own
        if not left:
            return
        for pid in left:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
        time.sleep(_SAMPLE_S)
