"""A registry of releases: files by name and version, and numbered pointers to the current one.

    <registry>/<name>/<version>.safetensors     version: start of the file's SHA-256
    <registry>/<name>/current/<n>.json          the highest n is current
    <registry>/<name>/decisions/<stamp>-<version>.json

Promoting and rolling back write one new pointer each and change nothing else, after everything
they point to is there. A pointer is written only where none of its number is seen. On stores that
honour conditional writes, of two who promote at the same moment one is refused. Elsewhere both
may write the same number: objects appear whole, so one of the two pointers stays, and each
writer reads back what stands there and is refused if it is not its own. Whoever wrote last is
never refused. Nothing that is pointed to is ever changed or deleted here.
"""

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import Field, ValidationError

from vgen import storage
from vgen.errors import MissingError, ReleaseError, StorageError
from vgen.models.release import IDENTITY, MAX_NAME_LENGTH, read_header, release_digest
from vgen.records import Record

REGISTRY_VARIABLE = "VGEN_REGISTRY"
VERSION_LENGTH = 16
MAX_POINTER_BYTES = 1 << 20
MAX_RELEASE_BYTES = 4 << 30
REPLACING_S = (0.1, 0.2, 0.4, 0.8)
"""Waits for a pointer that is gone for a moment: stores without conditional writes put an object in
another's place in two moves, and pointers are never deleted."""

_NUMBER = re.compile(r"(\d{1,9})\.json")
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_LENGTH - 1}}}")


class Pointer(Record):
    """Which version of a name is current, and since when."""

    format_version: Literal[1] = 1
    name: str
    number: Annotated[int, Field(ge=1)]
    version: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the file."""
    made_by: Literal["promotion", "rollback"]
    restores: int | None = None
    """Of a rollback: the number of the pointer that is in force again."""
    decision: str | None = None
    """Path of the decision below the registry."""
    created_at: str
    """UTC, ISO 8601."""
    nonce: str
    """Tells apart two pointers of one number."""


def registry_uri(asked: str | None) -> str | None:
    """Return the registry that is asked for, else the one ``VGEN_REGISTRY`` names, else None.

    Raises:
        ConfigError: it is no path or URI that can be used.
    """
    chosen = asked or os.environ.get(REGISTRY_VARIABLE)
    return storage.normalize_uri(chosen) if chosen else None


def release_uri(registry: str, pointer: Pointer) -> str:
    """Return where the file lies that ``pointer`` stands for."""
    return storage.join(registry, pointer.name, f"{pointer.version}.safetensors")


def names(registry: str) -> tuple[str, ...]:
    """Return the names that have a pointer, sorted.

    Raises:
        StorageError: the registry cannot be read.
    """
    found = set()
    for entry in storage.list_objects(registry, max_depth=3):
        parts = storage.relative_to(entry.uri, registry).split("/")
        if len(parts) == 3 and parts[1] == "current" and _NUMBER.fullmatch(parts[2]):
            found.add(parts[0])
    return tuple(sorted(found))


def current(registry: str, name: str) -> Pointer | None:
    """Return the pointer in force, or None where the name was never promoted.

    Raises:
        ReleaseError: the name cannot be one, or its newest pointer is not readable.
        StorageError: the registry cannot be read.
    """
    numbers = _numbers(registry, checked_name(name))
    return read_pointer(registry, name, numbers[-1]) if numbers else None


def history(registry: str, name: str) -> tuple[Pointer, ...]:
    """Return all pointers of a name, oldest first; raises as ``current``."""
    numbers = _numbers(registry, checked_name(name))
    return tuple(read_pointer(registry, name, number) for number in numbers)


def read_pointer(registry: str, name: str, number: int) -> Pointer:
    """Read one pointer.

    Raises:
        ReleaseError: it is no pointer of that name and number. An older one is not taken in its
            stead, as nobody asked for it.
        StorageError: it is not there or cannot be read.
    """
    uri = _pointer_uri(registry, name, number)
    try:
        pointer = Pointer.model_validate_json(_content(uri))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "document"
        raise ReleaseError(
            f"{uri!r} is no pointer to a release: {place}: {fault['msg']}; delete it to go back "
            "to the one before"
        ) from error
    if (pointer.name, pointer.number) != (name, number):
        raise ReleaseError(
            f"{uri!r} points for {pointer.name!r} number {pointer.number}; it was moved or copied"
        )
    return pointer


def _content(uri: str) -> bytes:
    for wait_s in REPLACING_S:
        try:
            return storage.read_bytes(uri, 0, MAX_POINTER_BYTES)
        except MissingError:
            time.sleep(wait_s)
    return storage.read_bytes(uri, 0, MAX_POINTER_BYTES)


def publish(registry: str, name: str, path: Path) -> tuple[str, str]:
    """Put a release file under ``name``; return its version and SHA-256. It is not current yet.

    The same file is the same object, so publishing it again changes nothing.

    Raises:
        ReleaseError: the file is no release, or the name cannot be one.
        StorageError: it cannot be put there.
    """
    read_header(path)
    sha256 = release_digest(path)
    version = sha256[:VERSION_LENGTH]
    uri = storage.join(registry, checked_name(name), f"{version}.safetensors")
    if not storage.exists(uri):
        storage.publish(path, uri, remove_source=False)
    return version, sha256


def promote(
    registry: str, name: str, *, sha256: str, replacing: Pointer | None, decision: str | None = None
) -> Pointer:
    """Make a published version the current one.

    Args:
        registry: The registry.
        name: What it is called there.
        sha256: Of the published file.
        replacing: The pointer that was in force when this was decided; None for no such.
        decision: Path of the decision below the registry.

    Raises:
        ReleaseError: another pointer came in between.
        StorageError: the version is not there, or the registry cannot be written.
    """
    return _point(
        registry,
        replacing,
        Pointer(
            name=checked_name(name),
            number=1 + (replacing.number if replacing else 0),
            version=sha256[:VERSION_LENGTH],
            sha256=sha256,
            made_by="promotion",
            decision=decision,
            created_at=_utc_now(),
            nonce=uuid4().hex,
        ),
    )


def roll_back(registry: str, name: str) -> Pointer:
    """Put the version in force that was current before the current one; again goes further back.

    Raises:
        ReleaseError: there is none before it, or another pointer came in between.
        StorageError: the registry cannot be read or written.
    """
    told = {one.number: one for one in history(registry, name)}
    in_force = told[max(told)] if told else None
    effective = in_force.restores or in_force.number if in_force else 0
    before = told.get(max((number for number in told if number < effective), default=0))
    target = told.get(before.restores or before.number) if before else None
    if in_force is None or target is None:
        raise ReleaseError(f"{name!r} has no version before the current one in {registry!r}")
    return _point(
        registry,
        in_force,
        Pointer(
            name=name,
            number=in_force.number + 1,
            version=target.version,
            sha256=target.sha256,
            made_by="rollback",
            restores=target.number,
            decision=target.decision,
            created_at=_utc_now(),
            nonce=uuid4().hex,
        ),
    )


def checked_name(name: str) -> str:
    """Return ``name`` if releases can be kept under it.

    Raises:
        ReleaseError: it cannot be a folder everywhere, or is the one that has no file.
    """
    if not _NAME.fullmatch(name) or name == IDENTITY.name:
        raise ReleaseError(
            f"{name!r} cannot be the name of a registered release: expected a letter or digit, "
            f"then letters, digits, '.', '_' and '-', {MAX_NAME_LENGTH} at most, and not "
            f"{IDENTITY.name!r}"
        )
    return name


def write_decision(registry: str, name: str, version: str, content: str) -> str:
    """Keep the reasons of a promotion or refusal; return their path below the registry.

    Raises:
        StorageError: the registry cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    path = f"{checked_name(name)}/decisions/{stamp}-{version}.json"
    storage.write_bytes(storage.join(registry, path), content.encode())
    return path


def _point(registry: str, replacing: Pointer | None, pointer: Pointer) -> Pointer:
    uri = release_uri(registry, pointer)
    if not storage.exists(uri):
        raise StorageError(f"{uri!r} is not there; publish the release before it is promoted")
    newest = current(registry, pointer.name)
    place = _pointer_uri(registry, pointer.name, pointer.number)
    is_first = (newest and newest.nonce) == (replacing and replacing.nonce)
    if is_first and storage.write_bytes(
        place, pointer.model_dump_json(indent=1).encode(), if_absent=True
    ):
        standing = read_pointer(registry, pointer.name, pointer.number)
        if standing.nonce == pointer.nonce:
            return pointer
    raise ReleaseError(
        f"{pointer.name!r} was promoted or rolled back by someone else at the same time; "
        "nothing was changed here, look at `vgen releases` and run again"
    )


def _numbers(registry: str, name: str) -> list[int]:
    listed = storage.list_objects(storage.join(registry, name, "current"), max_depth=1)
    matches = [_NUMBER.fullmatch(storage.name_of(entry.uri)) for entry in listed]
    return sorted(int(match[1]) for match in matches if match)


def _pointer_uri(registry: str, name: str, number: int) -> str:
    return storage.join(registry, name, "current", f"{number}.json")


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
