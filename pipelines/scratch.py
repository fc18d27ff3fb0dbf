"""Temporary files of a worker, removed when done and swept up after one that was killed.

Scratch never lies in the destination: a killed run leaves nothing there but finished objects.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def scratch_root() -> Path:
    """Folder of scratch on this machine: ``VGEN_SCRATCH``, or below the system's temp folder."""
    chosen = os.environ.get("VGEN_SCRATCH")
    return Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"vgen-scratch-{os.getuid()}"


@contextlib.contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """Yield a new empty folder of this process, removed at the end of the body."""
    home = scratch_root() / str(os.getpid())
    folder: Path | None = None
    while folder is None:
        if home.is_file():
            raise NotADirectoryError(f"{str(home)!r} is a file where scratch should be")
        # Gone where another thread's scratch was the last one, at any moment.
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=home))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: another thread's scratch
            home.rmdir()


def sweep_scratch() -> None:
    """Remove the folders of processes that no longer live.

    A reused process id only delays the removal to a later sweep.
    """
    root = scratch_root()
    if not root.is_dir():
        return
    for home in root.iterdir():
        if home.name.isdigit() and not _is_alive(int(home.name)):
            shutil.rmtree(home, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
