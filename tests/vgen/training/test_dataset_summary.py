import pickle

import numpy as np
import pytest

from vgen.errors import ConfigError, MissingError, StorageError
from vgen.training.clips import check_material, draw_clip, load_material
from vgen.training.dataset import (
    ShardClips,
    Summary,
    is_dataset,
    open_dataset,
    write_summary,
)
from vgen.training.shards import CleanClip, ShardFacts, shard_uri, write_shard


def numbered(number, frames):
    return np.full((frames, 40, 48, 3), number, np.uint8)


def source(folder, number, *, kind, clips, held_out, licence="CC0"):
    facts = ShardFacts(
        source_uri=f"/a/{number}",
        source_etag="1",
        source_sha256="ab",
        kind=kind,
        licence=licence,
        is_held_out=held_out,
        shard=f"{number}.parquet",
    )
    frames = 1 if kind == "still" else 5
    made = (CleanClip(frames_thwc=numbered(10 * number + n, frames)) for n in range(clips))
    (folder / "shards").mkdir(exist_ok=True)
    return write_shard(folder / "shards" / facts.shard, facts, made, {})


def committed(folder, sources):
    summary = Summary(
        seed=0, recipe={}, listed=len(sources), used=len(sources), without_clips=0, left_out=0,
        failed=0, clips={}, held_out_clips=0, frames=0, rejected={}, licences={},
        sources=tuple(sources), faults=(),
    )  # fmt: skip
    return write_summary(str(folder), summary)


@pytest.fixture
def place(tmp_path):
    committed(
        tmp_path,
        [
            source(tmp_path, 1, kind="still", clips=1, held_out=False, licence="MIT"),
            source(tmp_path, 2, kind="video", clips=3, held_out=False),
            source(tmp_path, 3, kind="still", clips=1, held_out=True, licence="BSD"),
            source(tmp_path, 4, kind="video", clips=2, held_out=True),
            source(tmp_path, 5, kind="video", clips=0, held_out=False, licence="none"),
        ],
    )
    source(tmp_path, 6, kind="still", clips=1, held_out=False)  # of an interrupted run
    return tmp_path


def levels(clips):
    return [int(clip.flat[0]) for clip in clips]


def test_each_kind_and_side_gives_its_own_clips_in_order(place):
    dataset = open_dataset(str(place))
    assert levels(dataset.clips("still")) == [10]
    assert levels(dataset.clips("video")) == [20, 21, 22]
    assert levels(dataset.clips("still", held_out=True)) == [30]
    assert levels(dataset.clips("video", held_out=True)) == [40, 41]
    assert dataset.clips("still")[0].shape == (40, 48, 3)
    assert dataset.clips("video")[0].shape == (5, 40, 48, 3)


def test_licences_are_those_of_clips_that_are_used(place):
    dataset = open_dataset(str(place))
    assert dataset.licences() == ("CC0", "MIT")
    assert dataset.licences(held_out=True) == ("BSD", "CC0")


def test_training_gets_what_is_not_held_out(place):
    material = load_material(place)
    assert levels(material.stills) == [10]
    assert levels(material.runs) == [20, 21, 22]
    assert material.licences == ("CC0", "MIT")
    clip = draw_clip(material, frames=5, side=32, rng=np.random.default_rng(0))
    assert clip.shape == (5, 32, 32, 3)


def test_clips_too_short_for_an_example_are_refused(place):
    check_material(str(place), frames=5)
    load_material(place, frames=5)
    for refuses in (check_material, load_material):
        with pytest.raises(ConfigError, match="clips of 5 frames, and examples need 6; lower pool"):
            refuses(str(place), frames=6)


def test_stills_and_held_out_clips_may_be_shorter_than_an_example(tmp_path):
    one = source(tmp_path, 1, kind="still", clips=1, held_out=False)
    committed(tmp_path, [one, source(tmp_path, 2, kind="video", clips=1, held_out=True)])
    check_material(str(tmp_path), frames=50)


def test_a_bucket_serves_like_a_folder(place, s3):
    from vgen import storage

    for path in place.rglob("*"):
        if path.is_file():
            uri = storage.join(f"{s3.bucket}/set", str(path.relative_to(place)))
            storage.write_bytes(uri, path.read_bytes())
    assert levels(load_material(f"{s3.bucket}/set").runs) == [20, 21, 22]


def test_nothing_is_read_before_it_is_asked_for(place):
    clips = open_dataset(str(place)).clips("video")
    (place / "shards" / "2.parquet").unlink()
    assert len(clips) == 3
    with pytest.raises(MissingError, match=r"2\.parquet"):
        clips[0]


def test_a_corrupt_shard_is_named_when_its_clip_is_drawn(place):
    (place / "shards" / "2.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(StorageError, match=r"2\.parquet' is corrupt"):
        load_material(place).runs[0]


def test_the_latest_clips_are_kept_within_the_bound(place):
    dataset = open_dataset(str(place))
    places = [(shard_uri(dataset.uri, "2.parquet"), number) for number in range(3)]
    clips = ShardClips(places, is_still=False, cache_bytes=2 * numbered(0, 5).nbytes)
    assert levels(clips) == [20, 21, 22]
    (place / "shards" / "2.parquet").unlink()
    assert (int(clips[1].flat[0]), int(clips[-1].flat[0])) == (21, 22)
    with pytest.raises(MissingError):
        clips[0]


def test_clips_are_read_only(place):
    with pytest.raises(ValueError, match="read-only"):
        load_material(place).stills[0][0] = 0


def test_a_pickle_holds_places_and_no_pixels(place):
    clips = load_material(place).runs
    assert levels(clips) == [20, 21, 22]
    pickled = pickle.dumps(clips)
    assert len(pickled) < 1000
    assert levels(pickle.loads(pickled)) == [20, 21, 22]  # noqa: S301 - made one line above


def test_slices_and_bounds_are_those_of_a_list(place):
    clips = load_material(place).runs
    assert levels(clips[1:]) == [21, 22]
    assert levels(clips[::-2]) == [22, 20]
    with pytest.raises(IndexError):
        clips[3]


def test_a_folder_without_a_summary_is_no_dataset(tmp_path):
    assert not is_dataset(str(tmp_path))
    with pytest.raises(MissingError):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("content", ["{", "{}", '{"format_version": 2}'])
def test_a_summary_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(ConfigError, match=r"dataset\.json' describes no dataset"):
        open_dataset(str(tmp_path))


def test_a_shard_named_outside_the_dataset_is_refused(tmp_path):
    facts = source(tmp_path, 1, kind="still", clips=1, held_out=False)
    committed(tmp_path, [facts.model_copy(update={"shard": "../1.parquet"})])
    with pytest.raises(ConfigError, match="describes no dataset"):
        open_dataset(str(tmp_path))


def test_a_dataset_that_is_all_held_out_cannot_be_trained_on(tmp_path):
    committed(tmp_path, [source(tmp_path, 1, kind="still", clips=1, held_out=True)])
    with pytest.raises(ConfigError, match="nothing to train on: all of it is held out"):
        load_material(tmp_path)
