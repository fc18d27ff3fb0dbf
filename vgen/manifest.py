"""The commit record of a published video, and the keys of everything beside it.

A manifest is written after its video and names it with size and digest: a video without one was
never published. Keys are derived from what decides the bytes, per video and not per run, so that a
rerun finds finished work and a new file in the archive disturbs none.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from vgen.errors import DamagedError
from vgen.records import Record
from vgen.storage import join, read_bytes, write_bytes

OWN_FOLDER = "_vgen"
"""Folder of a destination that holds everything but the videos."""
MAX_MANIFEST_BYTES = 1 << 24
"""A manifest that is larger was not written by vgen."""


class Manifest(Record):
    """What was published, from what, and how."""

    format_version: Literal[1] = 1
    work_key: str
    """Derived from all that decides the bytes (``work_key``)."""
    source_uri: str
    source_etag: str
    source_size_bytes: int
    output: str
    """Path below the destination, with forward slashes."""
    size_bytes: int
    sha256: str
    """Hex digest of the output's bytes."""
    frames: int
    duration_s: float
    frame_pts_sha256: str
    """Digest of the planned PTS (``pts_digest``)."""
    release: str
    release_digest: str
    recipe: dict[str, object]
    recipe_digest: str
    code_version: str
    created_at: str
    """UTC, ISO 8601."""
    dropped: tuple[str, ...] = ()
    """What could not be carried into the output."""
    notes: tuple[str, ...] = ()


def read_manifest(uri: str) -> Manifest:
    """Read one manifest.

    Raises:
        MissingError: there is none.
        DamagedError: it is no manifest of this version.
    """
    content = read_bytes(uri, 0, MAX_MANIFEST_BYTES)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "document"
        raise DamagedError(f"{uri!r} is no manifest: {place}: {fault['msg']}") from error


def write_manifest(destination: str, manifest: Manifest) -> str:
    """Write the manifest of a video that is published already; return its URI."""
    uri = manifest_uri(destination, manifest.output)
    write_bytes(uri, manifest.model_dump_json(indent=1).encode())
    return uri


def manifest_uri(destination: str, output: str) -> str:
    """Return where the manifest of the output at that relative path lies."""
    return f"{join(manifests_prefix(destination), output)}.json"


def manifests_prefix(destination: str) -> str:
    """Return the prefix of all manifests of a destination."""
    return join(destination, OWN_FOLDER, "manifests")


def chunk_prefix(destination: str, key: str) -> str:
    """Return the prefix of the chunks of the video with that work key."""
    return join(destination, OWN_FOLDER, "chunks", key)


def chunk_uri(destination: str, key: str, span_name: str) -> str:
    """Return where the chunk of one span lies."""
    return join(chunk_prefix(destination, key), span_name)


def runs_prefix(destination: str) -> str:
    """Return the prefix of all runs of a destination."""
    return join(destination, OWN_FOLDER, "runs")


def run_uri(destination: str, run_id: str) -> str:
    """Return the prefix of one run's plan and report."""
    return join(runs_prefix(destination), run_id)


def work_key(
    source_uri: str,
    etag: str,
    release_digest: str,
    recipe_digest: str,
    plan_version: int,
    numerics: str,
) -> str:
    """Return the key of one video's work: equal exactly where the output bytes must be equal.

    Args:
        source_uri: Normalised URI of the source.
        etag: Its version.
        release_digest: Of the weights and their spec.
        recipe_digest: ``Recipe.digest()``.
        plan_version: Raised when the planner cuts or encodes differently.
        numerics: Device kind, dtype and encoder build.
    """
    parts = [source_uri, etag, release_digest, recipe_digest, plan_version, numerics]
    # JSON, so that no two lists of parts run together into one text; ASCII, so that names that
    # are not UTF-8 have a key as well.
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def pts_digest(pts: tuple[int, ...]) -> str:
    """Return the hex digest of a timeline's PTS."""
    return hashlib.sha256(",".join(map(str, pts)).encode()).hexdigest()


def new_run_id(clock: Callable[[], datetime], seed: str) -> str:
    """Return a name for a run: its start in UTC, which sorts by time, and a short digest.

    Args:
        clock: Returns an aware time, such as ``utc_now``.
        seed: What tells runs of the same second apart.
    """
    started = clock().astimezone(UTC)
    return f"{started:%Y%m%dT%H%M%SZ}-{hashlib.sha256(seed.encode()).hexdigest()[:8]}"


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)
