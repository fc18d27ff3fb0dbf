"""Whether an output's place is vgen's to write: asked before its work, and at its end.

A file that vgen did not publish is never replaced unasked. Whatever else keeps an output from its
place is a matter of that one name too, and fails that video alone.
"""

import contextlib
import errno
import hashlib
import logging
import os
from pathlib import Path, PurePosixPath

from vgen import storage
from vgen.errors import DamagedError, MissingError, RefusedError, StorageError
from vgen.manifest import Manifest, chunk_prefix, manifest_uri, read_manifest
from vgen.records import Record

# What a file system says of a name, and not of itself.
_OF_ONE_NAME = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EILSEQ)

log = logging.getLogger(__name__)


class Publishing(Record):
    """Which bytes are about to appear at the output."""

    output_path: str
    size_bytes: int
    digest: str


def pending_uri(destination: str, work_key: str) -> str:
    """Return where the ``Publishing`` record of a video lies."""
    return storage.join(chunk_prefix(destination, work_key), "publishing.json")


def obstacle(
    destination: str, output_path: str, work_key: str, source_uri: str, *, is_overwrite: bool
) -> str | None:
    """Say what keeps an output from its place, with the remedy; None where nothing does.

    Args:
        destination: Where outputs go.
        output_path: Relative path of the output.
        work_key: Of the video, for the record that an interrupted publication left.
        source_uri: Of the video; another one's output is not its to replace.
        is_overwrite: Files that vgen did not publish may be replaced.

    Raises:
        StorageError: the destination cannot be asked.
    """
    output_uri = storage.join(destination, output_path)
    if storage.is_local(destination):
        fault = _local_obstacle(destination, output_path)
    else:
        # The manifest's name is the longer one.
        fault = storage.name_fault(manifest_uri(destination, output_path))
    if fault is not None:
        return fault
    if not storage.exists(output_uri):
        return None
    size_bytes = storage.stat(output_uri).size_bytes
    known = published_manifest(destination, output_path)
    # A record may have been renamed by hand, and then says nothing of this output.
    is_ours = known is not None and (known.output, known.size_bytes) == (output_path, size_bytes)
    if known is not None and is_ours:
        if known.source_uri == source_uri:
            return None
        # Another run, of another source, has published it since the names were given.
        return f"{output_uri!r} is the output of {known.source_uri!r}; the next run finds a name"
    if is_overwrite:
        return None
    record_uri = pending_uri(destination, work_key)
    if storage.exists(record_uri):
        pending = Publishing.model_validate_json(storage.read_bytes(record_uri))
        if pending.size_bytes == size_bytes and pending.digest == _digest(output_uri):
            return None
    return f"{output_uri!r} exists and was not published by vgen; move it away or use --overwrite"


def published_manifest(destination: str, output_path: str) -> Manifest | None:
    """Return the manifest of an output; None where there is none, or one that cannot be read.

    Raises:
        StorageError: the destination cannot be asked.
    """
    try:
        return read_manifest(manifest_uri(destination, output_path))
    except MissingError:
        return None
    except (DamagedError, RefusedError) as error:
        log.warning("manifest left out: %s", error)
        return None


def published_of(destination: str, output_path: str, work_key: str) -> Manifest | None:
    """Return the manifest of an output if it is of this very work, and the output is as it says."""
    manifest = published_manifest(destination, output_path)
    if manifest is None or manifest.work_key != work_key:
        return None
    return manifest if is_as_published(manifest, destination) else None


def is_as_published(manifest: Manifest, destination: str) -> bool:
    """Whether the output is there in the size that its manifest says."""
    uri = storage.join(destination, manifest.output)
    try:
        return storage.stat(uri).size_bytes == manifest.size_bytes
    except StorageError:
        if storage.exists(uri):
            raise
        return False


def _local_obstacle(destination: str, output_path: str) -> str | None:
    base = Path(destination)
    record = PurePosixPath(manifest_uri(destination, output_path)).relative_to(base)
    return _file_obstacle(base, PurePosixPath(output_path), "move it away") or _file_obstacle(
        base, record, "the output's record goes there: rename the source"
    )


def _file_obstacle(base: Path, name: PurePosixPath, remedy: str) -> str | None:
    place = base / name
    try:
        for part in (*name.parts, str(name)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                (base / part).lstat()  # refused where it is too long
        if place.is_dir():
            return f"{str(place)!r} is a folder; {remedy}"
        # From the file's own folder up to the destination.
        for folder in (base / parent for parent in name.parents):
            if folder.is_dir():
                if os.access(folder, os.W_OK | os.X_OK):
                    return None
                return f"{str(folder)!r} may not be written; allow it, or name another destination"
            if folder.exists():
                return f"{str(folder)!r} is a file where a folder is needed; {remedy}"
    except OSError as error:
        if error.errno not in _OF_ONE_NAME:
            raise StorageError(f"cannot look at {str(place)!r}: {error.strerror}") from error
        return f"{str(place)!r} cannot be written: {error.strerror}"
    return None


def _digest(uri: str) -> str:
    digest = hashlib.sha256()
    with storage.open_read(uri) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
