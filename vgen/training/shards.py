"""Parquet shards of clean clips, one a source.

A row is a clip, stored as bytes with all that is known of where it comes from, and a row group
holds one row, so that writing and reading hold one clip at a time. The same clips give the same
bytes.

Clips are uint8 RGB arrays ``[T, H, W, 3]``; a still has one frame.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from vgen import storage
from vgen.errors import StorageError
from vgen.records import Record
from vgen.training.codec import Clip

SHARDS_FOLDER = "shards"
MAX_CLIP_BYTES = 1 << 30
"""A row group that claims more was not written by vgen."""

Kind = Literal["still", "video"]

SCHEMA = pa.schema(
    [
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("source_sha256", pa.string(), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("is_held_out", pa.bool_(), nullable=False),
        # Number and PTS of each frame in the source; of stills 0 and none.
        pa.field("start", pa.int64(), nullable=False),
        pa.field("pts", pa.list_(pa.int64()), nullable=False),
        pa.field("time_base", pa.string()),
        pa.field("frames", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("pixels", pa.large_binary(), nullable=False),
    ]
)
_FACTS_KEY = b"vgen"


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanClip:
    """One clip and where in its source it lies."""

    frames_thwc: Clip
    start: int = 0
    """Number of its first frame in the source."""
    pts: tuple[int, ...] = ()
    """PTS of its frames, in ticks of ``time_base``; none of a still."""
    time_base: Fraction | None = None


class ShardFacts(Record):
    """One source and what became of it; stored in its shard and in the summary."""

    source_uri: str
    source_etag: str
    source_sha256: str
    """Hex digest of the source's bytes."""
    kind: Kind
    licence: str
    """As stated by a MANIFEST.csv; empty where none does."""
    is_held_out: bool
    """Kept for evaluation, by its name."""
    shard: Annotated[str, Field(pattern=r"^[0-9a-z]+\.parquet$")]
    """File name of the shard."""
    clips: Annotated[int, Field(ge=0)] = 0
    frames: int = 0
    rejected: dict[str, int] = {}
    """Candidates not taken, by reason."""


def write_shard(
    path: Path, facts: ShardFacts, clips: Iterable[CleanClip], rejected: Mapping[str, int]
) -> ShardFacts:
    """Write the clips of one source to a local file, holding one at a time.

    Args:
        path: The file.
        facts: What is known of the source beforehand.
        clips: Drawn once, in order.
        rejected: Counts by reason; looked at when the clips have been drawn.

    Returns:
        ``facts`` with the counts, as they stand in the file.
    """
    num_clips = num_frames = 0
    options = {"compression": "zstd", "use_dictionary": False}
    # Checksums of pages, because a flipped bit in pixels would show in nothing else.
    with pq.ParquetWriter(path, SCHEMA, write_page_checksum=True, **options) as writer:
        for clip in clips:
            writer.write_table(_row(facts, clip), row_group_size=1)
            num_clips, num_frames = num_clips + 1, num_frames + len(clip.frames_thwc)
        counts = {
            "clips": num_clips,
            "frames": num_frames,
            "rejected": dict(sorted(rejected.items())),
        }
        facts = facts.model_copy(update=counts)
        writer.add_key_value_metadata({_FACTS_KEY.decode(): facts.model_dump_json()})
    return facts


def _row(facts: ShardFacts, clip: CleanClip) -> pa.Table:
    frames, height, width = clip.frames_thwc.shape[:3]
    row = {
        "source_uri": facts.source_uri,
        "source_sha256": facts.source_sha256,
        "licence": facts.licence,
        "kind": facts.kind,
        "is_held_out": facts.is_held_out,
        "start": clip.start,
        "pts": list(clip.pts),
        "time_base": None if clip.time_base is None else str(clip.time_base),
        "frames": frames,
        "height": height,
        "width": width,
        "pixels": np.ascontiguousarray(clip.frames_thwc).tobytes(),
    }
    return pa.Table.from_pylist([row], schema=SCHEMA)


def read_facts(uri: str) -> ShardFacts:
    """Read what a shard says of its source.

    Raises:
        StorageError: it is no shard, or cannot be read.
    """
    try:
        with storage.open_read(uri) as stream:
            held = pq.ParquetFile(stream).metadata.metadata or {}
        return ShardFacts.model_validate_json(held.get(_FACTS_KEY, b""))
    except (pa.ArrowException, OSError, ValidationError) as error:
        raise StorageError(_broken(uri, error)) from error


def read_clip(uri: str, row_group: int) -> CleanClip:
    """Read one clip of a shard.

    Raises:
        StorageError: the shard is gone or corrupt.
    """
    try:
        with storage.open_read(uri) as stream:
            shard = pq.ParquetFile(stream, page_checksum_verification=True)
            if not 0 <= row_group < shard.metadata.num_row_groups:
                raise StorageError(_broken(uri, f"it has no clip {row_group}"))
            claimed_bytes = shard.metadata.row_group(row_group).total_byte_size
            if claimed_bytes > MAX_CLIP_BYTES:
                raise StorageError(_broken(uri, f"a clip of {claimed_bytes} bytes"))
            row = shard.read_row_group(row_group, use_threads=False).cast(SCHEMA).to_pylist()[0]
        shape = (row["frames"], row["height"], row["width"], 3)
        return CleanClip(
            frames_thwc=np.frombuffer(row["pixels"], np.uint8).reshape(shape),
            start=row["start"],
            pts=tuple(row["pts"]),
            time_base=None if row["time_base"] is None else Fraction(row["time_base"]),
        )
    except (pa.ArrowException, OSError, IndexError, ValueError) as error:
        raise StorageError(_broken(uri, error)) from error


def _broken(uri: str, why: object) -> str:
    reason = " ".join(str(why).split()) or type(why).__name__
    return f"the shard {uri!r} is corrupt ({reason}); delete it and run vgen dataset again"


def shard_uri(dataset_uri: str, shard: str) -> str:
    """Return where the shard of that file name lies."""
    return storage.join(shards_prefix(dataset_uri), shard)


def shards_prefix(dataset_uri: str) -> str:
    """Return the prefix of all shards of a dataset."""
    return storage.join(dataset_uri, SHARDS_FOLDER)
