"""Objects of a store, through fsspec.

The client is made once a process and set of credentials; it retries with growing pauses and gives
up after a few minutes. Every upload is one request or one multipart upload, so that an object
appears whole or not at all: nothing is written through an open fsspec file, which commits what it
has when an exception passes through it. Globbing calls of fsspec are avoided: a name is a name.
"""

import mimetypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import fsspec

from vgen.errors import ConfigError, RefusedError, StorageError
from vgen.storage.facts import ObjectStat
from vgen.storage.faults import code_of, translated

READ_BLOCK_BYTES = 1 << 18
"""Read-ahead of an open object: 1 MiB would double the bytes that seeking in an mp4 costs."""
PART_BYTES = 1 << 24
"""Part of a multipart transfer; times ``PARALLEL_PARTS`` is the memory that one transfer takes."""
PARALLEL_PARTS = 4
PARALLEL_DELETES = 16
S3FS_RETRIES = 2
"""Rounds that s3fs makes around botocore's own attempts, for bodies that break off half-way. With
30 s to wait for each of 5 attempts, a server that hangs is given up after 5 minutes."""
MAX_KEY_BYTES = 1024
"""Longest key that S3 takes."""
MAX_PARTS = 9_000
"""S3 takes 10,000."""

_STAMPS = ("LastModified", "last_modified", "mtime", "updated", "created", "modified")
_lock = threading.Lock()
_clients: dict[tuple[object, ...], fsspec.AbstractFileSystem] = {}


def stat(uri: str) -> ObjectStat:
    with translated("look at", uri):
        client, path = _client(uri)
        found = client.info(path)
    if found["type"] == "directory":
        raise RefusedError(f"expected an object, {uri!r} is a folder")
    return _object_stat(uri, found)


def name_fault(uri: str) -> str | None:
    if not _is_s3(uri):
        return None
    if "?versionId=" in uri:  # s3fs would cut it off and read another object
        return f"{uri!r}: a name with '?versionId=' in it cannot be used"
    if len(uri.partition("://")[2].partition("/")[2].encode()) > MAX_KEY_BYTES:
        return f"{uri!r}: a name of more than {MAX_KEY_BYTES} bytes cannot be used"
    return None


def is_folder(uri: str) -> bool:
    with translated("look at", uri):
        client, path = _client(uri)
        if not _is_s3(uri):
            return bool(client.isdir(path))
        # One key is enough, where isdir would list the whole folder.
        bucket, _, key = path.partition("/")
        below = client.call_s3(
            "list_objects_v2", Bucket=bucket, Prefix=f"{key}/" if key else "", MaxKeys=1
        )
        return not key or bool(below.get("Contents"))


def find(
    uri: str, max_depth: int | None, odd: Callable[[str, str], None] | None
) -> list[ObjectStat]:
    del odd  # a store lists nothing that is not an object
    with translated("list", uri):
        client, path = _client(uri)
        found = _found(client, path, max_depth, uri)
    below = f"{path.rstrip('/')}/"
    base = uri.rstrip("/") if not uri.endswith("://") else uri[:-1]
    # A name that ends in a slash is the marker that some programs leave for an empty folder.
    stats = [
        _object_stat(f"{base}/{name[len(below) :]}", entry)
        for name, entry in found.items()
        if name.startswith(below) and not name.endswith("/")
    ]
    return sorted(stats, key=lambda entry: entry.uri)


def _found(
    client: fsspec.AbstractFileSystem, path: str, max_depth: int | None, uri: str
) -> dict[str, dict[str, Any]]:
    # Without on_error fsspec walks past what it may not list, and the listing is silently short;
    # s3fs without a depth makes one flat listing, which takes no such argument and does raise.
    is_flat = _is_s3(uri) and max_depth is None
    options = {} if is_flat else {"maxdepth": max_depth, "on_error": "raise"}
    try:
        found: dict[str, dict[str, Any]] = client.find(path, detail=True, **options)
    except FileNotFoundError as error:
        if code_of(error) == "NoSuchBucket":
            raise
        return {}
    return found


def open_read(uri: str) -> BinaryIO:
    with translated("open", uri):
        client, path = _client(uri)
        opened = client.open(path, "rb", block_size=READ_BLOCK_BYTES, cache_type="readahead")
    return cast("BinaryIO", opened)


def read_bytes(uri: str, start: int, stop: int | None) -> bytes:
    with translated("read", uri):
        client, path = _client(uri)
        if start == 0 and stop is None:
            return bytes(client.cat_file(path))
        try:
            return bytes(client.cat_file(path, start=start, end=stop))
        except OSError as error:
            if code_of(error) == "InvalidRange":  # begins past the end
                return b""
            raise


def write_bytes(uri: str, content: bytes, if_absent: bool) -> bool:
    with translated("write", uri):
        client, path = _client(uri)
        if not if_absent:
            client.pipe_file(path, content)
            return True
        # Asked first as well: several servers ignore If-None-Match.
        if client.exists(path):
            return False
        try:
            client.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if code_of(error) in {"PreconditionFailed", "ConditionalRequestConflict", "412"}:
                return False
            if code_of(error) not in {"NotImplemented", "501"}:
                raise
            client.pipe_file(path, content)
        return True


def publish(source: Path, uri: str, remove_source: bool) -> None:
    with translated("publish", uri):
        client, path = _client(uri)
        options: dict[str, Any] = {}
        if _is_s3(uri):
            content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
            part = max(PART_BYTES, -(-source.stat().st_size // MAX_PARTS))
            options = {"ContentType": content_type, **_transfer_options(part)}
        client.put_file(str(source), path, **options)
    if remove_source:
        source.unlink(missing_ok=True)


def fetch(uri: str, target: Path) -> None:
    client, path = _client(uri)
    options = _transfer_options(PART_BYTES) if _is_s3(uri) else {}
    client.get_file(path, str(target), **options)


def delete(uri: str) -> None:
    with translated("delete", uri):
        client, path = _client(uri)
        try:
            client.rm_file(path)
        except (FileNotFoundError, KeyError):  # memory:// raises KeyError
            return


def delete_below(uri: str) -> None:
    with ThreadPoolExecutor(PARALLEL_DELETES) as pool:
        # Not DeleteObjects: servers differ in the checksum that they want with it.
        list(pool.map(delete, [found.uri for found in find(uri, None, None)]))


def _transfer_options(part_bytes: int) -> dict[str, Any]:
    return {"chunksize": part_bytes, "max_concurrency": PARALLEL_PARTS}


def _object_stat(uri: str, found: dict[str, Any]) -> ObjectStat:
    size_bytes = int(found["size"])
    tag = str(found.get("ETag") or found.get("etag") or "").strip('"')
    if not tag:
        stamp = next((found[name] for name in _STAMPS if found.get(name)), "")
        tag = f"{size_bytes}-{stamp.timestamp() if isinstance(stamp, datetime) else stamp}"
    return ObjectStat(uri=uri, size_bytes=size_bytes, etag=tag)


def _is_s3(uri: str) -> bool:
    return uri.startswith("s3://")


def _client(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the file system of ``uri`` and its path there.

    Kept by process, as a forked child must not use its parent's sockets and event loop, and by the
    ``AWS_*`` environment, so that renewed credentials are seen.
    """
    scheme = uri.partition("://")[0]
    try:
        kind = fsspec.get_filesystem_class(scheme)
        arguments = _s3_arguments() if scheme == "s3" else kind._get_kwargs_from_urls(uri)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{scheme}:// cannot be used: {error}") from error
    fault = name_fault(uri)
    if fault is not None:
        raise StorageError(fault)
    environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    key = (os.getpid(), scheme, repr(arguments), environment)
    with _lock:
        if key not in _clients:
            client = kind(
                **arguments, use_listings_cache=False, skip_instance_cache=scheme != "memory"
            )
            if scheme == "s3":
                client.retries = S3FS_RETRIES
            _clients[key] = client
        return _clients[key], kind._strip_protocol(uri)


def _s3_arguments() -> dict[str, Any]:
    """Return how s3fs is set up; keys and endpoint it reads from the environment itself."""
    config: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 30}
    if "AWS_MAX_ATTEMPTS" not in os.environ and "AWS_RETRY_MODE" not in os.environ:
        config["retries"] = {"mode": "standard", "total_max_attempts": 5}
    # Several S3-compatible servers answer a range request with the whole object's checksum.
    for name in ("request_checksum_calculation", "response_checksum_validation"):
        if f"AWS_{name.upper()}" not in os.environ:
            config[name] = "when_required"
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if "@" in urlsplit(endpoint).netloc:
        raise ConfigError("AWS_ENDPOINT_URL must not hold a user or password; use the AWS_* keys")
    host = urlsplit(endpoint).hostname or "amazonaws.com"
    if not host.endswith(("amazonaws.com", "amazonaws.com.cn")):
        # Without keys, botocore would ask a metadata service that is not there, and stall.
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    return {"config_kwargs": config}


def _start_afresh() -> None:
    global _lock
    _lock = threading.Lock()
    _clients.clear()


os.register_at_fork(after_in_child=_start_afresh)
