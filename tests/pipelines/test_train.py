"""Training on Ray: what a run leaves, what it survives, and what it refuses."""

import json
import math
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch

from pipelines.cluster import Cluster, Node
from pipelines.train import TrainRequest, choose_crew, prepare_training, releases_of
from pipelines.train_report import draw_panels, write_page
from tests.media_factory import run_ffmpeg
from tests.pipelines.processes import PATIENCE_S, RAY_MARKS, Started, Vgen, started, wait_until
from vgen import storage
from vgen.errors import ConfigError, ReleaseError
from vgen.models.release import load_network, read_header
from vgen.training.checkpoint_files import list_checkpoints
from vgen.training.dataset import Summary, write_summary
from vgen.training.journal import read_curves
from vgen.training.settings import TrainSettings
from vgen.training.shards import ShardFacts

pytestmark = RAY_MARKS

RECIPE = """
name = "trial"
batch = 2
patch_px = 16
warmup_steps = 2
validation_clips = 1
checkpoint_every_s = 0.5
[pool]
size = 4
frames = 5
side_px = 32
[adversarial]
share = 0.5
channels = 4
warmup_steps = 1
"""


def one(processes: int = 0) -> tuple[str, ...]:
    return ("--workers", "1", "--processes", str(processes))


def two(processes: int = 0) -> tuple[str, ...]:
    return ("--workers", "2", "--processes", str(processes))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A plain folder of three stills and a clip, with a manifest."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "bsds400_jpg").mkdir()
    (folder / "clips").mkdir()
    rng = np.random.default_rng(0)
    for number in (1001, 1002, 1003):
        small = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        smooth = cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "bsds400_jpg" / f"test_{number}.jpg"), smooth)
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=0.5",
        "-c:v", "mpeg4", folder / "clips" / "intel_one.mkv",
    )  # fmt: skip
    (folder / "MANIFEST.csv").write_text("dir,licence\nx/bsds400_jpg,BSDS\nx/clips,CC0\n")
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def finished(vgen: Vgen, data, recipe, tmp_path_factory):
    """A run of two workers through both stages, and what it said."""
    run = tmp_path_factory.mktemp("finished") / "run"
    flags = ("--recipe", recipe, "--steps", "24", *two(), "--log-every-s", "0.1")
    ran = vgen("train", data, run, *flags, "--json")
    assert ran.status == 0, ran.stderr
    return run, ran


def test_two_workers_train_both_stages_and_leave_two_releases(finished):
    run, ran = finished
    made = json.loads(ran.stdout)
    names = ["trial.safetensors", "trial-perceptual.safetensors"]
    assert made["release_uris"] == [str(run / name) for name in names]
    stages = [read_header(run / name).provenance["stage"] for name in names]
    assert stages == ["window", "adversarial"]


def test_curves_and_a_page_are_left(finished):
    run, _ = finished
    rows = read_curves(str(run))
    assert {row["stage"] for row in rows} >= {"window", "adversarial"}
    assert rows[-1]["step"] == 24
    assert list((run / "events").iterdir())
    page = (run / "report.html").read_text()
    assert page.count("<polyline") >= 6
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_finished_run_is_done_when_asked_again(finished, vgen: Vgen, data, recipe, capfd):
    run, _ = finished
    before = (run / "trial-perceptual.safetensors").read_bytes()
    again = vgen("train", data, run, "--recipe", recipe, "--steps", "24", *one())
    assert again.status == 0, again.stderr
    assert "going on from step 24 with 1 workers" in capfd.readouterr().err
    assert (run / "trial-perceptual.safetensors").read_bytes() == before


def test_another_recipe_is_refused_and_changes_nothing(finished, vgen: Vgen, data, recipe):
    run, _ = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    ran = vgen("train", data, run, "--recipe", recipe, "--steps", "25", *one())
    assert ran.status == 2
    assert "was made with steps 24, not 25" in ran.stderr.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


STEPS = 120


@pytest.fixture(scope="module")
def uninterrupted(data, recipe, tmp_path_factory) -> Path:
    """What two processes make of the same recipe, without Ray and without a kill."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    command = [sys.executable, "-m", "tests.pipelines.two_trainers"]
    both = [
        subprocess.Popen([*command, str(rank), folder, recipe, data, str(STEPS)])
        for rank in range(2)
    ]
    assert [one.wait(timeout=PATIENCE_S) for one in both] == [0, 0]
    return folder / "run"


def train_workers(running: Started) -> list[psutil.Process]:
    """Return the processes that train for a command, oldest first."""
    found = []
    for one in psutil.process_iter():
        try:
            title = " ".join(one.cmdline())
            if "RayTrainWorker" in title and one.environ().get("RAY_TMPDIR") == running.folder:
                found.append(one)
        except psutil.Error:
            continue
    return sorted(found, key=lambda one: one.create_time())


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_killed_worker_and_then_a_killed_driver_cost_nothing_but_time(
    place, data, recipe, uninterrupted, vgen: Vgen, s3, tmp_path, capfd
):
    """The end is that of a run that nothing disturbed, bit for bit."""
    run = str(tmp_path / "run") if place == "folder" else f"{s3.bucket}/{tmp_path.name}/run"
    seen = tmp_path / "run" if place == "folder" else s3.root / "bucket" / tmp_path.name / "run"
    # With processes beside the workers in one case: they must not outlive their worker.
    processes = 1 if place == "folder" else 0
    flags = ("--recipe", recipe, "--steps", STEPS, *two(processes), "--log-every-s", "1")

    def reached() -> int:
        return max((int(one.name[5:13]) for one in seen.glob("checkpoints/step-*")), default=0)

    said: list[str] = []
    with started("pipelines.cli", "train", data, run, *flags, "--address", "local") as running:
        reader = threading.Thread(target=lambda: said.extend(running.process.stderr), daemon=True)
        reader.start()
        wait_until(lambda: reached() > 0, running)
        killed = train_workers(running)[-1]
        killed.kill()
        wait_until(lambda: any("going on from step" in line for line in said), running)
        again = reached()
        wait_until(lambda: reached() > again, running)
        running.process.kill()
        running.process.wait()
        reader.join()
        running.process.stdout.close()
        running.process.stderr.close()
        assert running.survivors() == []
    kept = reached()
    assert 0 < kept < STEPS
    ran = vgen("train", data, run, *flags)
    assert ran.status == 0, ran.stderr
    assert f"going on from step {kept} with 2 workers" in capfd.readouterr().err
    assert any("beginning with 2 workers on cpu" in line for line in said)
    for words in ("samples/s", "waiting for data", "s left", " dB", "validation: "):
        assert any(words in line for line in said), words
    for name in ("trial.safetensors", "trial-perceptual.safetensors"):
        ours, theirs = (
            load_network(folder / name)[1].state_dict() for folder in (seen, uninterrupted)
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert [row["step"] for row in read_curves(run)] == sorted(
        row["step"] for row in read_curves(run)
    )


def test_training_that_diverges_ends_with_status_1_and_keeps_what_was_good(
    vgen: Vgen, data, recipe, tmp_path
):
    flags = ("--recipe", recipe, "--steps", "200", *one(), "--learning-rate", "1e30")
    ran = vgen("train", data, tmp_path / "run", *flags)
    assert ran.status == 1, ran.stderr
    assert "training diverged by step" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
    assert all(ref.score > 0 for ref in list_checkpoints(str(tmp_path / "run" / "checkpoints")))


def test_storage_that_cannot_be_written_stops_the_run_and_a_rerun_goes_on(
    vgen: Vgen, data, recipe, tmp_path
):
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoints").write_text("a file where the folder of checkpoints belongs")
    flags = ("--recipe", recipe, "--steps", "4")
    ran = vgen("train", data, run, *flags, *two())
    assert ran.status == 3
    last = ran.stderr.splitlines()[-1]
    assert "cannot" in last
    assert last.endswith("; run the same command again to go on")
    assert "Traceback" not in ran.stderr
    (run / "checkpoints").unlink()
    assert vgen("train", data, run, *flags, *one()).status == 0


@pytest.mark.parametrize(
    ("where", "flags", "says"),
    [
        ("empty", ("--processes", "0"), "no usable file matches"),
        ("gone", (), "check the name"),
        ("data", ("--workers", "0"), "--workers must be at least 1, got 0"),
        ("data", ("--processes", "-1"), "--processes must be at least 0, got -1"),
        ("data", ("--workers", "64"), "64 workers need as many CPUs, and Ray has"),
        ("data", ("--workers", "2", "--batch", "1"), "2 workers cannot share a batch of 1"),
        ("data", ("--workers", "1", "--min-workers", "2"), "--min-workers 2 is more than"),
        ("data", ("--batch", "0"), "batch: Input should be greater than or equal to 1"),
        ("data", ("--seconds", "5"), "budget either in steps or in seconds"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    vgen: Vgen, data, recipe, tmp_path, where, flags, says
):
    (tmp_path / "empty").mkdir()
    place = {"data": data, "empty": tmp_path / "empty", "gone": tmp_path / "gone"}[where]
    ran = vgen("train", place, tmp_path / "run", "--recipe", recipe, "--steps", "2", *flags)
    assert ran.status == 2, ran.stderr
    assert says in ran.stderr.splitlines()[-1]
    assert not list((tmp_path / "run").glob("*"))


def test_a_bucket_that_holds_no_dataset_is_refused(s3, tmp_path):
    storage.write_bytes(f"{s3.bucket}/{tmp_path.name}/plain/still.png", b"png")
    request = TrainRequest(
        data=f"{s3.bucket}/{tmp_path.name}/plain",
        run=str(tmp_path / "run"),
        settings=TrainSettings(steps=1),
    )
    with pytest.raises(ConfigError, match="is no dataset; make one with vgen dataset first"):
        prepare_training(request)


def test_a_folder_of_somebodys_pictures_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "holiday.jpg").write_bytes(b"jpg")
    request = TrainRequest(
        data=str(tmp_path / "data"), run=str(tmp_path / "run"), settings=TrainSettings(steps=1)
    )
    with pytest.raises(ConfigError, match=r"no usable file matches .*; make a dataset of"):
        prepare_training(request)


def test_a_dataset_of_clips_shorter_than_an_example_is_refused(tmp_path):
    clip = ShardFacts(
        source_uri="/a.mp4", source_etag="1", source_sha256="ab", kind="video", licence="CC0",
        is_held_out=False, shard="1.parquet", clips=2, frames=8,
    )  # fmt: skip
    summary = Summary(
        seed=0, recipe={}, listed=1, used=1, without_clips=0, left_out=0, failed=0, clips={},
        held_out_clips=0, frames=8, rejected={}, licences={}, sources=(clip,), faults=(),
    )  # fmt: skip
    write_summary(str(tmp_path / "data"), summary)
    request = TrainRequest(
        data=str(tmp_path / "data"), run=str(tmp_path / "run"), settings=TrainSettings(steps=1)
    )
    with pytest.raises(ConfigError, match="clips of 4 frames, and examples need 5; lower pool"):
        prepare_training(request)
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_begun_does_not_need_what_it_started_from(data, tmp_path):
    settings = TrainSettings(steps=1, start_from=str(tmp_path / "gone.safetensors"))
    request = TrainRequest(data=str(data), run=str(tmp_path / "run"), settings=settings)
    with pytest.raises(ReleaseError, match="no release"):
        prepare_training(request)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert prepare_training(request).settings == settings


def test_a_run_inside_its_data_is_refused(vgen: Vgen, data, recipe):
    ran = vgen("train", data, data / "run", "--recipe", recipe, "--steps", "2")
    assert ran.status == 2
    assert "lies in DATA" in ran.stderr


def test_only_releases_that_were_made_are_listed(tmp_path):
    recipe = TrainSettings(seconds=1, name="trial", adversarial={"share": 0.1})
    pixel, perceptual = (f"{tmp_path}/trial{end}.safetensors" for end in ("", "-perceptual"))
    Path(pixel).touch()
    assert releases_of(str(tmp_path), recipe) == (pixel,)
    Path(perceptual).touch()
    assert releases_of(str(tmp_path), recipe) == (pixel, perceptual)


def test_the_page_shows_validation_pictures_and_no_other_file(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("00000012.png", "notes.txt", "copy of 00000012.png", "00000012.png.part"):
        (folder / name).write_bytes(b"png")
    write_page(str(tmp_path), TrainSettings(steps=1))
    assert (tmp_path / "report.html").read_text().count("data:image/png;base64,") == 1


def test_numbers_that_are_not_finite_leave_the_rest_of_a_curve():
    losses = (math.nan, 1.0, math.inf, 3.0)
    (panel,) = draw_panels([{"step": n, "loss/total": value} for n, value in enumerate(losses)])
    assert (panel.low, panel.high, panel.last_step) == (1.0, 3.0, 3)
    assert len(panel.lines[0].points.split()) == 2
    assert draw_panels([{"step": 1, "loss/total": math.nan}]) == []


def crew_of(*nodes, **asked):
    cluster = Cluster(
        nodes=tuple(Node(cpus=cpus, gpus=gpus) for cpus, gpus in nodes),
        is_embedded=True,
        memory_bytes=0,
    )
    return choose_crew(
        cluster, TrainRequest(data="d", run="r", settings=TrainSettings(steps=1), **asked)
    )


def test_workers_share_the_cpus_and_take_a_gpu_each():
    alone = crew_of((2, 0))
    assert (alone.workers, alone.cpus, alone.processes, alone.has_gpu) == (1, 2, 1, False)
    two = crew_of((2, 0), workers=2)
    assert (two.workers, two.cpus, two.processes) == (2, 1, 0)
    gpus = crew_of((26, 2))
    assert (gpus.workers, gpus.cpus, gpus.processes, gpus.has_gpu) == (2, 13, 12, True)
    elastic = crew_of((26, 4), min_workers=2)
    assert (elastic.workers, elastic.min_workers) == (4, 2)
    with pytest.raises(ConfigError, match="3 workers need as many GPUs, and Ray has 2"):
        crew_of((26, 2), workers=3)


@pytest.mark.parametrize(
    ("nodes", "workers", "cpus"),
    [
        ([(2, 0), (1, 0)], None, 2),  # three in all, and no node of three
        ([(2, 0), (1, 0)], 2, 1),
        ([(8, 0), (8, 0), (4, 0)], 4, 4),
        ([(16, 0), (16, 0), (8, 1)], None, 8),  # beside the GPU, wherever the CPUs are
        ([(16, 0), (8, 2), (4, 1)], None, 4),
    ],
)
def test_no_worker_asks_for_more_than_a_node_has(nodes, workers, cpus):
    crew = crew_of(*nodes, workers=workers)
    assert (crew.cpus, crew.processes) == (cpus, cpus - 1)


def test_gpus_without_cpus_beside_them_are_refused():
    with pytest.raises(ConfigError, match="1 workers find no place: a GPU of Ray's has no CPU"):
        crew_of((4, 0), (0, 1))
