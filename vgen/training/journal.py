"""What a run tells of itself: curves, TensorBoard events, and pictures, as objects in its folder.

``curves.jsonl`` holds a row for every progress report and every validation; ``events/`` the
same for TensorBoard; ``pictures/`` a PNG for every validation. All of them are written when a
checkpoint is, before it, so that they hold at least what led to it; a run that goes on first
drops what lies beyond its checkpoint.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboardX.event_file_writer import EventsWriter  # type: ignore[import-untyped]
from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

from vgen import storage
from vgen.errors import MissingError, StorageError

CURVES = "curves.jsonl"
PICTURES = "pictures"
EVENTS = "events"

Row = Mapping[str, float | str]


def read_curves(run_uri: str) -> list[dict[str, float | str]]:
    """Return the rows of a run so far, oldest first; each has ``step``, ``elapsed_s``, ``stage``.

    Raises:
        StorageError: they are damaged or cannot be read.
    """
    uri = storage.join(run_uri, CURVES)
    try:
        lines = storage.read_bytes(uri).decode("utf-8").splitlines()
        return [dict(json.loads(line)) for line in lines]
    except MissingError:
        return []
    except (ValueError, TypeError) as error:
        raise StorageError(f"{uri!r} is damaged; delete it to go on without curves") from error


class Journal:
    """The rows of a run, kept in memory between two calls of ``publish``."""

    def __init__(self, run_uri: str, *, step: int) -> None:
        """Take up the journal of a run that goes on from ``step``; events go to a local folder."""
        self._run_uri = run_uri
        self._rows = [row for row in read_curves(run_uri) if float(row["step"]) <= step]
        self._folder = tempfile.mkdtemp(prefix="vgen-events-")
        # Not SummaryWriter: its thread goes on writing into a file that is being published.
        self._events = EventsWriter(str(Path(self._folder) / "events"))
        if step:
            # Events beyond the checkpoint were told by an attempt that is being repeated.
            log = SessionLog(status=SessionLog.START)
            self._events.write_event(Event(step=step + 1, session_log=log))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._events.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, row: Row) -> None:
        """Take down one row; it has ``step``."""
        self._rows.append(dict(row))
        step = int(row["step"])
        for name, value in row.items():
            if name != "step" and not isinstance(value, str):
                self._tell(Summary.Value(tag=name, simple_value=float(value)), step)

    def add_picture(self, png: bytes, *, step: int) -> None:
        """Publish a validation picture.

        Raises:
            StorageError: it cannot be written.
        """
        storage.write_bytes(storage.join(self._run_uri, PICTURES, f"{step:08d}.png"), png)
        image = Summary.Image(encoded_image_string=png)
        self._tell(Summary.Value(tag="restored", image=image), step)

    def publish(self) -> None:
        """Write curves and events.

        Raises:
            StorageError: they cannot be written.
        """
        lines = "".join(f"{json.dumps(row, sort_keys=True)}\n" for row in self._rows)
        storage.write_bytes(storage.join(self._run_uri, CURVES), lines.encode())
        self._events.flush()
        for path in Path(self._folder).iterdir():
            uri = storage.join(self._run_uri, EVENTS, path.name)
            storage.publish(path, uri, remove_source=False)

    def _tell(self, value: Summary.Value, step: int) -> None:
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=[value]))
        self._events.write_event(event)
