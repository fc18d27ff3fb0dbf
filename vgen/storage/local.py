"""Objects that are files of this machine.

A file appears under its name whole or not at all: it is written beside it under a temporary name,
flushed to disk, and renamed. Only regular files are objects; links to them are followed.
"""

import errno
import os
import shutil
import stat as modes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

from vgen.errors import MissingError, RefusedError, StorageError
from vgen.storage.facts import ObjectStat
from vgen.storage.faults import translated

TEMPORARY_PREFIX = ".vgen-tmp-"
"""Start of the names of unfinished files; the rest is random, so long names stay possible."""

_TRIES = 8
"""Of placing a file in a folder that others remove where it is empty."""
T = TypeVar("T")
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def stat(uri: str) -> ObjectStat:
    with translated("look at", uri):
        try:
            found = Path(uri).stat()
        except NotADirectoryError as error:
            raise MissingError(f"cannot look at {uri!r}: {error.strerror}") from error
    if modes.S_ISDIR(found.st_mode):
        raise RefusedError(f"expected a file, {uri!r} is a folder")
    if not modes.S_ISREG(found.st_mode):
        raise StorageError(f"expected a file, {uri!r} is a device, pipe or socket")
    return _object_stat(uri, found)


def is_folder(uri: str) -> bool:
    with translated("look at", uri):
        return Path(uri).is_dir()


def find(
    uri: str, max_depth: int | None, odd: Callable[[str, str], None] | None
) -> list[ObjectStat]:
    return sorted(_walk(uri, max_depth, odd, ()), key=lambda found: found.uri)


def open_read(uri: str) -> BinaryIO:
    stat(uri)  # a pipe or device would block for ever
    with translated("open", uri):
        return Path(uri).open("rb")


def read_bytes(uri: str, start: int, stop: int | None) -> bytes:
    with translated("read", uri), open_read(uri) as file:
        file.seek(start)
        return file.read() if stop is None else file.read(max(stop - start, 0))


def write_bytes(uri: str, content: bytes, if_absent: bool) -> bool:
    def place(temporary: Path) -> bool:
        temporary.write_bytes(content)
        _flush(temporary)
        if if_absent:
            return _link(temporary, Path(uri))
        _rename(temporary, Path(uri))
        return True

    with translated("write", uri):
        return _placed(Path(uri), place)


def publish(source: Path, uri: str, remove_source: bool) -> None:
    target = Path(uri)

    def place(temporary: Path) -> None:
        try:
            if not remove_source:
                raise OSError(errno.EXDEV, "the source stays")
            _flush(source)
            os.rename(source, temporary)  # noqa: PTH104 - Path.rename hides that it replaces
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(source, temporary)
            _flush(temporary)
        _rename(temporary, target)
        if remove_source:
            source.unlink(missing_ok=True)

    with translated("publish", uri):
        _placed(target, place)


def fetch(uri: str, target: Path) -> None:
    shutil.copyfile(uri, target)


def delete(uri: str) -> None:
    with translated("delete", uri):
        Path(uri).unlink(missing_ok=True)


def delete_below(uri: str) -> None:
    # Not shutil.rmtree, as others may delete or write there at the same time.
    with translated("delete", uri):
        for folder, folders, files in os.walk(uri, topdown=False, onerror=_unless_gone):
            places = [Path(folder, name) for name in (*files, *folders)]
            for place in places[: len(files)] + [one for one in places if one.is_symlink()]:
                place.unlink(missing_ok=True)
            try:
                Path(folder).rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                    raise


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _walk(
    folder: str,
    max_depth: int | None,
    odd: Callable[[str, str], None] | None,
    above: tuple[tuple[int, int], ...],
) -> Iterator[ObjectStat]:
    """Yield the files below ``folder``; ``above`` identifies the folders it lies in."""
    try:
        here = Path(folder).stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        # What was never there is an empty prefix, as in a store.
        if odd is not None and (above or not isinstance(error, FileNotFoundError)):
            odd(folder, f"cannot be read: {error.strerror}")
        elif not isinstance(error, FileNotFoundError | NotADirectoryError):
            with translated("list", folder):
                raise
        return
    identity = (here.st_dev, here.st_ino)
    if identity in above:  # a link to a folder that this one lies in
        return
    for entry in entries:
        try:
            found = entry.stat()
        except OSError as error:
            if odd is not None:
                odd(entry.path, f"cannot be read: {error.strerror}")
            continue
        if modes.S_ISREG(found.st_mode):
            yield _object_stat(entry.path, found)
        elif modes.S_ISDIR(found.st_mode) and max_depth != 1:
            deeper = None if max_depth is None else max_depth - 1
            yield from _walk(entry.path, deeper, odd, (*above, identity))


def _object_stat(uri: str, found: os.stat_result) -> ObjectStat:
    return ObjectStat(
        uri=uri, size_bytes=found.st_size, etag=f"{found.st_size}-{found.st_mtime_ns}"
    )


def _placed(target: Path, place: Callable[[Path], T]) -> T:
    """Call ``place`` with a temporary name in the folder of ``target``, which is made.

    Done again where somebody removes that folder, empty as it was, at the same moment.
    """
    for left in reversed(range(_TRIES)):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _unlinked(target.parent / f"{TEMPORARY_PREFIX}{uuid4().hex}") as temporary:
                return place(temporary)
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise
    raise AssertionError("unreachable")


@contextmanager
def _unlinked(temporary: Path) -> Iterator[Path]:
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(temporary: Path, target: Path) -> None:
    temporary.replace(target)
    _flush(target.parent)


def _link(temporary: Path, target: Path) -> bool:
    """Give the file its name if nothing has it; without hard links as nearly as can be."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if target.exists():
            return False
        temporary.replace(target)
    _flush(target.parent)
    return True
