"""Deployments, worker, server, cluster and store together, nothing of it mocked."""

import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import cv2
import numpy as np
import pytest
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.concurrency import _leases
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Crashed, Running
from ray.job_submission import JobDetails

from flows.enhance_library import enhance, enhance_library
from flows.overlap import sole_run
from flows.stages import is_kept
from tests.flows.library import Library, add_many, client, wait_for_job
from tests.flows.stand import RAY, ROOT, free_port, wait_for
from tests.media_factory import run_ffmpeg
from vgen import storage
from vgen.config import Recipe
from vgen.models.registry import current

pytestmark = [pytest.mark.prefect, pytest.mark.ray]

CLIPS = 12
"""Of an archive that is worked on long enough to meet with an accident."""
MAX_STOP_S = 15.0
"""From the call that cancels a run to the end of its job, as Ray records it."""


@pytest.fixture
def library(stand, request) -> Library:
    """An empty archive on S3."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40]
    return Library(stand=stand, place=f"s3://bucket/{name}")


@pytest.fixture(scope="module")
def published(stand, media, offline):
    """An archive that a deployment has enhanced, and the run that did it."""
    library = Library(stand=stand, place="s3://bucket/published")
    library.add("a.mp4", media["h264_mp4"])
    library.add("folder/b.mkv", media["h264_mkv"])
    library.add("text.mp4", ROOT / "README.md")
    return library, library.run(library.parameters())


def test_a_deployment_publishes_an_archive(published, media, notices, tmp_path):
    library, run = published
    assert run.state.is_completed(), library.logs(run.id)
    assert library.published() == ["a.mp4", "folder/b.mkv"]
    totals = library.reports()[-1].totals
    assert (totals.listed, totals.done, totals.failed) == (3, 2, 1)
    fetched = tmp_path / "a.mp4"
    storage.download(f"{library.destination}/a.mp4", fetched, 1 << 30)
    assert frames_of(fetched) == frames_of(media["h264_mp4"]) == 75
    wait_for(lambda: notices.received, "a notification")
    assert "2 done, 0 skipped, 1 failed" in notices.received[0]["message"]


def test_its_job_names_the_flow_run(published):
    library, run = published
    (job,) = library.jobs()
    assert (job.status.value, job.driver_exit_code) == ("FAILED", 1)  # 1: a video failed
    assert job.metadata["flow_run_id"] == str(run.id)
    assert str(job.submission_id).endswith("-1")


def test_its_artifacts_are_on_the_server(published):
    library, run = published
    shown = {str(one.key).partition("-")[0]: one for one in library.artifacts(run.id)}
    assert set(shown) == {"progress", "report", "videos", "page"}
    assert shown["progress"].data == 100.0
    report = library.reports()[0]
    assert report.run_id in shown["report"].data
    assert "text" in shown["report"].data
    assert '"failed"' in shown["videos"].data
    assert f"{report.run_id}/report.html" in shown["page"].data


@pytest.fixture(scope="module")
def idle(published) -> tuple[Library, FlowRun, FlowRun]:
    """An archive with nothing to do, a run of it, and one that a schedule started meanwhile."""
    library, _ = published
    storage.delete(f"{library.source}/text.mp4")  # a broken file is tried again each time
    soon = datetime.now(UTC) + timedelta(seconds=6)
    often = IntervalSchedule(interval=timedelta(seconds=30), anchor_date=soon)
    with client() as prefect:
        deployment = prefect.read_deployment_by_name("nightly/nightly")
        (schedule,) = prefect.create_deployment_schedules(
            deployment.id, [(often, True)], parameters=library.parameters()
        )
        run = library.run(library.parameters())
        wait_for(lambda: completed_runs(deployment.id), "a scheduled run")
        prefect.delete_deployment_schedule(deployment.id, schedule.id)
    return library, run, completed_runs(deployment.id)[0]


def test_a_second_run_finds_nothing_to_do_and_asks_no_cluster(idle):
    library, run, _ = idle
    assert run.state.is_completed(), library.logs(run.id)
    assert run.state.message.startswith("0 done, 2 skipped, 0 failed")
    assert len(library.jobs()) == 1
    library.wait_for_line(run.id, "nothing to do")


def test_a_schedule_starts_a_night(idle):
    library, _, night = idle
    assert night.auto_scheduled
    restored = child_of(night, "enhance-library")
    assert restored.state.message.startswith("0 done, 2 skipped, 0 failed")
    assert len(library.jobs()) == 1


def test_a_run_that_meets_the_one_before_is_left_out(stand, monkeypatch):
    name = "train-release/train-release"
    as_run_of(monkeypatch, deployment_id(name), "train-release")
    with sole_run() as is_sole, sole_run() as is_sole_again:
        assert is_sole
        assert is_sole_again  # a slot that a server which was restarted never gave back
        with client() as prefect:
            before = prefect.create_flow_run_from_deployment(deployment_id(name), state=Running())
            library = Library(stand=stand, place="s3://vgen")
            run = library.end(library.begin({}, name).id)
            prefect.delete_flow_run(before.id)
    assert run.state.name == "Left out", library.logs(run.id)
    assert run.state.message == "left out: the run before this one is not over"
    assert library.jobs() == []


def test_a_notification_starts_a_run_of_the_library_it_belongs_to(stand):
    notification = (
        b'{"Records": [{"eventName": "s3:ObjectCreated:Put", "s3": '
        b'{"bucket": {"name": "vgen"}, "object": {"key": "archive/new+clip.mp4"}}}]}'
    )
    port = free_port()
    url, token = f"http://127.0.0.1:{port}", {"Authorization": "Bearer secret"}
    stand.start(
        "webhook",
        [sys.executable, "-m", "flows.webhook", "--port", str(port)],
        stand.prefect_environment | {"VGEN_WEBHOOK_TOKEN": "secret"},
    )
    wait_for(lambda: stand.answers(url), "the webhook")
    told = [stand.http.post(url, content=notification, headers=token) for _ in range(2)]
    stand.kill("webhook")
    assert [one.json() for one in told] == [{"objects": 1, "started": ["enhance-library"]}] * 2
    with client() as prefect:
        deployment = prefect.read_deployment_by_name("enhance-library/enhance-library")
        runs = [one for one in runs_of(deployment.id) if one.idempotency_key]
        assert len({one.idempotency_key for one in runs}) == len(runs)  # one a window
        assert runs
        assert all(one.parameters["source"] == "s3://vgen/archive" for one in runs)
        for one in runs:
            prefect.delete_flow_run(one.id)


@pytest.fixture(scope="module")
def interrupted(stand, tmp_path_factory):
    """An archive whose first run is cancelled after its first video; the run, and when."""
    library = Library(stand=stand, place="s3://bucket/interrupted")
    add_many(library, tmp_path_factory.mktemp("interrupted"), CLIPS)
    run = library.begin(library.parameters(release="restore-tiny"))
    wait_for_job(library)
    wait_for(library.published, "the first video")
    cancelled_s = time.time()
    library.cancel(run.id)
    wait_for(lambda: library.jobs()[0].status.is_terminal(), "the job's end")
    return library, library.end(run.id), cancelled_s


def test_cancelling_stops_the_job(interrupted):
    library, run, cancelled_s = interrupted
    assert run.state.is_cancelled(), library.logs(run.id)
    stopped = library.jobs()[0]
    assert stopped.status.value == "STOPPED"
    assert stopped.metadata["flow_run_id"] == str(run.id)
    stop_s = stopped.end_time / 1000 - cancelled_s
    told = f"the job ended {stop_s:.1f} s after the run was cancelled"
    print(told)
    assert 0 < stop_s <= MAX_STOP_S, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What became of an archive whose first run was cancelled, and of what else befell it."""

    library: Library
    done_before: int
    """Videos that the cancelled run had published."""
    left: FlowRun
    """The second run, whose worker was killed; its job went on, though a node died."""
    job: JobDetails
    """Of the second run."""
    ended: FlowRun
    """The third run, which waited for that job; the Prefect server was away during its own."""


@pytest.fixture(scope="module")
def resumed(interrupted, stand, media) -> Resumed:
    """Run what was cancelled again, past everything that can die."""
    library, _, _ = interrupted
    done_before = len(library.published())
    assert done_before < CLIPS
    parameters = library.parameters(release="restore-tiny")
    left = library.begin(parameters)
    job = wait_for_job(library)
    stand.kill("worker")
    stand.start_worker()
    run = library.begin(parameters)
    wait_for(lambda: library.plans() == 2, "the job's plan")
    library.add("late.mp4", media["h264_mp4"])  # the job knows nothing of it
    wait_for(lambda: len(library.published()) > done_before, "its first video")
    stand.kill("node")
    assert len(library.published()) < CLIPS
    wait_for(lambda: stand.living_nodes() == 1, "the cluster to notice")
    wait_for(lambda: len(library.jobs()) == 3, "the job that does what came late")
    with pytest.MonkeyPatch.context() as patch:
        as_run_of(patch, deployment_id("train-release/train-release"), "train-release")
        patch.setattr(_leases, "_RENEWAL_FRACTION", 0.01)  # not to wait for minutes
        with sole_run() as is_sole:  # a run that holds a slot outlasts its lease
            assert is_sole
            stand.kill("server")
            shutil.rmtree(stand.leases)  # as if it were away for long, or kept them in memory
            wait_for(lambda: library.jobs()[-1].status.is_terminal(), "the end of that job")
            stand.start_server()
            stand.start_node()
            wait_for(stand.is_server_up, "the server")
            ended = library.end(run.id)
    return Resumed(library=library, done_before=done_before, left=left, job=job, ended=ended)


def test_a_rerun_goes_on(resumed):
    totals = resumed.library.reports()[0].totals
    assert totals.skipped >= resumed.done_before
    assert (totals.listed, totals.done + totals.skipped) == (CLIPS, CLIPS)


def test_a_node_that_dies_costs_no_video(resumed):
    assert resumed.library.reports()[0].totals.failed == 0
    clips = [name for name in resumed.library.published() if name != "late.mp4"]
    assert len(clips) == CLIPS


def test_a_killed_worker_leaves_a_job_that_the_next_run_waits_for(resumed):
    library, left, ended = resumed.library, resumed.left, resumed.ended
    assert ended.state.is_completed(), library.logs(ended.id)
    library.wait_for_line(
        ended.id, f"job {resumed.job.submission_id} does this already; waiting for it"
    )
    # The job that lived knew nothing of what came late: another one did that, and no more.
    assert [one.submission_id[-2:] for one in library.jobs()] == ["-1", "-2", "-3"]
    totals = library.reports()[1].totals
    assert (totals.done, totals.skipped) == (1, CLIPS)
    assert is_kept(f"{left.id}/1")  # for all that the server knows
    with client() as prefect:  # nobody else would ever end it
        prefect.set_flow_run_state(left.id, Crashed(), force=True)
    assert not is_kept(f"{left.id}/1")
    assert not is_kept(f"{ended.id}/1")
    assert is_kept(f"{uuid4()}/1")  # of another server


def test_a_killed_server_that_comes_back_costs_no_result(resumed):
    library, ended = resumed.library, resumed.ended
    assert ended.state.is_completed(), library.logs(ended.id)
    assert ended.state.message.startswith(f"1 done, {CLIPS} skipped, 0 failed")
    assert {one.type for one in library.artifacts(ended.id)} >= {"markdown", "table"}
    assert len(library.published()) == CLIPS + 1


def test_an_unreachable_job_server_is_tried_again_and_then_told(library, media, monkeypatch):
    library.add("a.mp4", media["h264_mp4"])
    monkeypatch.setattr(enhance, "retry_delay_seconds", [0.1, 0.1])
    url = f"http://127.0.0.1:{free_port()}"
    state = enhance_library(
        source=library.source,
        destination=library.destination,
        recipe=Recipe(release="identity"),
        address=url,
        return_state=True,
    )
    assert state.is_failed()
    assert f"no job server answers at {url}" in state.message
    assert attempts_of(state.state_details.flow_run_id, "enhance") == 3


def test_a_wrong_recipe_is_refused_before_anything_starts(library):
    wrong = library.parameters(encode={"crf": 99})
    with pytest.raises(PrefectHTTPStatusError, match="crf"):
        library.begin(wrong)
    assert library.jobs() == []


@pytest.mark.parametrize(
    ("missing", "recipe", "says"),
    [
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), {"release": "identity"}, "s3://"),
        ((), {"release": "no-such"}, "no release named 'no-such'"),
    ],
)
def test_what_is_wrong_is_told_before_a_cluster_is_asked(
    library, media, monkeypatch, missing, recipe, says
):
    library.add("a.mp4", media["h264_mp4"])
    for name in missing:
        monkeypatch.delenv(name)
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        cluster.setblocking(False)
        state = enhance_library(
            source=library.source,
            destination=library.destination,
            recipe=Recipe(**recipe),
            address=f"http://127.0.0.1:{cluster.getsockname()[1]}",
            return_state=True,
        )
        with pytest.raises(BlockingIOError):  # nobody has called
            cluster.accept()
    assert state.is_failed()
    assert says in state.message
    assert attempts_of(state.state_details.flow_run_id, "check") == 1


def test_work_is_refused_without_the_clusters_token(stand):
    code = (
        "from flows.job_server import JobServer\n"
        "from flows.work import Work\n"
        f"JobServer({stand.ray_url!r}).newest(Work(command='x', arguments=(), identity=()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=stand.base | {"RAY_AUTH_TOKEN": "wrong"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "refused the token; set RAY_AUTH_MODE=token" in done.stderr


@pytest.fixture(scope="module")
def submissions(stand, media, tmp_path_factory) -> tuple[Library, list[subprocess.Popen[str]]]:
    """What ``ray job submit`` is doing, side by side, and below where the results will be."""
    library = Library(stand=stand, place="s3://bucket/submitted")
    library.add("a.mp4", media["h264_mp4"])
    material = tmp_path_factory.mktemp("material")
    add_material(material)
    flags = ["--steps=2", "--batch=2", "--patch-px=16", "--processes=0", "--name=quick"]
    flags += ["--pool.size=4", "--pool.side-px=32", "--validation-clips=1"]
    return library, [
        submitted(stand, "pipelines.enhance", library.source, library.destination, *IDENTITY),
        submitted(stand, "pipelines.train", str(material), f"{library.place}/run", *flags),
    ]


@pytest.fixture(scope="module")
def served(stand) -> None:
    """One process that serves the deployments in place of a worker, which cannot run them then."""
    stand.kill("worker")
    stand.start("serve", [sys.executable, "-m", "flows.serve"], stand.worker_environment)
    wait_for(lambda: "being served" in stand.log("serve").read_text(), "the deployments")


def test_a_served_night_trains_promotes_and_restores_with_the_new_release(
    library, media, tmp_path, submissions, served
):
    """Each stage is a Ray job; places and registry are on S3.

    Beside what ``ray job submit`` has started: a night waits more than it works.
    """
    add_material(tmp_path)
    for path in tmp_path.rglob("*.*"):
        name = path.relative_to(tmp_path).as_posix()
        storage.publish(path, f"{library.place}/material/{name}", remove_source=False)
    library.add("a.mp4", media["h264_mp4"])
    registry = f"{library.place}/registry"
    night = library.parameters(release="archive") | {
        "registry": registry,
        "retrain_on": datetime.now(UTC).strftime("%A"),
        "training": {
            "material": f"{library.place}/material",
            "dataset": f"{library.place}/dataset",
            "run": f"{library.place}/runs",
            "registry": registry,
            "recipe": QUICK_RECIPE,
            "selection": ANY_MATERIAL,
            "evaluation": {"damages": ["noise 25"], "baseline": False},
        },
    }
    run = library.end(library.begin(night, "nightly/nightly").id)
    assert run.state.is_completed(), library.logs(run.id)
    pointer = current(registry, "archive")
    assert pointer is not None
    assert pointer.number == 1
    assert library.reports()[-1].release_digest == pointer.sha256
    commands = {str(job.submission_id).split("-")[1] for job in library.jobs()}
    assert commands == {"dataset", "train", "promote", "enhance"}
    decisions = library.artifacts(child_of(run, "train-release").id)
    assert any("noise 25" in str(one.data) for one in decisions)


def test_ray_job_submit_enhances_without_prefect(submissions):
    library, (enhancing, _) = submissions
    assert "succeeded" in printed_by(enhancing)
    assert library.published() == ["a.mp4"]


def test_ray_job_submit_trains_without_prefect(submissions):
    library, (_, training) = submissions
    assert "succeeded" in printed_by(training)
    assert storage.exists(f"{library.place}/run/quick.safetensors")


def test_no_secret_is_anywhere(published, stand, notices):
    """Last of all: searches what every test before it has left behind."""
    library, run = published
    needles = {
        "S3": stand.s3_environment["AWS_SECRET_ACCESS_KEY"],
        "Ray": stand.ray_token,
        "Apprise": notices.secret,
    }
    listed = storage.list_objects("s3://bucket")
    objects = {one.uri: storage.read_bytes(one.uri) for one in listed}
    files = {path: path.read_bytes() for path in stand.folder.rglob("*") if is_searched(path)}
    jobs = {"jobs": stand.ask_ray("/api/jobs/").content}
    places = objects | files | jobs
    assert len(files) > 10
    assert len([k for k, v in places.items() if run.name.encode() in v]) > 1  # it would be found
    assert library.source.encode() in places["jobs"]
    for name, secret in needles.items():
        found = [str(k) for k, v in places.items() if secret.encode() in v]
        assert not found, f"the secret of {name} is in {found}"


IDENTITY = ("--release", "identity")
QUICK_RECIPE = {
    "name": "archive",
    "start_from": "restore-tiny",
    "steps": 2,
    "batch": 2,
    "patch_px": 16,
    "pool": {"size": 4, "side_px": 32},
    "validation_clips": 1,
}
ANY_MATERIAL = {
    "min_side_px": 32,
    "fitness": {"max_blur": 1, "max_blockiness": 1000, "min_change": 0},
}


def add_material(folder) -> None:
    """Put stills and a clip to train on, free to use, into ``folder``."""
    rng = np.random.default_rng(0)
    for name in ("bsds400_jpg", "clips"):
        (folder / name).mkdir()
    for number in (1001, 1002, 1003, 1010):  # names that end in 0 are held out
        small = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        smooth = cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "bsds400_jpg" / f"test_{number}.jpg"), smooth)
    picture = "testsrc2=size=64x48:rate=25:duration=0.5"
    run_ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "mpeg4", folder / "clips" / "intel_one.mkv")
    (folder / "MANIFEST.csv").write_text("dir,licence\nx/bsds400_jpg,BSDS\nx/clips,CC0\n")


def submitted(stand, module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start ``ray job submit`` as the README spells it."""
    command = [RAY, "job", "submit", "--working-dir", ".", "--", "python", "-m", module]
    return subprocess.Popen(
        [*command, *arguments],
        env=stand.base | {"RAY_ADDRESS": stand.ray_url},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def printed_by(job: subprocess.Popen[str]) -> str:
    """Wait for a program's end and return what it printed."""
    printed, _ = job.communicate()
    assert job.returncode == 0, printed[-3000:]
    return printed


def deployment_id(name: str) -> UUID:
    with client() as prefect:
        return prefect.read_deployment_by_name(name).id


def as_run_of(patch: pytest.MonkeyPatch, deployment: UUID, name: str) -> None:
    """Make code of this process believe that it is a run of a flow and deployment ``name``."""
    patch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", str(deployment))
    patch.setenv("PREFECT__RUNTIME__DEPLOYMENT__NAME", name)
    patch.setenv("PREFECT__RUNTIME__FLOW_RUN__FLOW_NAME", name)


def completed_runs(deployment_id) -> list[FlowRun]:
    return [one for one in runs_of(deployment_id) if one.state.name == "Completed"]


def runs_of(deployment_id) -> list[FlowRun]:
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    with client() as prefect:
        return prefect.read_flow_runs(deployment_filter=wanted)


def child_of(run: FlowRun, flow: str) -> FlowRun:
    """Return the run of ``flow`` that ``run`` has called."""
    with client() as prefect:
        found = prefect.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run.id])
            ),
        )
    (child,) = found
    return child


def attempts_of(flow_run_id, task: str) -> int:
    """Return how often a task of a run was tried."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    with client() as prefect:
        runs = prefect.read_task_runs(flow_run_filter=wanted)
    return next(one.run_count for one in runs if one.name.startswith(f"{task}-"))


def is_searched(path) -> bool:
    """Whether a file may tell somebody something: a log or a database, not a socket."""
    return path.is_file() and path.stat().st_size < 1 << 28


def frames_of(path) -> int:
    """Count frames with the independent program."""
    counted = run_ffmpeg("-i", path, "-map", "0:v:0", "-f", "framecrc", "-")
    return sum(not line.startswith("#") for line in counted.splitlines())
