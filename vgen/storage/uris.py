"""What an object is called: URIs, and paths below them.

A local file is an absolute path without a scheme; everything else keeps its scheme. Names are taken
as they are: nothing is percent-decoded and no character is special, except in ``file://``, which
RFC 8089 percent-encodes. The schemes are an allow-list of stores. Left out on purpose: whatever
chains or wraps another URI or reaches back to this machine (``zip``, ``simplecache``, ``::``), and
``http``, which cannot be listed and would let a listing make workers fetch from any address.
"""

import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from vgen.errors import ConfigError

STORES = frozenset({
    "abfs", "abfss", "adl", "az", "dbfs", "gcs", "gs", "hdfs", "hf", "lakefs", "memory", "oci",
    "oss", "s3", "sftp", "smb", "ssh", "tos", "webdav",
})  # fmt: skip
"""Schemes that are accepted; each needs its fsspec package, and s3's is always there."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def normalize_uri(text: str) -> str:
    """Return the one spelling of a path or URI: local and absolute, or with its scheme.

    Trailing slashes go. ``..`` in a local path is resolved as the system would.

    Raises:
        ConfigError: empty, not on the list of schemes, without a bucket or host, with a password
            in it, or with a segment that no store keeps apart (``.`` and ``..``).
    """
    if not text or "\0" in text:
        raise ConfigError(f"expected a path or URI, got {text!r}")
    match = _SCHEME.fullmatch(text)
    if match is None:
        if "::" in text and "://" in text:
            raise ConfigError(f"chained URIs are not accepted, got {text!r}; name the file itself")
        path = Path(text)
        return str(path.resolve() if ".." in path.parts else path.absolute())
    scheme, rest = match[1].lower(), match[2].rstrip("/")
    if scheme == "file":
        return _from_file_uri(text)
    scheme = "s3" if scheme == "s3a" else scheme
    if scheme not in STORES:
        known = ", ".join(sorted(STORES))
        raise ConfigError(f"{scheme}:// is not accepted; use a local path or one of {known}")
    host = rest.partition("/")[0]
    if ":" in host.rpartition("@")[0]:
        raise ConfigError(f"a {scheme}:// URI must not hold a password; use the environment")
    if not host and scheme != "memory":
        raise ConfigError(f"{text!r} names no bucket or host")
    if not {".", ".."}.isdisjoint(rest.split("/")):
        raise ConfigError(f"{text!r} has a segment '.' or '..'; write the URI without it")
    return f"{scheme}://{rest}"


def is_local(uri: str) -> bool:
    """Whether ``uri`` is a file of this machine."""
    return _SCHEME.match(uri) is None


def local_path(uri: str) -> Path:
    """Return the local file that ``uri`` names.

    Raises:
        ValueError: it names an object of a store.
    """
    if not is_local(uri):
        raise ValueError(f"{uri!r} is not a local path")
    return Path(uri)


def name_of(uri: str) -> str:
    """Return the last segment of ``uri``."""
    return uri.rpartition("/")[2]


def parent_of(uri: str) -> str:
    """Return ``uri`` without its last segment; a root or bucket is its own parent."""
    if is_local(uri):
        return str(PurePosixPath(uri).parent)
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('/')[0] or rest}"


def join(uri: str, *parts: str) -> str:
    """Return the URI of what lies at ``parts`` below ``uri``; a part may hold slashes.

    Raises:
        ValueError: a part is absolute, or has an empty, ``.`` or ``..`` segment, or a NUL.
    """
    for part in parts:
        if "\0" in part or not {"", ".", ".."}.isdisjoint(part.split("/")):
            raise ValueError(f"{part!r} does not stay below {uri!r}")
    return "/".join((uri.rstrip("/") if not uri.endswith("://") else uri[:-1], *parts))


def relative_to(uri: str, base: str) -> str:
    """Return the path of ``uri`` below ``base``, by name alone; empty where they are equal.

    Raises:
        ValueError: ``uri`` does not lie below ``base``.
    """
    if uri == base:
        return ""
    start = base if base.endswith("/") else f"{base}/"
    if not uri.startswith(start):
        raise ValueError(f"{uri!r} does not lie below {base!r}")
    return uri[len(start) :]


def contains(folder: str, uri: str) -> bool:
    """Whether ``uri`` is ``folder`` or lies below it; local links are followed first."""
    if is_local(folder) != is_local(uri):
        return False
    if not is_local(folder):
        return uri == folder or uri.startswith(folder.rstrip("/") + "/")
    outer, inner = Path(os.path.realpath(folder)), Path(os.path.realpath(uri))
    if inner.is_relative_to(outer):
        return True
    # The same folder under another spelling: a bind mount, or a file system that ignores case.
    return any(_is_same(outer, path) for path in (inner, *inner.parents))


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:  # one is not there, or may not be looked at
        return False


def _from_file_uri(text: str) -> str:
    host, slash, rest = text.partition("://")[2].partition("/")
    if host not in ("", "localhost") or not slash:
        raise ConfigError(f"expected file:///absolute/path, got {text!r}")
    return normalize_uri(f"/{unquote(rest)}")
