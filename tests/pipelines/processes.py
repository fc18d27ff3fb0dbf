"""How tests run the command line: beside them, where a signal or a kill is what is tested."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from vgen.records import RunReport

PATIENCE_S = 300.0
"""Far more than anything here takes on a quiet machine."""


RAY_MARKS = [
    pytest.mark.ray,
    # Ray sets options of its own that it has deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def report(self) -> RunReport:
        """The report that ``--json`` printed."""
        return RunReport.model_validate_json(self.stdout)


Vgen = Callable[..., Ran]


@contextmanager
def ray_environment() -> Iterator[dict[str, str]]:
    """Yield what a Ray of its own needs; its folder has a short name, as sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="vr"))
    (folder / "ray").mkdir()
    (folder / "scratch").mkdir()
    try:
        yield {
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray Data ends what has had no finished row for so long, by default half an hour. Runs
            # must not let it: a span may take hours.
            "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": "1",
            "VGEN_SCRATCH": str(folder / "scratch"),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True, kw_only=True)
class Started:
    """A command that runs in a session of its own with a Ray of its own."""

    process: subprocess.Popen[str]
    folder: str
    """Its ``RAY_TMPDIR``, by which its processes are known."""

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return status, stdout and stderr."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, stdout, stderr

    def survivors(self) -> list[str]:
        """Return the processes of the command that still live after some seconds."""
        left: list[str] = []
        for _ in range(60):
            left = [_described(one) for one in psutil.process_iter() if self._is_own(one)]
            if not left:
                break
            time.sleep(0.5)
        return left

    def kill(self) -> None:
        """Kill the driver alone, as an out-of-memory killer would."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)

    def _is_own(self, process: psutil.Process) -> bool:
        try:
            is_alive = process.status() != psutil.STATUS_ZOMBIE
            return is_alive and process.environ().get("RAY_TMPDIR") == self.folder
        except psutil.Error:
            return False


@contextmanager
def started(*arguments: object, **environment: str) -> Iterator[Started]:
    """Run ``python -m`` with ``arguments`` beside the test; kill what is left of it at the end."""
    with ray_environment() as own:
        command = [sys.executable, "-m", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            env=os.environ | own | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running = Started(process=process, folder=own["RAY_TMPDIR"])
        try:
            yield running
        finally:
            if process.poll() is None:
                running.kill()
            for one in psutil.process_iter():
                if running._is_own(one):
                    one.kill()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()


def wait_until(condition: Callable[[], bool], running: Started, pause_s: float = 0.02) -> None:
    """Wait for ``condition``; the test fails if the command ends before it."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if running.process.poll() is not None:
            raise AssertionError(f"ended too early: {running.process.communicate()}")
        assert time.monotonic() < deadline
        time.sleep(pause_s)


def chunks_of(destination: Path) -> set[Path]:
    """Return the finished chunks below a local destination."""
    found = (destination / "_vgen" / "chunks").glob("*/*-*")
    return {path for path in found if path.name.replace("-", "").isdigit()}


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {process.cmdline()}"
    except psutil.Error:
        return str(process.pid)
