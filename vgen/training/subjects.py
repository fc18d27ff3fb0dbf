"""What releases are scored on: held-out clips of a dataset, or the files of a folder.

A folder's files are taken by the rules by which ``vgen dataset`` takes clean clips, one clip a
video, so what is blurred, blocky or dark is left out here too, by name. Every still also becomes
a short video, filmed by a camera that drifts.

Clips are uint8 RGB arrays ``[T, H, W, 3]``, sides multiples of 16.
"""

import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from vgen import storage
from vgen.config import Limits
from vgen.errors import ConfigError, MediaError
from vgen.manifest import OWN_FOLDER
from vgen.media.probe import probe_video
from vgen.records import VideoRef
from vgen.training.clips import move_still
from vgen.training.codec import Clip
from vgen.training.dataset import is_dataset, open_dataset
from vgen.training.gather import OpenedVideo, is_still, still_clips, video_clips
from vgen.training.scores import EvaluationSettings, Kind, LeftOut
from vgen.training.selection import DatasetSettings
from vgen.training.shards import CleanClip

FRAMES = 7
"""Frames of a video that is made of a still, or cut out of a file."""
STILL_SIDE_PX = 256
"""Side of a video that is made of a still, or of the still where that is smaller."""
MULTIPLE_PX = 16
"""Codecs want multiples of 4, after a fourfold reduction."""
MAX_STILL_BYTES = 1 << 28

# What lies beside clips and is neither a picture nor a video.
_TEXTS = frozenset({".csv", ".html", ".json", ".md", ".txt"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One clean clip."""

    name: str
    """Path below the folder, or source and first frame in a dataset."""
    kind: Kind
    clip_thwc: Clip
    """Of a still: in motion."""
    still_hwc: Clip | None
    """The whole still; None of a video."""


def generator_for(seed: int, *names: str) -> Generator:
    """Return the source of chance for what is so named, whatever else is scored beside it."""
    return np.random.default_rng((seed, *(zlib.crc32(name.encode()) for name in names)))


def load_subjects(
    clips_uri: str, settings: EvaluationSettings, left_out: list[LeftOut]
) -> Iterator[Subject]:
    """Yield stills, then videos, holding one at a time.

    Args:
        clips_uri: A dataset, a folder or prefix, or one file.
        settings: What is chosen of them.
        left_out: Told what was not scored, by reason; complete when all are drawn.

    Raises:
        ConfigError: nothing can be scored, with the reasons.
        StorageError: the place cannot be read.
    """
    reasons: dict[str, list[str]] = {}
    is_empty = True
    found = (_from_dataset if is_dataset(clips_uri) else _from_files)(clips_uri, settings, reasons)
    for subject in found:
        is_empty = False
        yield subject
    left_out += [LeftOut(reason=why, names=tuple(names)) for why, names in sorted(reasons.items())]
    if is_empty:
        told = "; ".join(f"{len(group.names)} {group.reason}" for group in left_out)
        raise ConfigError(f"nothing to score in {clips_uri!r}{': ' if told else ''}{told}")


def _from_dataset(
    uri: str, settings: EvaluationSettings, reasons: dict[str, list[str]]
) -> Iterator[Subject]:
    dataset = open_dataset(uri)
    kinds: tuple[Kind, ...] = ("still", "video")
    for kind in kinds:
        names = [
            f"{storage.name_of(facts.source_uri)}#{number}"
            for facts in dataset.summary.sources
            if facts.kind == kind and facts.is_held_out
            for number in range(facts.clips)
        ]
        clips = dataset.clips(kind, held_out=True)
        for number in _spread(range(len(names)), settings.limit, names, reasons):
            frames_thwc = clips[number]
            yield _subject(names[number], kind, frames_thwc, settings.seed)


def _from_files(
    uri: str, settings: EvaluationSettings, reasons: dict[str, list[str]]
) -> Iterator[Subject]:
    is_folder = storage.is_folder(uri)
    if not is_folder and not storage.exists(uri):
        raise ConfigError(f"nothing lies at {uri!r}; name a dataset, a folder or a file")
    files = list(storage.list_objects(uri)) if is_folder else [storage.stat(uri)]
    base = uri if is_folder else storage.parent_of(uri)
    refs = [
        VideoRef(
            uri=file.uri,
            relative_path=storage.relative_to(file.uri, base),
            etag=file.etag,
            size_bytes=file.size_bytes,
        )
        for file in files
    ]
    refs = [ref for ref in refs if _is_wanted(ref.relative_path, settings.only)]
    odd = [ref.relative_path for ref in refs if not _is_utf8(ref.relative_path)]
    if odd:
        told = [name.encode(errors="backslashreplace").decode() for name in odd]
        reasons["whose names are not UTF-8"] = told
    refs = [ref for ref in refs if _is_utf8(ref.relative_path)]
    kinds: tuple[Kind, ...] = ("still", "video")
    for kind in kinds:
        alike = [ref for ref in refs if is_still(ref.relative_path) == (kind == "still")]
        names = [ref.relative_path for ref in alike]
        for ref in _spread(alike, settings.limit, names, reasons):
            rejected: Counter[str] = Counter()
            try:
                made = _clip_of(ref, settings.seed, rejected)
            except MediaError as error:
                reasons.setdefault(error.message, []).append(ref.relative_path)
                continue
            if made is None:
                # A video is looked through part by part: the reason that was met most counts.
                reasons.setdefault(rejected.most_common(1)[0][0], []).append(ref.relative_path)
                continue
            frames_thwc = made.frames_thwc if kind == "video" else made.frames_thwc[0]
            yield _subject(ref.relative_path, kind, frames_thwc, settings.seed)


def _clip_of(ref: VideoRef, seed: int, rejected: Counter[str]) -> CleanClip | None:
    """Return the clip of one file, or None and a count of reasons."""
    rules = DatasetSettings(seed=seed, frames=FRAMES, clips_per_video=1)
    rng = generator_for(seed, ref.relative_path, "cut")
    if is_still(ref.relative_path):
        content = storage.read_bytes(ref.uri, 0, MAX_STILL_BYTES)
        return next(still_clips(content, ref.uri, rules, rng, rejected), None)
    with tempfile.TemporaryDirectory(prefix="vgen-evaluate-") as folder:
        path = ref.uri
        if not storage.is_local(path):
            path = str(Path(folder) / "clip")
            storage.download(ref.uri, Path(path), Limits().max_size_bytes)
        info, timeline = probe_video(ref, Limits(), open_path=path)
        opened = OpenedVideo(uri=ref.uri, info=info, timeline=timeline, open_path=path)
        return next(video_clips(opened, rules, rng, rejected), None)


def _subject(name: str, kind: Kind, frames: Clip, seed: int) -> Subject:
    """Return a still ``[H, W, 3]`` or a video ``[T, H, W, 3]`` as a subject."""
    if kind == "video":
        return Subject(name=name, kind=kind, clip_thwc=_trimmed(frames), still_hwc=None)
    height, width = (size // MULTIPLE_PX * MULTIPLE_PX for size in frames.shape[:2])
    side = min(STILL_SIDE_PX, height, width)
    moved = move_still(frames, FRAMES, side, generator_for(seed, name, "camera"))
    return Subject(name=name, kind=kind, clip_thwc=moved, still_hwc=frames[:height, :width])


def _trimmed(clip_thwc: Clip) -> Clip:
    height, width = (size // MULTIPLE_PX * MULTIPLE_PX for size in clip_thwc.shape[1:3])
    return clip_thwc[:, :height, :width]


def _is_utf8(name: str) -> bool:
    """Whether a name can be told and hashed; what the file system has it undecoded otherwise."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_wanted(relative_path: str, only: tuple[str, ...]) -> bool:
    name = storage.name_of(relative_path)
    if name.startswith(".") or Path(name).suffix.lower() in _TEXTS:
        return False
    if OWN_FOLDER in relative_path.split("/")[:-1]:
        return False
    return not only or any(fnmatchcase(name, pattern) for pattern in only)


def _spread(
    items: Sequence[T], limit: int, names: Sequence[str], reasons: dict[str, list[str]]
) -> list[T]:
    """Return ``limit`` of ``items`` at most, evenly spread; the names of the others are told."""
    if len(items) <= limit:
        return list(items)
    kept = {number * len(items) // limit for number in range(limit)}
    rest = [name for number, name in enumerate(names) if number not in kept]
    reasons.setdefault(f"beyond the limit of {limit} of a kind", []).extend(rest)
    return [item for number, item in enumerate(items) if number in kept]
