from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vgen.errors import StorageError
from vgen.training import shards
from vgen.training.shards import SCHEMA, CleanClip, ShardFacts, read_clip, read_facts, write_shard

FACTS = ShardFacts(
    source_uri="/a/b.mp4",
    source_etag="1",
    source_sha256="ab",
    kind="video",
    licence="CC0",
    is_held_out=False,
    shard="x.parquet",
)


def clips(count=3, frames=2, height=6, width=10):
    for number in range(count):
        rng = np.random.default_rng(number)
        yield CleanClip(
            frames_thwc=rng.integers(0, 256, (frames, height, width, 3)).astype(np.uint8),
            start=5 * number,
            pts=tuple(range(1000 * number, 1000 * number + frames)),
            time_base=Fraction(1001, 30000),
        )


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "x.parquet"
    write_shard(path, FACTS, clips(), {"static": 2, "dark": 1})
    return path


def test_clips_come_back_as_they_went(shard):
    for number, clip in enumerate(clips()):
        back = read_clip(str(shard), number)
        assert np.array_equal(back.frames_thwc, clip.frames_thwc)
        assert (back.start, back.pts, back.time_base) == (clip.start, clip.pts, clip.time_base)


def test_a_still_has_no_times(tmp_path):
    path = tmp_path / "s.parquet"
    still = CleanClip(frames_thwc=np.zeros((1, 4, 4, 3), np.uint8))
    write_shard(path, FACTS.model_copy(update={"kind": "still"}), [still], {})
    back = read_clip(str(path), 0)
    assert (back.start, back.pts, back.time_base) == (0, (), None)


def test_a_row_group_holds_one_clip_and_its_provenance(shard):
    held = pq.ParquetFile(shard)
    assert held.metadata.num_row_groups == held.metadata.num_rows == 3
    row = held.read_row_group(1).to_pylist()[0]
    assert (row["source_uri"], row["source_sha256"], row["licence"]) == ("/a/b.mp4", "ab", "CC0")
    assert (row["kind"], row["is_held_out"], row["start"]) == ("video", False, 5)


def test_facts_carry_the_counts(shard):
    facts = read_facts(str(shard))
    assert (facts.clips, facts.frames) == (3, 6)
    assert facts.rejected == {"dark": 1, "static": 2}
    same = {"clips", "frames", "rejected"}
    assert facts.model_dump(exclude=same) == FACTS.model_dump(exclude=same)


def test_a_source_without_clips_has_a_shard_that_says_so(tmp_path):
    path = tmp_path / "none.parquet"
    assert write_shard(path, FACTS, [], {"dark": 3}).clips == 0
    assert read_facts(str(path)).rejected == {"dark": 3}


def test_the_same_clips_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_shard(tmp_path / name, FACTS, clips(), {"static": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_clips_are_drawn_one_at_a_time(tmp_path):
    written = []

    def watched():
        for clip in clips():
            written.append((tmp_path / "w.parquet").stat().st_size)
            yield clip

    write_shard(tmp_path / "w.parquet", FACTS, watched(), {})
    assert written == sorted(set(written))


def flipped(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize(
    "ruin",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("no shard"),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.unlink(),
        lambda path: pq.write_table(pa.table({"other": [1, 2, 3]}), path),
    ],
    ids=["empty", "text", "cut off", "gone", "other table"],
)
def test_a_corrupt_shard_is_told_in_one_sentence_with_the_remedy(shard, ruin):
    ruin(shard)
    with pytest.raises(StorageError, match=r"x\.parquet'") as caught:
        read_clip(str(shard), 0)
    assert "\n" not in str(caught.value)


def test_a_bit_flipped_among_the_pixels_is_seen(shard):
    group = pq.ParquetFile(shard).metadata.row_group(2)
    pixels = group.column(SCHEMA.names.index("pixels"))
    assert pixels.total_compressed_size > 300
    flipped(shard, pixels.data_page_offset + pixels.total_compressed_size - 100)
    with pytest.raises(StorageError, match=r"is corrupt .* vgen dataset again"):
        read_clip(str(shard), 2)
    assert read_clip(str(shard), 1).pts == (1000, 1001)


def test_a_clip_whose_size_is_not_its_pixels_is_refused(shard, tmp_path):
    table = pq.ParquetFile(shard).read_row_group(0)
    longer = table.set_column(
        SCHEMA.names.index("frames"), SCHEMA.field("frames"), pa.array([9], pa.int32())
    )
    pq.write_table(longer, tmp_path / "lies.parquet")
    with pytest.raises(StorageError, match=r"lies\.parquet' is corrupt"):
        read_clip(str(tmp_path / "lies.parquet"), 0)


def test_a_clip_of_absurd_size_is_refused_before_it_is_read(shard, monkeypatch):
    monkeypatch.setattr(shards, "MAX_CLIP_BYTES", 300)
    with pytest.raises(StorageError, match=r"a clip of \d+ bytes"):
        read_clip(str(shard), 0)


@pytest.mark.parametrize("row_group", [3, -1])
def test_a_clip_that_is_not_there_is_refused(shard, row_group):
    with pytest.raises(StorageError, match="is corrupt"):
        read_clip(str(shard), row_group)


def test_a_parquet_file_of_others_is_no_shard(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(StorageError, match=r"other\.parquet' is corrupt"):
        read_facts(str(tmp_path / "other.parquet"))
