"""Keep encoders from making a process real-time.

Where it may (as root, in most containers), SVT-AV1 gives the thread that opens it and all its
own the highest real-time priority. Such a process starves whatever else runs on the machine, the
heartbeats of Ray among it, and a worker's nice value means nothing any more.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TASKS = Path("/proc/self/task")


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Take real-time priority away from every thread that gets it while the body runs."""
    before = _real_time_threads()
    yield
    for thread in _real_time_threads() - before:
        os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def _real_time_threads() -> set[int]:
    """Return the ids of this process's real-time threads; none outside of Linux."""
    found = set()
    for entry in _TASKS.iterdir() if _TASKS.is_dir() else ():
        try:
            policy = os.sched_getscheduler(int(entry.name))
        except ProcessLookupError:
            continue  # it ended meanwhile
        if policy in (os.SCHED_FIFO, os.SCHED_RR):
            found.add(int(entry.name))
    return found
