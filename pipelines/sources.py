"""A local copy of sources that ranges do not serve, kept by the worker that made it."""

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from pipelines.scratch import scratch
from vgen import storage
from vgen.media.facts import VideoInfo
from vgen.records import VideoRef

# Spans of one video reach a worker in a row; the copy before the last is dropped.
_KEPT_COPIES = 1
_copies: "OrderedDict[str, tuple[Path, contextlib.ExitStack]]" = OrderedDict()


@contextlib.contextmanager
def local_source(ref: VideoRef, info: VideoInfo) -> Iterator[str | None]:
    """Yield the path of a local copy of ``ref`` where one is needed, else None.

    AVI, MPEG-TS, fragmented MP4 and raw streams are read back and forth: through ranges that
    would fetch them several times over.

    Raises:
        StorageError: the object cannot be read, or changed since it was listed.
    """
    if storage.is_local(ref.uri) or not info.needs_local_copy:
        yield None
        return
    key = hashlib.sha256(f"{ref.uri}\n{ref.etag}".encode()).hexdigest()
    if key not in _copies:
        while len(_copies) >= _KEPT_COPIES:
            _copies.popitem(last=False)[1][1].close()
        stack = contextlib.ExitStack()
        path = stack.enter_context(scratch("source")) / f"source{Path(ref.relative_path).suffix}"
        storage.download(ref.uri, path, ref.size_bytes)
        _copies[key] = (path, stack)
    yield str(_copies[key][0])
