"""What each output is called, and what a destination holds already."""

import hashlib
import logging
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from pipelines.listing import VIDEO_SUFFIXES
from vgen.errors import StorageError
from vgen.manifest import Manifest, manifests_prefix, read_manifest
from vgen.records import VideoRef
from vgen.storage import list_objects, relative_to

PARALLEL_READS = 16

log = logging.getLogger(__name__)


def output_names(
    refs: Sequence[VideoRef],
    suffix_of: Callable[[VideoRef], str],
    published: Mapping[str, str] | None = None,
    settled: Collection[str] = (),
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
        settled: URIs of listed sources that are not in ``refs`` because what they have published
            stands; their names are taken. What sources published that are no longer listed is
            not in the way: it may be the same archive under its older address.

    Returns:
        The relative output path by source URI; no two are equal, differ only in case or in
        Unicode normalisation, or need a file and a folder of one name.
    """
    standing = {uri: (output,) * 3 for output, uri in (published or {}).items() if uri in settled}
    choices = standing | {ref.uri: _choices(ref, suffix_of(ref)) for ref in refs}
    held = _held(choices, published or {})
    level = {uri: held.get(uri, 0) for uri in choices}
    while True:
        names = {uri: choices[uri][level[uri]] for uri in choices}
        raised = {uri for uri in _clashing(names, held) if level[uri] < 2}
        if not raised:
            return {ref.uri: names[ref.uri] for ref in refs}
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
    except StorageError as error:
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


def _clashing(names: Mapping[str, str], held: Mapping[str, int]) -> set[str]:
    """Return the sources that must take their next name."""
    sharing: dict[str, list[str]] = defaultdict(list)
    folders: set[str] = set()
    for uri, name in names.items():
        folded = unicodedata.normalize("NFC", name).casefold()
        sharing[folded].append(uri)
        folders.update(str(parent) for parent in PurePosixPath(folded).parents)
    clashing = {uri for folder in folders & sharing.keys() for uri in sharing[folder]}
    for uris in sharing.values():
        if len(uris) > 1:
            movable = [uri for uri in uris if uri not in held]
            clashing.update(movable if len(movable) < len(uris) else uris)
    return clashing
