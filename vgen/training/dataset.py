"""A finished dataset: the summary that commits it, and its clips read when asked for.

What ``dataset.json`` does not name is no part of the dataset: it is what an interrupted run left.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

from pydantic import ValidationError

from vgen import storage
from vgen.errors import ConfigError
from vgen.records import Fault, Record
from vgen.training.codec import Clip
from vgen.training.shards import Kind, ShardFacts, read_clip, shard_uri

SUMMARY_NAME = "dataset.json"
MAX_SUMMARY_BYTES = 1 << 30
CACHE_BYTES = 1 << 30
"""Pixels that a reader keeps."""


class FailedSource(Record):
    """A source that gave nothing because it cannot be read."""

    source_uri: str
    error: Fault


class Summary(Record):
    """What a dataset holds and how it was made: ``dataset.json``."""

    format_version: Literal[1] = 1
    seed: int
    recipe: dict[str, object]
    """All settings."""
    listed: int
    """Files that SOURCE names; ``used + without_clips + left_out + failed``, always."""
    used: int
    without_clips: int
    left_out: int
    """Not read, because no licence is stated that allows training."""
    failed: int
    clips: dict[str, int]
    """By kind, held-out ones included."""
    held_out_clips: int
    frames: int
    rejected: dict[str, int]
    """Candidates not taken, by reason."""
    licences: dict[str, int]
    """Clips by the licence stated for their source."""
    sources: tuple[ShardFacts, ...]
    """In the order of the listing."""
    faults: tuple[FailedSource, ...]


class ShardClips(Sequence[Clip]):
    """Clips of a dataset, read when asked for; the latest are kept while they fit a bound.

    Pickled without what is kept, so that worker processes get a list of places and no pixels.
    """

    def __init__(
        self, places: Sequence[tuple[str, int]], *, is_still: bool, cache_bytes: int = CACHE_BYTES
    ) -> None:
        """Read nothing yet.

        Args:
            places: Shard URI and row group of each clip.
            is_still: Give ``[H, W, 3]`` instead of ``[1, H, W, 3]``.
            cache_bytes: Bytes of pixels to keep.
        """
        self._places = tuple(places)
        self._is_still = is_still
        self._cache_bytes = cache_bytes
        self._held_bytes = 0
        self._cache: OrderedDict[int, Clip] = OrderedDict()

    def __reduce__(self) -> tuple[object, ...]:
        return _clips_at, (self._places, self._is_still, self._cache_bytes)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> "ShardClips": ...
    def __getitem__(self, index: int | slice) -> "Clip | ShardClips":
        """Return a clip, read only.

        Raises:
            StorageError: its shard is gone or corrupt.
        """
        if isinstance(index, slice):
            return _clips_at(self._places[index], self._is_still, self._cache_bytes)
        number = range(len(self))[index]
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        frames_thwc = read_clip(*self._places[number]).frames_thwc
        clip = frames_thwc[0] if self._is_still else frames_thwc
        self._cache[number] = clip
        self._held_bytes += clip.nbytes
        while self._held_bytes > self._cache_bytes:
            self._held_bytes -= self._cache.popitem(last=False)[1].nbytes
        return clip


def _clips_at(places: Sequence[tuple[str, int]], is_still: bool, cache_bytes: int) -> ShardClips:
    return ShardClips(places, is_still=is_still, cache_bytes=cache_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset that ``vgen dataset`` finished."""

    uri: str
    summary: Summary

    def clips(self, kind: Kind, *, held_out: bool = False) -> ShardClips:
        """Return the clips of one kind on one side of the split; nothing is read yet."""
        places = [
            (shard_uri(self.uri, facts.shard), row_group)
            for facts in self.summary.sources
            if facts.kind == kind and facts.is_held_out == held_out
            for row_group in range(facts.clips)
        ]
        return ShardClips(places, is_still=kind == "still")

    def shortest_run(self) -> int | None:
        """Return the frames of the shortest clip of a video to learn from; None without any.

        Clips of one source are of one length.
        """
        runs = (one for one in self.summary.sources if one.kind == "video" and one.clips)
        return min((one.frames // one.clips for one in runs if not one.is_held_out), default=None)

    def licences(self, *, held_out: bool = False) -> tuple[str, ...]:
        """Return what is stated about the sources of one side, sorted, without repetition."""
        chosen = (one for one in self.summary.sources if one.clips and one.is_held_out == held_out)
        return tuple(sorted({one.licence for one in chosen}))


def is_dataset(uri: str) -> bool:
    """Whether ``uri`` is a folder or prefix with a dataset's summary in it."""
    return storage.exists(storage.join(uri, SUMMARY_NAME))


def open_dataset(uri: str) -> Dataset:
    """Read the summary of a dataset; shards are read when their clips are asked for.

    Raises:
        ConfigError: the summary is none of this version.
        StorageError: it is not there or cannot be read.
    """
    place = storage.join(uri, SUMMARY_NAME)
    content = storage.read_bytes(place, 0, MAX_SUMMARY_BYTES)
    try:
        summary = Summary.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "document"
        raise ConfigError(f"{place!r} describes no dataset: {where}: {fault['msg']}") from error
    return Dataset(uri=uri, summary=summary)


def write_summary(uri: str, summary: Summary) -> str:
    """Commit a dataset whose shards are there; return where its summary lies."""
    place = storage.join(uri, SUMMARY_NAME)
    storage.write_bytes(place, summary.model_dump_json(indent=1).encode())
    return place
