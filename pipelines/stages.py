"""CPU seconds by stage while frames are pulled through nested iterators, and read-ahead threads."""

import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class StageClock:
    """Adds what ``now`` advances to the stage that is running.

    Iterators pull from each other, so stages nest: while ``encode`` waits for ``enhance``, which
    waits for ``decode``, only ``decode`` is charged. One clock belongs to one thread.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Start with no stage; ``now`` is ``time.process_time`` or ``time.thread_time``."""
        self.seconds: dict[str, float] = defaultdict(float)
        self._now = now
        self._stage: str | None = None
        self._since = now()

    def switch(self, stage: str | None) -> str | None:
        """Charge the time since the last switch, enter ``stage`` and return the one before."""
        moment = self._now()
        if self._stage is not None:
            self.seconds[self._stage] += moment - self._since
        before, self._stage, self._since = self._stage, stage, moment
        return before

    def metered(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Yield ``items``, charging to ``stage`` what producing each of them takes."""
        source = iter(items)
        while True:
            before = self.switch(stage)
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                self.switch(before)
            yield item


_END = object()


def read_ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """Yield ``items`` while a thread prepares up to ``depth`` more.

    An exception of the producer is raised here, in its place. Closing the returned generator
    stops the thread and closes ``items``.
    """
    ready: queue.Queue[object] = queue.Queue(maxsize=depth)
    is_stopped = threading.Event()
    faults: list[BaseException] = []

    def produce() -> None:
        try:
            for item in items:
                if not _offer(ready, item, is_stopped):
                    break
        except BaseException as error:  # noqa: BLE001  handed to the consumer, which raises it
            faults.append(error)
        finally:
            if hasattr(items, "close"):
                items.close()
            _offer(ready, _END, is_stopped)

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            yield item  # type: ignore[misc]
        if faults:
            raise faults[0]
    finally:
        is_stopped.set()
        thread.join()


def _offer(ready: "queue.Queue[object]", item: object, is_stopped: threading.Event) -> bool:
    while not is_stopped.is_set():
        try:
            ready.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
