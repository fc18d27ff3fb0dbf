"""What each output is called, and what a destination holds already."""

import hashlib
import logging
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from pipelines.listing import VIDEO_SUFFIXES
from vgen.errors import DamagedError, MissingError, RefusedError
from vgen.manifest import Manifest, manifests_prefix, read_manifest
from vgen.records import VideoRef
from vgen.storage import list_objects, relative_to

PARALLEL_READS = 16

log = logging.getLogger(__name__)


def output_names(
    refs: Sequence[VideoRef],
    suffix_of: Callable[[VideoRef], str],
    published: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Name the output of each source: its relative path with the output container's suffix.

    Sources that would share a name keep their whole name before the suffix (``a.avi`` and
    ``a.mkv`` become ``a.avi.mkv`` and ``a.mkv.mkv``), and where even that is shared, as by
    ``A.mp4`` and ``a.mp4`` on a file system that ignores case, a digest of their URI. A source
    that is published already keeps its output's name, so that one more file orphans nothing.

    Args:
        refs: What was listed, each URI once.
        suffix_of: The output's suffix with its dot, such as ``.mkv``.
        published: Source URI by output path, of what the destination holds (``scan_manifests``).
            The name of what another source published is taken, listed or not: no run replaces the
            work of a run over another listing.

    Returns:
        The relative output path by source URI; no two are equal, differ only in case or in
        Unicode normalisation, or need a file and a folder of one name.
    """
    choices = {ref.uri: _choices(ref, suffix_of(ref)) for ref in refs}
    held = _held(choices, published or {})
    owners = {_folded(output): uri for output, uri in (published or {}).items()}
    level = {uri: held.get(uri, 0) for uri in choices}
    while True:
        names = {uri: choices[uri][level[uri]] for uri in choices}
        raised = {uri for uri in _clashing(names, held, owners) if level[uri] < 2}
        if not raised:
            return names
        for uri in raised:
            level[uri] += 1


def scan_manifests(destination: str) -> dict[str, Manifest]:
    """Read all manifests of a destination, by relative output path.

    One that is broken or lies under a name that is not its own is left out with a warning: its
    video then counts as one that vgen did not publish.
    """
    prefix = manifests_prefix(destination)
    uris = [found.uri for found in list_objects(prefix) if found.uri.endswith(".json")]
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        read = pool.map(_manifest_or_none, uris)
        found = {relative_to(uri, prefix)[:-5]: one for uri, one in zip(uris, read, strict=True)}
    for output, manifest in found.items():
        if manifest is not None and manifest.output != output:
            log.warning("the manifest of %r names %r instead; left out", output, manifest.output)
    return {
        output: manifest
        for output, manifest in found.items()
        if manifest is not None and manifest.output == output
    }


def _manifest_or_none(uri: str) -> Manifest | None:
    try:
        return read_manifest(uri)
    except (DamagedError, MissingError, RefusedError) as error:
        log.warning("manifest left out: %s", error)
        return None


def _choices(ref: VideoRef, suffix: str) -> tuple[str, str, str]:
    """Return the names a source's output may have, the plainest first."""
    path = PurePosixPath(ref.relative_path)
    is_known = path.suffix.lower() in VIDEO_SUFFIXES
    plain = path.with_suffix(suffix) if is_known else path.with_name(path.name + suffix)
    digest = hashlib.sha256(ref.uri.encode()).hexdigest()[:8]
    return (
        str(plain),
        str(path.with_name(path.name + suffix)),
        str(path.with_name(f"{path.name}-{digest}{suffix}")),
    )


def _held(choices: Mapping[str, tuple[str, ...]], published: Mapping[str, str]) -> dict[str, int]:
    """Return which of its names a source is published under already."""
    return {
        uri: names.index(output)
        for uri, names in choices.items()
        for output in reversed(names)  # the plainest wins
        if published.get(output) == uri
    }


def _clashing(
    names: Mapping[str, str], held: Mapping[str, int], owners: Mapping[str, str]
) -> set[str]:
    """Return the sources that must take their next name.

    Args:
        names: What each source would be called.
        held: Sources that go by a published name; where others can move, they stay.
        owners: Source by folded name of what is published.
    """
    sharing: dict[str, list[str]] = defaultdict(list)
    for uri, name in names.items():
        sharing[_folded(name)].append(uri)
    folders = {folder for name in (*sharing, *owners) for folder in _folders(name)}
    clashing = {uri for folder in folders & sharing.keys() for uri in sharing[folder]}
    for folded, uris in sharing.items():
        if len(uris) > 1:
            movable = [uri for uri in uris if uri not in held]
            clashing.update(movable if len(movable) < len(uris) else uris)
        clashing.update(uri for uri in uris if owners.get(folded, uri) != uri)
    return clashing


def _folded(name: str) -> str:
    """Return what file systems that ignore case or normalise Unicode tell names apart by."""
    return unicodedata.normalize("NFC", name).casefold()


def _folders(name: str) -> Iterator[str]:
    return (str(parent) for parent in PurePosixPath(name).parents)
