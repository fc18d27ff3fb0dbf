"""The contract of ``vgen dataset``: shards, summary, reruns, refusals."""

import json
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import dataset_source
from pipelines.cluster import Cluster, Node
from pipelines.dataset import Request, build, gathered_rows, prepare
from pipelines.dataset_source import DatasetContext, SourceJob, gather_row
from tests.media_factory import Media
from tests.pipelines.archive import files_of
from tests.pipelines.processes import RAY_MARKS, Ran
from tests.pipelines.workers import gather_fatally
from vgen import storage
from vgen.records import Fault, VideoRef
from vgen.training.clips import load_material
from vgen.training.dataset import Summary
from vgen.training.selection import DatasetSettings, FitnessLimits

pytestmark = RAY_MARKS

FLAGS = (
    "--frames", "5", "--clips-per-video", "2", "--min-side-px", "32", "--fitness.max-blur", "1",
    "--fitness.max-blockiness", "1000", "--json",
)  # fmt: skip
SETTINGS = DatasetSettings(
    frames=5,
    clips_per_video=2,
    min_side_px=32,
    fitness=FitnessLimits(max_blur=1, max_blockiness=1000),
)
VIDEOS = {"deep/a.mp4": "faststart_mp4", "b.avi": "mpeg4_avi"}
BAD = {"text.mp4": "not a video", "torn.png": "not a picture that can be read whole"}


def picture(seed):
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    return cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)


def fill(folder: Path, media: Media, *, with_bad: bool = True) -> None:
    """Videos, stills (one held out, one dark), a manifest, and files that are neither."""
    (folder / "deep").mkdir(parents=True)
    for name, clip in VIDEOS.items():
        shutil.copyfile(media[clip], folder / name)
    for name, content in {
        "x1.jpg": picture(1),
        "x10.jpg": picture(2),
        "d.png": picture(3) // 20,
    }.items():
        cv2.imwrite(str(folder / name), content)
    (folder / "MANIFEST.csv").write_text("name,licence\nx1.jpg,CC0\nb.avi,MIT\n")
    (folder / "notes.txt").write_text("no picture")
    if with_bad:
        (folder / "text.mp4").write_text("not a video\n" * 50)
        (folder / "torn.png").write_bytes((folder / "d.png").read_bytes()[:60])


@pytest.fixture(scope="module")
def archive(media, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "in"
    fill(folder, media)
    return folder


@pytest.fixture(scope="module")
def made(archive, vgen, tmp_path_factory) -> tuple[Ran, Path]:
    destination = tmp_path_factory.mktemp("made") / "out"
    before = files_of(archive)
    ran = vgen("dataset", archive, destination, *FLAGS)
    assert files_of(archive) == before
    return ran, destination


def summary_of(ran: Ran) -> Summary:
    return Summary.model_validate_json(ran.stdout)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in files_of(folder).items()}


def test_counts_add_up_and_bad_files_fail_alone(made):
    ran, _ = made
    summary = summary_of(ran)
    assert ran.status == 1
    assert summary.listed == 7
    assert (summary.used, summary.without_clips, summary.left_out, summary.failed) == (4, 1, 0, 2)
    assert summary.clips == {"still": 2, "video": 4}
    assert summary.rejected == {"dark": 1}
    assert summary.licences == {"": 3, "CC0": 1, "MIT": 2}
    assert summary.held_out_clips == 1
    assert summary.frames == 2 + 4 * 5
    told = {Path(one.source_uri).name: one.error.message for one in summary.faults}
    assert told.keys() == BAD.keys()
    assert all(BAD[name] in message for name, message in told.items())
    assert all(f"failed in decode: {message}" in ran.stderr for message in told.values())
    assert "Traceback" not in ran.stderr


def test_the_document_is_the_file_and_names_every_shard(made):
    ran, destination = made
    assert json.loads(ran.stdout) == json.loads((destination / "dataset.json").read_bytes())
    named = {facts.shard for facts in summary_of(ran).sources}
    assert {path.name for path in destination.rglob("*") if path.is_file()} == named | {
        "dataset.json"
    }


def test_a_row_says_where_its_clip_comes_from(made, archive):
    ran, destination = made
    [facts] = [one for one in summary_of(ran).sources if one.source_uri.endswith("b.avi")]
    rows = pq.ParquetFile(destination / "shards" / facts.shard).read().to_pylist()
    assert len(rows) == 2
    for row in rows:
        assert row["source_uri"] == str(archive / "b.avi")
        assert (row["licence"], row["kind"], row["is_held_out"]) == ("MIT", "video", False)
        assert len(row["pts"]) == row["frames"] == 5
        assert (row["height"], row["width"]) == (48, 64)


def test_training_reads_what_was_made(made):
    _, destination = made
    material = load_material(destination)
    assert (len(material.stills), len(material.runs)) == (1, 4)
    assert material.licences == ("", "CC0", "MIT")


def test_a_rerun_reads_only_what_failed_and_changes_nothing(made, archive, vgen):
    ran, destination = made
    before = files_of(destination)
    again = vgen("dataset", archive, destination, *FLAGS)
    assert again.status == 1
    assert "0 shards made, 5 there already" in again.stderr
    assert again.stdout == ran.stdout
    after = files_of(destination)
    assert {name for name in after if after[name][0] != before[name][0]} == {"dataset.json"}
    assert contents(destination)["dataset.json"] == before["dataset.json"][1]


def test_a_corrupt_or_lost_shard_is_made_again(made, archive, vgen, tmp_path):
    _ran, destination = made
    copy = tmp_path / "copy"
    shutil.copytree(destination, copy)
    first, second = sorted((copy / "shards").iterdir())[:2]
    first.write_bytes(first.read_bytes()[:100])
    second.unlink()
    again = vgen("dataset", archive, copy, *FLAGS)
    assert "2 shards made, 3 there already" in again.stderr
    assert contents(copy) == contents(destination)


def test_one_worker_makes_the_bytes_of_four(made, archive, embedded_ray, tmp_path):
    _ran, destination = made
    request = Request(source=str(archive), destination=str(tmp_path / "one"), settings=SETTINGS)
    prepared = prepare(request)
    context = DatasetContext(destination=prepared.destination, settings=SETTINGS, run_id="r")
    alone = Cluster(nodes=(Node(cpus=1),), is_embedded=True, memory_bytes=0)
    rows = list(gathered_rows(prepared.jobs, context, alone, gather_row))
    assert Counter(bool(row["fault"]) for row in rows) == {False: 5, True: 2}
    assert contents(tmp_path / "one" / "shards") == contents(destination / "shards")


def test_a_source_that_kills_its_worker_is_quarantined(archive, embedded_ray, tmp_path):
    request = Request(
        source=str(archive / "deep"), destination=str(tmp_path / "out"), settings=SETTINGS
    )
    prepared = prepare(request)
    context = DatasetContext(destination=prepared.destination, settings=SETTINGS, run_id="r")
    [row] = gathered_rows(prepared.jobs, context, embedded_ray, gather_fatally)
    fault = Fault.model_validate_json(row["fault"])
    assert "quarantined: its worker process died 3 times" in fault.message
    assert list(tmp_path.rglob("*attempt*")) == []


def test_a_mistake_in_the_code_costs_one_source(monkeypatch, tmp_path):
    def mistaken(*_):
        raise AttributeError("'Frame' object has no attribute 'rate'")

    monkeypatch.setattr(dataset_source, "gather_shard", mistaken)
    ref = VideoRef(uri="/a/odd.mov", relative_path="odd.mov", etag="1", size_bytes=1)
    job = SourceJob(ref=ref, licence="", shard="odd.parquet")
    context = DatasetContext(destination=str(tmp_path), settings=DatasetSettings(), run_id="run")
    fault = Fault.model_validate_json(gather_row({"job": job.model_dump_json()}, context)["fault"])
    assert fault.kind == "UnforeseenError"
    assert "AttributeError: 'Frame' object has no attribute 'rate'" in fault.message


def test_an_interrupted_run_leaves_shards_and_no_dataset(archive, embedded_ray, tmp_path):
    destination = tmp_path / "out"
    prepared = prepare(
        Request(source=str(archive), destination=str(destination), settings=SETTINGS)
    )
    context = DatasetContext(destination=prepared.destination, settings=SETTINGS, run_id="r")
    some = [job for job in prepared.jobs if job.ref.relative_path.endswith(".jpg")]
    list(gathered_rows(some, context, embedded_ray, gather_row))
    assert not (destination / "dataset.json").exists()
    broken = destination / "shards" / some[0].shard
    broken.write_bytes(broken.read_bytes()[:100])
    said = []
    built = build(prepared, say=said.append)
    assert said[0].startswith(f"made again: the shard {str(broken)!r} is corrupt")
    assert said[1] == "6 sources to read, 1 already done"
    assert (built.num_made, built.num_reused) == (4, 1)
    assert len(load_material(destination).runs) == 4


def test_a_bucket_gives_the_clips_of_a_folder(media, s3, vgen, tmp_path):
    fill(tmp_path / "in", media, with_bad=False)
    home = f"{s3.bucket}/clips"
    for path in (tmp_path / "in").rglob("*"):
        if path.is_file():
            place = storage.join(f"{home}/in", *path.relative_to(tmp_path / "in").parts)
            storage.publish(path, place, remove_source=False)
    ran = vgen("dataset", f"{home}/in", f"{home}/out", *FLAGS)
    assert ran.status == 0, ran.stderr
    local = vgen("dataset", tmp_path / "in", tmp_path / "out", *FLAGS)
    there, here = load_material(f"{home}/out"), load_material(tmp_path / "out")
    assert there.licences == here.licences == ("", "CC0", "MIT")
    for remote, own in ((there.stills, here.stills), (there.runs, here.runs)):
        assert len(remote) == len(own) > 0
        assert all(np.array_equal(a, b) for a, b in zip(remote, own, strict=True))
    keys = ("source_sha256", "clips", "rejected", "is_held_out")
    told = [
        sorted(str([getattr(one, key) for key in keys]) for one in summary_of(which).sources)
        for which in (ran, local)
    ]
    assert told[0] == told[1]


def test_without_a_licence_a_file_is_left_out_where_one_is_required(archive, vgen, tmp_path):
    ran = vgen("dataset", archive, tmp_path / "out", *FLAGS, "--require-licence")
    assert ran.status == 0, ran.stderr
    summary = summary_of(ran)
    assert (summary.listed, summary.used, summary.left_out) == (7, 2, 5)
    assert summary.licences == {"CC0": 1, "MIT": 2}
    assert "nothing is held out for evaluation" in ran.stderr


def test_a_glob_and_a_listing_name_stills_too(archive, vgen, tmp_path):
    (tmp_path / "wanted.txt").write_text(f"{archive}/x1.jpg\n")
    for source in (f"{archive}/x1.*", tmp_path / "wanted.txt"):
        ran = vgen("dataset", source, tmp_path / f"out{Path(source).suffix.strip('.*')}", *FLAGS)
        assert ran.status == 0, ran.stderr
        assert summary_of(ran).clips == {"still": 1}


@pytest.mark.parametrize(
    ("source", "destination", "flags", "says"),
    [
        ("in", "in/out", (), "lie within each other"),
        ("in/deep/..", "in", (), "lie within each other"),
        ("nowhere", "out", (), "nothing lies at"),
        ("empty", "out", (), "no video and no still picture lies at"),
        ("in/d.png", "out", (), "no clip of 1 files is fit (1 dark); no dataset was made"),
        ("in/torn.png", "out", (), "no clip of 1 files is fit (1 unreadable)"),
        ("in/x10.jpg", "out", ("--require-licence",), "no MANIFEST.csv states a licence"),
        ("in", "out", ("--crop-px", "3"), "greater than or equal to 16"),
        ("in", "out", ("--held-in", "x"), "--held-in"),
    ],
)
def test_refusals_are_one_sentence_and_status_2(
    archive, vgen, tmp_path, source, destination, flags, says
):
    home = tmp_path / "home"
    shutil.copytree(archive, home / "in")
    (home / "empty").mkdir()
    ran = vgen("dataset", home / source, home / destination, *FLAGS, *flags)
    assert ran.status == 2
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(home.rglob("dataset.json"))


def test_a_missing_bucket_is_refused(archive, vgen, s3):
    ran = vgen("dataset", archive, "s3://no-such-bucket/out", *FLAGS)
    assert ran.status == 2
    assert "create it, or check the name" in ran.stderr
