import os

import cv2
import numpy as np
import pytest

from tests.vgen.training.materials import texture, write_still, write_video
from vgen import storage
from vgen.errors import ConfigError
from vgen.training.dataset import Summary
from vgen.training.scores import EvaluationSettings
from vgen.training.shards import CleanClip, ShardFacts, shard_uri, write_shard
from vgen.training.subjects import FRAMES, generator_for, load_subjects


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number in range(4):
        write_still(folder / f"still_{number}.png", number)
    write_video(folder / "pan.mp4", 7)
    write_video(folder / "short.mp4", 8, frames=3)
    (folder / "MANIFEST.csv").write_text("name,licence\n")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8 not a picture")
    (folder / "noise.bin").write_bytes(b"neither")
    cv2.imwrite(str(folder / "dark.png"), np.zeros((80, 96, 3), np.uint8))
    return folder


def drawn(uri, **chosen):
    left_out = []
    found = list(load_subjects(str(uri), EvaluationSettings(**chosen), left_out))
    return found, {group.reason: group.names for group in left_out}


def test_stills_come_first_then_videos_and_the_rest_is_named(folder):
    found, left_out = drawn(folder)
    assert [(one.kind, one.name) for one in found] == [
        *(("still", f"still_{number}.png") for number in range(4)),
        ("video", "pan.mp4"),
    ]
    assert left_out.pop("dark") == ("dark.png",)
    assert left_out.pop("too short") == ("short.mp4",)
    assert sorted(name for names in left_out.values() for name in names) == [
        "noise.bin",
        "torn.jpg",
    ]


def test_what_vgen_keeps_beside_its_outputs_is_not_scored(tmp_path):
    write_still(tmp_path / "good.png", 0)
    (tmp_path / "_vgen" / "runs").mkdir(parents=True)
    write_still(tmp_path / "_vgen" / "runs" / "before.png", 1)
    found, left_out = drawn(tmp_path)
    assert ([one.name for one in found], left_out) == (["good.png"], {})


def test_a_name_that_is_not_utf8_is_left_out_by_name(tmp_path):
    write_still(tmp_path / "good.png", 0)
    (tmp_path / os.fsdecode(b"latin\xe9.png")).write_bytes((tmp_path / "good.png").read_bytes())
    found, left_out = drawn(tmp_path)
    assert [one.name for one in found] == ["good.png"]
    assert left_out == {"whose names are not UTF-8": ("latin\\udce9.png",)}


def test_subjects_have_sides_and_frames_that_codecs_take(folder):
    found, _ = drawn(folder)
    still, video = found[0], found[-1]
    assert still.clip_thwc.shape == (FRAMES, 80, 80, 3)
    assert np.array_equal(still.still_hwc, texture(0))
    assert video.clip_thwc.shape == (FRAMES, 80, 96, 3)
    assert video.still_hwc is None


def test_the_seed_and_the_name_decide_what_is_shown(folder):
    first, again, other = (drawn(folder, seed=seed)[0] for seed in (0, 0, 1))
    alike = [np.array_equal(a.clip_thwc, b.clip_thwc) for a, b in zip(first, again, strict=True)]
    assert all(alike)
    unlike = [np.array_equal(a.clip_thwc, b.clip_thwc) for a, b in zip(first, other, strict=True)]
    assert not all(unlike)
    alone, _ = drawn(folder, only=("still_2.png",))
    assert np.array_equal(alone[0].clip_thwc, first[2].clip_thwc)
    assert generator_for(0, "a", "b").random() != generator_for(0, "ab", "").random()


def test_a_limit_spreads_over_what_is_there_and_names_the_rest(folder):
    found, left_out = drawn(folder, limit=2, only=("still_*",))
    assert [one.name for one in found] == ["still_0.png", "still_2.png"]
    assert left_out == {"beyond the limit of 2 of a kind": ("still_1.png", "still_3.png")}


def test_one_file_is_enough(folder):
    found, left_out = drawn(folder / "pan.mp4")
    assert [one.name for one in found] == ["pan.mp4"]
    assert left_out == {}


def test_objects_of_a_store_are_scored_as_files_are(folder):
    for name in ("pan.mp4", "still_1.png"):
        content = (folder / name).read_bytes()
        storage.write_bytes(f"memory://evaluate/{name}", content)
    found, left_out = drawn("memory://evaluate")
    local, _ = drawn(folder, only=("pan.mp4", "still_1.png"))
    assert left_out == {}
    for ours, theirs in zip(found, local, strict=True):
        assert ours.name == theirs.name
        assert np.array_equal(ours.clip_thwc, theirs.clip_thwc)


def test_nothing_to_score_is_said_with_the_reasons(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"nothing to score in .*: 1 dark"):
        drawn(folder, only=("dark.png",))
    with pytest.raises(ConfigError, match=r"nothing to score in '[^']*'$"):
        drawn(folder, only=("no such",))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"nothing to score in '[^']*empty'$"):
        drawn(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"nothing lies at .*; name a dataset, a folder or a"):
        drawn(tmp_path / "gone")


def facts(name, kind, is_held_out):
    return ShardFacts(
        source_uri=f"/source/{name}",
        source_etag="1",
        source_sha256="0" * 64,
        kind=kind,
        licence="CC0",
        is_held_out=is_held_out,
        shard=f"{name}.parquet",
    )


def test_of_a_dataset_the_held_out_clips_are_scored(tmp_path):
    still, video = texture(1), np.stack([texture(2)] * 5)
    written = []
    for name, kind, is_held_out, clips in (
        ("kept", "still", True, [still[None]]),
        ("learned", "still", False, [texture(3)[None]]),
        ("film", "video", True, [video, video[:, :70]]),
    ):
        path = tmp_path / f"{name}.parquet"
        clean = [CleanClip(frames_thwc=clip) for clip in clips]
        stated = write_shard(path, facts(name, kind, is_held_out), clean, {})
        storage.publish(path, shard_uri(str(tmp_path), stated.shard))
        written.append(stated)
    summary = Summary(
        seed=0, recipe={}, listed=3, used=3, without_clips=0, left_out=0, failed=0,
        clips={"still": 2, "video": 2}, held_out_clips=3, frames=12, rejected={},
        licences={"CC0": 4}, sources=tuple(written), faults=(),
    )  # fmt: skip
    (tmp_path / "dataset.json").write_text(summary.model_dump_json())
    found, left_out = drawn(tmp_path)
    assert [(one.kind, one.name) for one in found] == [
        ("still", "kept#0"),
        ("video", "film#0"),
        ("video", "film#1"),
    ]
    assert np.array_equal(found[0].still_hwc, still)
    assert np.array_equal(found[1].clip_thwc, video)
    assert found[2].clip_thwc.shape == (5, 64, 96, 3)
    assert left_out == {}
    found, left_out = drawn(tmp_path, limit=1)
    assert [one.name for one in found] == ["kept#0", "film#0"]
    assert left_out == {"beyond the limit of 1 of a kind": ("film#1",)}
