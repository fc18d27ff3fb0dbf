"""``vgen releases``: which releases there are, with their scores; rolling back, and mixing."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.release_files import release_path, resolve_release
from pipelines.scratch import scratch
from vgen import storage
from vgen.errors import MissingError, ReleaseError
from vgen.models import registry
from vgen.models.release import ReleaseHeader, bundled_releases, read_header, release_digest
from vgen.records import Record
from vgen.training.promote import Decision

MAX_DECISION_BYTES = 1 << 26
SHOWN_DIGITS = 8
"""Of a digest, for people: enough to tell releases apart in 80 columns."""


class ShelfEntry(Record):
    """One release that can be named, or an earlier version of it."""

    name: str
    origin: str
    """bundled, or the registry."""
    sha256: str
    architecture: str
    scale: int
    size_bytes: int
    number: int | None
    """Of the pointer; None of a bundled release."""
    made_by: str | None
    since: str | None
    """UTC, when the pointer was written."""
    is_current: bool
    """Whether the name stands for it, in ``enhance`` with this registry."""
    mean_gain_db: float | None
    against: str | None
    """What it gained that over when it was promoted."""
    scores: dict[str, float]
    """RGB PSNR in decibels by class, from the promotion's decision."""
    provenance: dict[str, object]
    """What the file says about itself."""


def list_releases(name: str | None, registry_uri: str | None) -> list[ShelfEntry]:
    """Return bundled releases, then registered ones with all that was ever current, in order.

    Raises:
        ReleaseError: there is no release of that name, or one cannot be read.
        StorageError: the registry cannot be read.
    """
    entries: list[ShelfEntry] = []
    named = registry.names(registry_uri) if registry_uri else ()
    for bundled, path in bundled_releases().items():
        if name in {None, bundled}:
            entries.append(_bundled(bundled, path, is_current=bundled not in named))
    for one in named:
        if registry_uri and name in {None, one}:
            entries += _registered(registry_uri, one)
    if name is not None and not entries:
        raise ReleaseError(f"there is no release named {name!r}, bundled or registered")
    return entries


def show_releases(entries: list[ShelfEntry], console: Console) -> None:
    """Print the list for people; a star marks what a name stands for."""
    table = Table(box=None)
    for heading in ("", "name", "from", "version", "network", "scale", "MB", "gain"):
        # A name that is cut short cannot be typed.
        table.add_column(heading, no_wrap=heading != "gain")
    for entry in entries:
        gain = "" if entry.mean_gain_db is None else f"{entry.mean_gain_db:+.2f} dB"
        cells = (
            "*" if entry.is_current else "",
            entry.name,
            entry.origin if entry.made_by is None else f"{entry.made_by} {entry.number}",
            entry.sha256[:SHOWN_DIGITS],
            entry.architecture.rpartition("_")[2],
            f"x{entry.scale}",
            f"{entry.size_bytes / 1e6:.2f}",
            gain,
        )
        table.add_row(*cells)
    console.print(table)


def mix(
    first: str, second: str, *, share: float, output: str, registry_uri: str | None
) -> ReleaseHeader:
    """Write the release between two others to ``output``, named as that file; return its header.

    Raises:
        ReleaseError: the two do not fit each other, or cannot be read.
        StorageError: the file cannot be written.
    """
    # Imported here because listing needs no torch.
    from vgen.models.mix import mix_releases

    with scratch("mix") as folder:
        paths = []
        for number, asked in enumerate((first, second)):
            below = folder / str(number)
            below.mkdir()
            path = release_path(resolve_release(asked, registry=registry_uri), below)
            if path is None:
                raise ReleaseError("identity has no weights that could be mixed")
            paths.append(path)
        made = folder / "mix.safetensors"
        target = storage.normalize_uri(output)
        name = storage.name_of(target).removesuffix(".safetensors")
        mix_releases(paths[0], paths[1], share=share, path=made, name=name)
        storage.publish(made, target, remove_source=False)
        return read_header(made)


def _bundled(name: str, path: Path, *, is_current: bool) -> ShelfEntry:
    header = read_header(path)
    return ShelfEntry(
        name=name,
        origin="bundled",
        sha256=release_digest(path),
        architecture=header.spec.architecture,
        scale=header.spec.scale,
        size_bytes=path.stat().st_size,
        number=None,
        made_by=None,
        since=None,
        is_current=is_current,
        mean_gain_db=None,
        against=None,
        scores={},
        provenance=dict(header.provenance),
    )


def _registered(registry_uri: str, name: str) -> list[ShelfEntry]:
    pointers = registry.history(registry_uri, name)
    entries = []
    for pointer in pointers:
        uri = registry.release_uri(registry_uri, pointer)
        header, size_bytes = _header_of(uri)
        decision, against = _decision_of(registry_uri, pointer)
        entry = ShelfEntry(
            name=name,
            origin=registry_uri,
            sha256=pointer.sha256,
            architecture=header.spec.architecture,
            scale=header.spec.scale,
            size_bytes=size_bytes,
            number=pointer.number,
            made_by=pointer.made_by,
            since=pointer.created_at,
            is_current=pointer is pointers[-1],
            mean_gain_db=decision.mean_gain_db if decision else None,
            against=against,
            scores={s.name: s.after.psnr_rgb_db for s in decision.candidate.scores}
            if decision
            else {},
            provenance=dict(header.provenance),
        )
        entries.append(entry)
    return entries


def _header_of(uri: str) -> tuple[ReleaseHeader, int]:
    """Return what a registered file says about itself, and its size."""
    with scratch("release") as folder:
        path = Path(uri)
        if not storage.is_local(uri):
            path = folder / "release.safetensors"
            storage.download(uri, path, registry.MAX_RELEASE_BYTES)
        return read_header(path), path.stat().st_size


def _decision_of(
    registry_uri: str, pointer: registry.Pointer
) -> tuple[Decision | None, str | None]:
    """Return the decision that a pointer names, and what the release was held against."""
    if pointer.decision is None:
        return None, None
    try:
        uri = storage.join(registry_uri, pointer.decision)
        content = storage.read_bytes(uri, 0, MAX_DECISION_BYTES)
        decision = Decision.model_validate_json(content)
    except MissingError:
        return None, f"unknown, as {pointer.decision} is gone"
    except ValueError:
        return None, f"unknown, as {pointer.decision} is not readable"
    return decision, decision.against
