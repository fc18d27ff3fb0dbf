"""From the release a recipe names to a file that every worker can read.

What looks like a path or URI is one. A plain name means the current release of that name in the
registry, where a registry is named and has one; else the bundled release. So a release that was
promoted under a bundled name takes its place, and only where that registry is used.
"""

from dataclasses import dataclass
from pathlib import Path

from pipelines.scratch import scratch
from vgen import storage
from vgen.errors import ReleaseError, StorageError
from vgen.models.registry import MAX_RELEASE_BYTES, current, registry_uri, release_uri
from vgen.models.release import (
    IDENTITY,
    IDENTITY_DIGEST,
    bundled_releases,
    read_header,
    release_digest,
)
from vgen.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRef:
    """A release, checked on the driver; small enough to travel to every worker."""

    name: str
    """As it was asked for: a name, or a location."""
    digest: str
    """SHA-256 of the file."""
    spec: ModelSpec
    location: str
    """``bundled:NAME``, or the path or URI of the file."""


def resolve_release(asked: str, *, registry: str | None = None) -> ReleaseRef:
    """Find the release ``asked`` names: a name, a path or a URI, and check its header.

    Args:
        asked: What a recipe or a person says.
        registry: Where to look for names first; None for what ``VGEN_REGISTRY`` names.

    Raises:
        ReleaseError: there is none, or it is not a valid release.
        StorageError: the registry cannot be read.
    """
    if asked == IDENTITY.name:
        return ReleaseRef(
            name=asked,
            digest=IDENTITY_DIGEST,
            spec=IDENTITY.spec,
            location="bundled:identity",
        )
    if "/" not in asked and not asked.endswith(".safetensors"):
        return _named(asked, registry_uri(registry))
    uri = storage.normalize_uri(asked)
    if storage.is_local(uri):
        if not Path(uri).is_file():
            raise ReleaseError(f"no release file at {uri!r}")
        return _described(asked, uri, Path(uri))
    with scratch("release") as folder:
        return _described(asked, uri, _downloaded(uri, folder))


def _named(name: str, registry: str | None) -> ReleaseRef:
    pointer = current(registry, name) if registry else None
    if registry and pointer:
        uri = release_uri(registry, pointer)
        with scratch("release") as folder:
            path = Path(uri) if storage.is_local(uri) else _downloaded(uri, folder)
            found = _described(name, uri, path)
        if found.digest != pointer.sha256:
            raise ReleaseError(
                f"{uri!r} is not the file that was promoted: expected sha256 {pointer.sha256}, "
                f"found {found.digest}"
            )
        return found
    bundled = bundled_releases()
    if name not in bundled:
        names = ", ".join(sorted({*bundled, IDENTITY.name}))
        where = f" and none is registered in {registry!r}" if registry else ""
        raise ReleaseError(f"no release named {name!r}; bundled are {names}{where}; or give a path")
    return _described(name, f"bundled:{name}", bundled[name])


def release_path(release: ReleaseRef, folder: Path) -> Path | None:
    """Return the release as a local file, fetched into ``folder`` if need be; None is identity.

    Raises:
        ReleaseError: the file is not the one the driver checked.
    """
    if release.location == "bundled:identity":
        return None
    if release.location.startswith("bundled:"):
        path = bundled_releases()[release.location.removeprefix("bundled:")]
    elif storage.is_local(release.location):
        path = Path(release.location)
    else:
        path = _downloaded(release.location, folder)
    found = release_digest(path)
    if found != release.digest:
        raise ReleaseError(
            f"release {release.name!r} changed: expected sha256 {release.digest}, found {found}"
        )
    return path


def _described(name: str, location: str, path: Path) -> ReleaseRef:
    return ReleaseRef(
        name=name, digest=release_digest(path), spec=read_header(path).spec, location=location
    )


def _downloaded(uri: str, folder: Path) -> Path:
    target = folder / "release.safetensors"
    try:
        storage.download(uri, target, MAX_RELEASE_BYTES)
    except StorageError as error:
        raise ReleaseError(f"cannot read the release {uri!r}: {error}") from error
    return target
