"""From the release a recipe names to a file that every worker can read."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.scratch import scratch
from vgen import storage
from vgen.errors import ReleaseError, StorageError
from vgen.models.release import (
    IDENTITY,
    IDENTITY_DIGEST,
    bundled_releases,
    read_header,
    release_digest,
)
from vgen.models.spec import ModelSpec

_LARGEST_RELEASE_BYTES = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRef:
    """A release, checked on the driver; small enough to travel to every worker."""

    name: str
    """Bundled name, or the location it was asked for by."""
    digest: str
    """SHA-256 of the file."""
    spec: ModelSpec
    location: str
    """``bundled:NAME``, or the path or URI of the file."""


def resolve_release(asked: str) -> ReleaseRef:
    """Find the release ``asked`` names: a bundled name, a path or a URI, and check its header.

    Raises:
        ReleaseError: there is none, or it is not a valid release.
    """
    bundled = bundled_releases()
    if asked == "identity":
        return ReleaseRef(
            name=asked,
            digest=IDENTITY_DIGEST,
            spec=IDENTITY.spec,
            location="bundled:identity",
        )
    if asked in bundled:
        path = bundled[asked]
        location = f"bundled:{asked}"
        return _described(asked, location, path)
    if "/" not in asked and not asked.endswith(".safetensors"):
        names = ", ".join(sorted({*bundled, "identity"}))
        raise ReleaseError(f"no release named {asked!r}; bundled are {names}; or give a path")
    uri = storage.normalize_uri(asked)
    if storage.is_local(uri):
        if not Path(uri).is_file():
            raise ReleaseError(f"no release file at {uri!r}")
        return _described(asked, uri, Path(uri))
    with scratch("release") as folder:
        return _described(asked, uri, _downloaded(uri, folder))


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
        storage.download(uri, target, _LARGEST_RELEASE_BYTES)
    except StorageError as error:
        raise ReleaseError(f"cannot read the release {uri!r}: {error}") from error
    return target
