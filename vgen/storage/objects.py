"""Reading, writing, listing and deleting objects, wherever they are.

Each function hands its work to ``local`` or ``remote``, the two implementations of ``_Store``.
Writes are idempotent and whole: an interrupted one leaves nothing under the name, or what was
there before. All functions may be called from any thread and process, and raise ``StorageError``
for whatever the system or the store refuses.
"""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast
from uuid import uuid4

from vgen.errors import ConfigError, MissingError, StorageError
from vgen.storage import local, remote
from vgen.storage.facts import ObjectStat
from vgen.storage.faults import translated
from vgen.storage.uris import is_local, join, parent_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Store(Protocol):
    """What a kind of storage must do; each is a module."""

    def stat(self, uri: str) -> ObjectStat: ...
    def is_folder(self, uri: str) -> bool: ...
    def find(
        self, uri: str, max_depth: int | None, odd: Callable[[str, str], None] | None
    ) -> list[ObjectStat]: ...
    def open_read(self, uri: str) -> BinaryIO: ...
    def read_bytes(self, uri: str, start: int, stop: int | None) -> bytes: ...
    def write_bytes(self, uri: str, content: bytes, if_absent: bool) -> bool: ...
    def publish(self, source: Path, uri: str, remove_source: bool) -> None: ...
    def fetch(self, uri: str, target: Path) -> None: ...
    def delete(self, uri: str) -> None: ...
    def delete_below(self, uri: str) -> None: ...


def stat(uri: str) -> ObjectStat:
    """Look at one object.

    Raises:
        MissingError: nothing lies there.
        StorageError: it is a folder or a device, or cannot be reached.
    """
    return _store(uri).stat(uri)


def exists(uri: str) -> bool:
    """Whether an object lies at ``uri``; a folder is none.

    Raises:
        StorageError: that cannot be told, as the store cannot be reached.
    """
    try:
        stat(uri)
    except MissingError:
        return False
    except StorageError:
        if is_folder(uri):
            return False
        raise
    return True


def name_fault(uri: str) -> str | None:
    """Say why no object of a store can have the name ``uri``; None where it can."""
    return None if is_local(uri) else remote.name_fault(uri)


def is_folder(uri: str) -> bool:
    """Whether objects can lie below ``uri``: a local folder, or a prefix with objects below it."""
    return _store(uri).is_folder(uri)


def list_objects(
    uri: str,
    *,
    max_depth: int | None = None,
    odd: Callable[[str, str], None] | None = None,
) -> Iterator[ObjectStat]:
    """List the objects below the folder or prefix ``uri``, ordered by URI; none if there is none.

    Local links are followed, but not into a folder they lie in. ``pre`` does not list ``prefix/x``.
    The whole listing is held in memory, about 0.5 KB an object.

    Args:
        uri: Folder or prefix, with or without a trailing slash.
        max_depth: 1 lists only what lies directly in the folder; None everything.
        odd: Called with the URI of each local entry that cannot be read, and the reason. Without
            it, an unreadable folder is an error and a broken link is passed over.

    Raises:
        MissingError: the bucket does not exist.
        StorageError: the folder or store cannot be read.
    """
    yield from _store(uri).find(uri, max_depth, odd)


def open_read(uri: str) -> BinaryIO:
    """Open an object for random reads; the caller closes it.

    Reads are ranged with a small read-ahead, for demuxers that seek. What fails while reading is a
    ``StorageError`` too, also where the object of a store changes while it is open.
    """
    return cast("BinaryIO", _Reader(uri, _store(uri).open_read(uri)))


def read_bytes(uri: str, start: int = 0, stop: int | None = None) -> bytes:
    """Return bytes ``[start, stop)`` of an object, fewer where it ends before ``stop``."""
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(f"expected 0 <= start <= stop, got [{start}, {stop})")
    return b"" if stop == start else _store(uri).read_bytes(uri, start, stop)


def write_bytes(uri: str, content: bytes, *, if_absent: bool = False) -> bool:
    """Write a small object in one piece, making folders as needed.

    Args:
        uri: Where to.
        content: All of it.
        if_absent: Leave an object that is there as it is. Exact locally and on stores that honour
            conditional writes; elsewhere two writers at the same moment may both write.

    Returns:
        Whether it was written; False only with ``if_absent``.
    """
    return _store(uri).write_bytes(uri, content, if_absent)


def publish(source: Path, uri: str, *, remove_source: bool = True) -> ObjectStat:
    """Put a finished local file at ``uri``, replacing what is there, and check its size.

    Local destinations are flushed to disk before they get their name; a source on the same file
    system is moved, not copied. Stores get one upload, in parts where it is large.

    Raises:
        StorageError: it could not be put there, or has another size than ``source``.
    """
    with translated("publish", str(source)):
        size_bytes = source.stat().st_size
    _store(uri).publish(source, uri, remove_source)
    published = stat(uri)
    if published.size_bytes != size_bytes:
        raise StorageError(
            f"published {size_bytes} bytes as {uri!r}, which now has {published.size_bytes}"
        )
    return published


def download(uri: str, path: Path, limit_bytes: int) -> ObjectStat:
    """Copy an object to the local file ``path``, which appears only when it is complete.

    Raises:
        MissingError: nothing lies there.
        StorageError: it is larger than ``limit_bytes``, or changed while it was copied.
    """
    before = stat(uri)
    if before.size_bytes > limit_bytes:
        raise StorageError(f"{uri!r} has {before.size_bytes} bytes, more than {limit_bytes}")
    partial = path.with_name(f"{local.TEMPORARY_PREFIX}{uuid4().hex}")
    try:
        with translated("download", uri):
            _store(uri).fetch(uri, partial)
            if stat(uri) != before or partial.stat().st_size != before.size_bytes:
                raise StorageError(f"{uri!r} changed while it was downloaded; rerun")
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return before


def delete(uri: str) -> None:
    """Delete one object; one that is not there is deleted already."""
    _store(uri).delete(uri)


def delete_prefix(uri: str) -> None:
    """Delete everything below ``uri``, not what is called ``uri`` itself in a store.

    Raises:
        ValueError: ``uri`` is a root, bucket or host.
    """
    if parent_of(uri) == uri.rstrip("/") or parent_of(uri) == uri:
        raise ValueError(f"refused to delete all of {uri!r}")
    _store(uri).delete_below(uri)


def check_reachable(uri: str, *, writable: bool) -> None:
    """Find out now whether ``uri`` can be listed and, if asked, written below.

    Writes and deletes one tiny object where ``writable``; makes a local folder that is not there.

    Raises:
        ConfigError: it cannot, with the reason and the remedy.
    """
    probe = join(uri, f"{local.TEMPORARY_PREFIX}{uuid4().hex}")
    try:
        if writable:
            write_bytes(probe, b"")
            delete(probe)
        elif is_local(uri):
            with translated("read", uri), os.scandir(uri) if is_folder(uri) else open_read(uri):
                pass
        else:
            is_folder(uri)
    except StorageError as error:
        remedy = "; create it, or check the name" if isinstance(error, MissingError) else ""
        raise ConfigError(f"{str(error).replace(probe, uri)}{remedy}") from error


class _Reader(io.RawIOBase):
    """An open object whose errors are vgen's."""

    def __init__(self, uri: str, opened: BinaryIO) -> None:
        self._uri = uri
        self._opened = opened

    def read(self, size: int | None = -1, /) -> bytes:
        with translated("read", self._uri):
            return self._opened.read(-1 if size is None else size)

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        content = self.read(len(view))
        view[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        with translated("seek in", self._uri):
            return self._opened.seek(offset, whence)

    def tell(self) -> int:
        return self._opened.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._opened.close()
        super().close()


def _store(uri: str) -> _Store:
    return local if is_local(uri) else remote
