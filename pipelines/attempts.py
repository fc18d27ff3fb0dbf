"""How often a span was started in this run without ending: the mark of a poison file.

A file that crashes the decoder takes its worker process along; Ray starts another worker and
hands it the same row, for ever. So each start leaves a small object beside the chunk, removed
when the span ends in any orderly way. Starts of other runs do not count: there the driver may
have been killed, and the innocent span with it.
"""

from vgen import storage
from vgen.errors import DecodeError

MAX_ATTEMPTS = 3


class Attempts:
    """The starts of one span within one run."""

    def __init__(self, chunk_uri: str, run_id: str) -> None:
        """Name the objects after the chunk and the run; nothing is read or written yet."""
        self._stem = f"{chunk_uri}.attempt-{run_id}-"

    def begin(self, source_uri: str) -> None:
        """Leave the mark of one more start.

        Raises:
            DecodeError: ``MAX_ATTEMPTS`` starts ended with the death of their worker.
        """
        for number in range(1, MAX_ATTEMPTS + 1):
            mark = f"{self._stem}{number}"
            if not storage.exists(mark):
                storage.write_bytes(mark, b"")
                return
        self.end()
        raise DecodeError(
            f"quarantined: its worker process died {MAX_ATTEMPTS} times on this span",
            uri=source_uri,
        )

    def end(self) -> None:
        """Remove the marks: the span ended, well or with a named error."""
        for number in range(1, MAX_ATTEMPTS + 1):
            mark = f"{self._stem}{number}"
            if not storage.exists(mark):
                return
            storage.delete(mark)
