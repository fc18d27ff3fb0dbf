"""Sources as workers reach them: the version that was listed, copied where ranges do not serve.

A copy is kept by the worker that made it.
"""

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from pipelines.scratch import scratch
from vgen import storage
from vgen.errors import DecodeError, FullError, MissingError, RefusedError, StorageError
from vgen.media.facts import VideoInfo
from vgen.records import VideoRef

# Spans of one video reach a worker in a row; the copy before the last is dropped.
_KEPT_COPIES = 1
_copies: "OrderedDict[str, tuple[Path, contextlib.ExitStack]]" = OrderedDict()


def check_unchanged(ref: VideoRef) -> None:
    """Refuse a source that is no longer the one that was listed.

    Raises:
        DecodeError: it is gone or has changed.
        StorageError: its store does not answer.
    """
    try:
        found = storage.stat(ref.uri)
    except StorageError as error:
        if not is_of_one(error, ref):
            raise
        raise DecodeError(f"the source went away during the run: {error}", uri=ref.uri) from error
    if found.etag != ref.etag:
        raise DecodeError(
            "the source changed during the run; the next run takes the new version", uri=ref.uri
        )


def is_of_one(error: StorageError, ref: VideoRef) -> bool:
    """Whether what a store says of ``ref`` is a matter of this object: others can be read."""
    if isinstance(error, FullError):  # a copy found no room; the next would not either
        return False
    return isinstance(error, MissingError | RefusedError) or storage.is_local(ref.uri)


@contextlib.contextmanager
def unchanged(ref: VideoRef) -> Iterator[None]:
    """Work on a source that is the one that was listed.

    Raises:
        DecodeError: it is gone or has changed, at the start or when storage failed in the body.
    """
    check_unchanged(ref)
    try:
        yield
    except StorageError:
        # An object that was replaced while it was read is a matter of this video alone.
        check_unchanged(ref)
        raise


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
    with local_copy(ref) as path:
        yield path


@contextlib.contextmanager
def local_copy(ref: VideoRef) -> Iterator[str]:
    """Yield the path of a local copy of ``ref``, which this process keeps for its next call.

    Raises:
        StorageError: the object cannot be read, or changed since it was listed.
    """
    key = hashlib.sha256(f"{ref.uri}\n{ref.etag}".encode()).hexdigest()
    if key not in _copies:
        while len(_copies) >= _KEPT_COPIES:
            _copies.popitem(last=False)[1][1].close()
        stack = contextlib.ExitStack()
        path = stack.enter_context(scratch("source")) / f"source{Path(ref.relative_path).suffix}"
        storage.download(ref.uri, path, ref.size_bytes)
        _copies[key] = (path, stack)
    yield str(_copies[key][0])


def drop_copies() -> None:
    """Remove the copies that this process has kept."""
    while _copies:
        _copies.popitem()[1][1].close()
