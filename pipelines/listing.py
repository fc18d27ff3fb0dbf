"""Which videos a SOURCE names, and what each output is called.

From folders, prefixes and globs only names with a known video suffix are taken, and none that
starts with a dot (``._clip.mp4`` is what macOS leaves beside ``clip.mp4``) or lies in a ``_vgen``
folder. A name that is given explicitly is always taken. What is named but cannot be used is a
``ListingFault``, so that it is counted and reported like any other failure.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from fsspec.utils import glob_translate

from pipelines.listing_file import LISTING_SUFFIXES, read_listing
from vgen.errors import ConfigError, StorageError
from vgen.manifest import OWN_FOLDER
from vgen.records import Fault, Record, VideoRef
from vgen.storage import (
    ObjectStat,
    exists,
    is_folder,
    is_local,
    list_objects,
    name_of,
    normalize_uri,
    parent_of,
    relative_to,
    stat,
)

VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".dvr-ms", ".f4v", ".flv",
    ".gxf", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v",
    ".mk3d", ".mkv", ".mod", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf",
    ".nsv", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".tp", ".trp", ".ts", ".vob",
    ".vro", ".webm", ".wm", ".wmv", ".wtv", ".y4m",
})  # fmt: skip
"""Suffixes, in lower case, that make a file in a folder a video."""
MAX_NAME_BYTES = 245
"""Longest segment of a relative path in UTF-8. File systems take 255; the output may gain a
suffix of 4 and its manifest one of 5."""
PARALLEL_STATS = 16
MAX_KINDS = 6
"""Most suffixes of passed-over files that are told one by one."""

_MAGIC = re.compile(r"[*?\[]")


class ListingFault(Record):
    """Something that SOURCE names and that cannot be used."""

    uri: str
    """As far as it is known; what is not UTF-8 is escaped."""
    error: Fault


def list_sources(
    source: str,
    suffixes: Collection[str] = VIDEO_SUFFIXES,
    *,
    passed_over: Counter[str] | None = None,
) -> list[VideoRef | ListingFault]:
    """List the videos of a file, folder, glob, prefix or listing, ordered by relative path.

    An object that is named twice is listed once. Faults come last, ordered by URI.

    Args:
        source: What a person named.
        suffixes: In lower case; what a name that is not given explicitly must end in.
        passed_over: Told the suffix, in lower case, of each file that was not taken for its name.

    Raises:
        ConfigError: SOURCE itself is refused, is not there, or is an unreadable listing.
        StorageError: it cannot be reached.
    """
    found = list(_listed(source, suffixes, Counter() if passed_over is None else passed_over))
    videos = {ref.uri: ref for ref in found if isinstance(ref, VideoRef)}
    faults = {fault.uri: fault for fault in found if isinstance(fault, ListingFault)}
    return [
        *sorted(videos.values(), key=lambda ref: (ref.relative_path, ref.uri)),
        *sorted(faults.values(), key=lambda fault: fault.uri),
    ]


def describe_passed_over(passed_over: Mapping[str, int]) -> list[str]:
    """Say which files were not taken, a line or none: a video may be called unlike one."""
    if not passed_over:
        return []
    ranked = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count} {suffix or 'without a suffix'}" for suffix, count in ranked[:MAX_KINDS]]
    rest = sum(count for _, count in ranked[MAX_KINDS:])
    told = ", ".join([*kinds, *([f"{rest} others"] if rest else [])])
    return [f"left alone, as their names are not those of videos: {told}"]


def _listed(
    source: str, suffixes: Collection[str], passed_over: Counter[str]
) -> Iterator[VideoRef | ListingFault]:
    if is_glob(source):
        yield from _from_glob(source, suffixes, passed_over)
        return
    uri = normalize_uri(source)
    if is_folder(uri):
        yield from _from_folder(uri, lambda _: True, suffixes, passed_over)
    elif not exists(uri):
        raise ConfigError(f"nothing lies at {source!r}; name a file, folder, glob or listing")
    elif PurePosixPath(uri).suffix.lower() in LISTING_SUFFIXES:
        yield from _from_listing(uri)
    else:
        yield _reference(stat(uri), name_of(uri))


def is_glob(source: str) -> bool:
    """Whether ``source`` is a pattern, and not the name of something that is there."""
    if not _MAGIC.search(source):
        return False
    uri = normalize_uri(source)
    return not (exists(uri) or is_folder(uri))


def finds_outputs(glob: str, destination: str) -> bool:
    """Whether a pattern would find what a run publishes right below ``destination``."""
    fixed, pattern = _split_glob(glob)
    folder = normalize_uri(fixed)
    if not destination.startswith(f"{folder.rstrip('/')}/"):
        return False
    below = relative_to(destination, folder)
    matches = _matcher(pattern)
    return any(matches(f"{below}/x{suffix}") for suffix in (".mp4", ".mov", ".mkv"))


def _matcher(pattern: str) -> Callable[[str], re.Match[str] | None]:
    try:
        return re.compile(glob_translate(pattern)).match
    except ValueError as error:
        raise ConfigError(
            f"the pattern {pattern!r} is not one: ** stands for folders, as in **/*.mp4"
        ) from error


def _from_glob(
    source: str, suffixes: Collection[str], passed_over: Counter[str]
) -> Iterator[VideoRef | ListingFault]:
    fixed, pattern = _split_glob(source)
    matches = _matcher(pattern)
    # A suffix that is spelled out is an explicit name.
    suffix = PurePosixPath(pattern).suffix
    is_explicit = len(suffix) > 1 and not _MAGIC.search(suffix)
    depth = None if "**" in pattern else pattern.count("/") + 1
    yield from _from_folder(
        normalize_uri(fixed),
        lambda relative: bool(matches(relative)),
        None if is_explicit else suffixes,
        passed_over,
        depth,
    )


def _split_glob(source: str) -> tuple[str, str]:
    """Split a glob into the folder before its first special character and the pattern below."""
    head, _, tail = source.partition("://") if "://" in source else ("", "", source)
    segments = tail.split("/")
    first = next(index for index, text in enumerate(segments) if _MAGIC.search(text))
    fixed = "/".join(segments[:first])
    if head:
        return f"{head}://{fixed}", "/".join(segments[first:])
    return fixed or ("/" if source.startswith("/") else "."), "/".join(segments[first:])


def _from_folder(
    folder: str,
    is_named: Callable[[str], bool],
    suffixes: Collection[str] | None,
    passed_over: Counter[str],
    max_depth: int | None = None,
) -> Iterator[VideoRef | ListingFault]:
    unreadable: list[ListingFault] = []

    def is_video(relative: str) -> bool:
        return suffixes is None or PurePosixPath(relative).suffix.lower() in suffixes

    def note(uri: str, reason: str) -> None:
        relative = relative_to(uri, folder)
        # A broken link that is called like some other file is nobody's loss; one without a suffix
        # may lead to a folder of videos on a disk that is not there, and so is told.
        # Where it may not be asked, as in a folder without its x, it is taken for none.
        is_link = os.path.islink(uri)  # noqa: PTH114  the other raises
        is_other_file = is_link and bool(PurePosixPath(uri).suffix)
        is_wanted = is_named(relative) and is_video(relative)
        if not _is_hidden(relative) and (is_wanted or not is_other_file):
            unreadable.append(_fault(uri, f"{_shown(uri)!r} {reason}"))

    for found in list_objects(folder, max_depth=max_depth, odd=note):
        relative = relative_to(found.uri, folder)
        if _is_hidden(relative) or not is_named(relative):
            continue
        if is_video(relative):
            yield _reference(found, relative)
        else:
            passed_over[_shown(PurePosixPath(relative).suffix.lower())] += 1
    yield from unreadable


def _from_listing(uri: str) -> Iterator[VideoRef | ListingFault]:
    folder = parent_of(uri)
    entries: list[str] = []
    for text in read_listing(uri):
        try:
            entries.append(_resolved(folder, text))
        except ConfigError as error:
            yield _fault(text, str(error), "ConfigError")
    with ThreadPoolExecutor(PARALLEL_STATS) as pool:
        found = list(pool.map(_stat_or_fault, dict.fromkeys(entries)))
    yield from (entry for entry in found if isinstance(entry, ListingFault))
    yield from _placed([entry for entry in found if isinstance(entry, ObjectStat)], folder)


def _stat_or_fault(uri: str) -> ObjectStat | ListingFault:
    try:
        return stat(uri)
    except StorageError as error:
        return _fault(uri, str(error), type(error).__name__)


def _resolved(folder: str, text: str) -> str:
    """Return the URI of an entry; a relative one is meant from the listing's own folder."""
    if "://" in text or text.startswith("/"):
        return normalize_uri(text)
    if is_local(folder):
        return normalize_uri(f"{folder}/{text}")
    base = folder.split("/")
    for segment in text.split("/"):
        if segment == ".." and len(base) > 3:
            base.pop()
        elif segment != ".":
            base.append(segment)
    return normalize_uri("/".join(base))


def _placed(found: list[ObjectStat], folder: str) -> Iterator[VideoRef | ListingFault]:
    """Give the entries of a listing their relative paths.

    Where all lie below the listing's folder, they are relative to it, and stay so when the
    listing grows; else to the deepest folder they share; else they keep bucket and scheme.
    """
    uris = [entry.uri for entry in found]
    base = f"{folder.rstrip('/')}/"
    if not all(uri.startswith(base) for uri in uris):
        base = _common_folder(uris)
    schemes = {uri.partition("://")[0] if not is_local(uri) else "local" for uri in uris}
    for entry in found:
        relative = entry.uri.removeprefix(base).replace("://", "/", 1).lstrip("/")
        if len(schemes) > 1 and is_local(entry.uri):
            relative = f"local/{relative}"
        yield _reference(entry, relative)


def _common_folder(uris: Iterable[str]) -> str:
    """Return what the folders of all URIs start with, with its slash; empty if nothing."""
    folders = [uri.split("/")[:-1] for uri in uris]
    shared = []
    for segments in zip(*folders, strict=False):
        if len(set(segments)) > 1:
            break
        shared.append(segments[0])
    return "/".join((*shared, "")) if shared else ""


def _reference(found: ObjectStat, relative: str) -> VideoRef | ListingFault:
    segments = relative.split("/")
    if not {"", ".", ".."}.isdisjoint(segments):
        return _fault(found.uri, f"{found.uri!r} has an empty, '.' or '..' segment; rename it")
    if OWN_FOLDER in segments[:-1]:
        return _fault(found.uri, f"{found.uri!r} lies in vgen's own {OWN_FOLDER} folder")
    try:
        found.uri.encode()
        longest = max(len(segment.encode()) for segment in segments)
    except UnicodeEncodeError:
        return _fault(found.uri, f"the name {_shown(found.uri)!r} is not UTF-8; rename it")
    if longest > MAX_NAME_BYTES:
        reason = f"{found.uri!r} has a name of {longest} bytes, at most {MAX_NAME_BYTES} can be"
        return _fault(found.uri, reason)
    return VideoRef(
        uri=found.uri, relative_path=relative, etag=found.etag, size_bytes=found.size_bytes
    )


def _fault(uri: str, message: str, kind: str = "StorageError") -> ListingFault:
    return ListingFault(
        uri=_shown(uri), error=Fault(stage="list", kind=kind, message=_shown(message))
    )


def _shown(text: str) -> str:
    """Return ``text`` with bytes that are not UTF-8 escaped, as JSON cannot hold them."""
    return text.encode(errors="backslashreplace").decode()


def _is_hidden(relative: str) -> bool:
    segments = relative.split("/")
    return OWN_FOLDER in segments[:-1] or any(
        name.startswith(".") and name not in {".", ".."} for name in segments
    )
