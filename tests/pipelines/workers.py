"""Workers that fail on purpose, by the name of the source; Ray finds them by import."""

import os
import shutil
import signal
import time
from pathlib import Path

from pipelines import dataset_source
from pipelines.chunks import EnhanceSpan, Row, job_of, produce_row
from pipelines.dataset_source import DatasetContext
from pipelines.staged import EnhanceFrames


class Misfortune(EnhanceSpan):
    """Does to a source, or to its own process, what the source's name says."""

    def __call__(self, row: Row) -> Row:
        source = Path(job_of(row, self._context)[0].ref.uri)
        mark = Path(self._context.destination) / "_vgen" / f"struck-{source.name}"
        if source.stem == "poison":
            return produce_row(row, _Deadly(), self._context)
        if source.stem == "poison_once" and not mark.exists():
            mark.touch()
            return produce_row(row, _Deadly(), self._context)
        if source.stem == "deleted":
            source.unlink(missing_ok=True)
        if source.stem == "changed":
            shutil.copyfile(source.with_name("innocent.mp4"), source)
        made = super().__call__(row)
        if source.stem == "deleted_late":
            source.unlink()
        if source.stem == "changed_late":
            shutil.copyfile(source.with_name("innocent.mp4"), source)
        return made


class MisfortuneFrames(EnhanceFrames):
    """The poison of ``Misfortune`` for the staged topology."""

    def __call__(self, row: Row) -> Row:
        if Path(job_of(row, self._context)[0].ref.uri).stem == "poison":
            self._enhancer = _Deadly()
        return super().__call__(row)


class _Deadly:
    """A network that takes its process along at the first touch, as a crash in a library does."""

    def __getattr__(self, name: str) -> object:
        os.kill(os.getpid(), signal.SIGKILL)
        return None


class Together(EnhanceSpan):
    """Goes on only when as many workers are at it as ``together-N`` in the destination says."""

    def __call__(self, row: Row) -> Row:
        meet(Path(self._context.destination))
        return super().__call__(row)


class TogetherFrames(EnhanceFrames):
    """``Together`` for the staged topology; notes which process decoded for which."""

    def __call__(self, row: Row) -> Row:
        home = Path(self._context.destination)
        meet(home)
        (home / f"decoded-by-{row['pid']}").touch()
        return super().__call__(row)


def meet(home: Path) -> None:
    """Leave this process's mark and wait for the others'."""
    [wanted] = home.glob("together-*")
    count = int(wanted.name.rpartition("-")[2])
    (home / f"worker-{os.getpid()}").touch()
    deadline = time.monotonic() + 120
    while len(list(home.glob("worker-*"))) < count:
        assert time.monotonic() < deadline, "the others never came"
        time.sleep(0.05)


def gather_fatally(row: Row, context: DatasetContext) -> Row:
    """Die on one video, as of a decoder that its file crashes; the rest is work as usual."""
    if "deep/a.mp4" in str(row["job"]):
        dataset_source.gather_shard = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    return dataset_source.gather_row(row, context)
