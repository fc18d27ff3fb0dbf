"""Whether an output's place is vgen's to write: asked before its work, and at its end.

A file that vgen did not publish is never replaced unasked. Whatever else keeps an output from its
place is a matter of that one name too, and fails that video alone.
"""

import contextlib
import errno
import hashlib
import logging
from pathlib import Path, PurePosixPath

from vgen import storage
from vgen.errors import MissingError, StorageError
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
    destination: str, output_path: str, work_key: str, *, is_overwrite: bool
) -> str | None:
    """Say what keeps an output from its place, with the remedy; None where nothing does.

    Args:
        destination: Where outputs go.
        output_path: Relative path of the output.
        work_key: Of the video, for the record that an interrupted publication left.
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
    if is_overwrite or not storage.exists(output_uri):
        return None
    size_bytes = storage.stat(output_uri).size_bytes
    known = published_manifest(destination, output_path)
    if known is not None and known.size_bytes == size_bytes:
        return None
    record_uri = pending_uri(destination, work_key)
    if storage.exists(record_uri):
        pending = Publishing.model_validate_json(storage.read_bytes(record_uri))
        if pending.size_bytes == size_bytes and pending.digest == _digest(output_uri):
            return None
    return f"{output_uri!r} exists and was not published by vgen; move it away or use --overwrite"


def published_manifest(destination: str, output_path: str) -> Manifest | None:
    """Return the manifest of an output; None where there is none, or one that cannot be read."""
    try:
        return read_manifest(manifest_uri(destination, output_path))
    except MissingError:
        return None
    except StorageError as error:
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
    output, parts = Path(destination, output_path), PurePosixPath(output_path).parts
    try:
        for name in (*parts, f"{parts[-1]}.json"):  # of the manifest, the longest of all
            with contextlib.suppress(FileNotFoundError):
                Path(destination, name).lstat()  # refused where it is too long
        if output.is_dir():
            return f"{str(output)!r} is a folder; move it away"
        # The folders between the destination and the output.
        for folder in (Path(destination, one) for one in PurePosixPath(output_path).parents[:-1]):
            if folder.exists() and not folder.is_dir():
                return f"{str(folder)!r} is a file where a folder is needed; move it away"
    except OSError as error:
        if error.errno not in _OF_ONE_NAME:
            raise StorageError(f"cannot look at {str(output)!r}: {error.strerror}") from error
        return f"{str(output)!r} cannot be written: {error.strerror}"
    return None


def _digest(uri: str) -> str:
    digest = hashlib.sha256()
    with storage.open_read(uri) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
