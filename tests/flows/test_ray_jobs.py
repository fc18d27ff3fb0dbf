"""One job a piece of work at a time, watched to its end."""

import pytest

from flows import ray_jobs
from flows.job_server import JobError, JobInterruptedError, shipped_code
from flows.ray_jobs import EndedJob, pause_s, run_job
from flows.work import Work
from tests.flows.fake_cluster import FakeServer, ends, interrupts, is_away, loses_it, says

WORK = Work(command="enhance", arguments=("in", "out"), identity=("in", "out", "recipe"))
FIRST, SECOND = f"{WORK.key}-1", f"{WORK.key}-2"


def done(
    server: FakeServer, told: list[str] | None = None, *, living: tuple[str, ...] = ()
) -> EndedJob:
    """Have WORK done by the run ``me``, beside other runs that are not over."""
    say = (told if told is not None else []).append
    return run_job(server, WORK, owner="me", say=say, is_kept=living.__contains__, poll_s=0)


def test_a_job_is_submitted_and_what_it_says_is_passed_on_once():
    told: list[str] = []
    server = FakeServer(
        script=[
            says("Ray's own words\nvgen: 1/2 videos\nvgen: 2/"),
            says("2 videos\n"),
            says("vgen: report: x"),
            ends("SUCCEEDED", 0),
        ]
    )
    ended = done(server, told)
    assert (ended.submission_id, ended.exit_code, ended.is_joined) == (FIRST, 0, False)
    assert told == [f"job {FIRST} begins", "1/2 videos", "2/2 videos", "report: x"]
    assert server.stopped == []


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_living_job_of_the_same_work_is_waited_for(status):
    server = FakeServer(script=[ends("SUCCEEDED", 0)])
    server.put(SECOND, status=status, owner="somebody else")
    server.put(f"{WORK.key}-3", status="FAILED", code=3)
    ended = done(server)
    assert (ended.submission_id, ended.is_joined) == (SECOND, True)
    assert server.submitted == []


def test_a_living_job_of_this_run_is_not_somebody_elses():
    server = FakeServer(script=[ends("SUCCEEDED", 0)])
    server.put(FIRST, status="RUNNING", owner="me")
    ended = done(server)
    assert (ended.submission_id, ended.is_joined) == (FIRST, False)


def test_a_job_that_this_run_started_and_that_has_finished_is_not_repeated():
    server = FakeServer()
    server.put(FIRST, status="FAILED", code=1, owner="me")
    assert done(server).exit_code == 1
    assert server.submitted == []


@pytest.mark.parametrize(
    ("status", "code", "owner"),
    [("SUCCEEDED", 0, "an earlier run"), ("FAILED", 3, "me"), ("STOPPED", None, "me")],
)
def test_work_that_ended_before_is_a_new_attempt(status, code, owner):
    server = FakeServer(script=[ends("SUCCEEDED", 0)])
    server.put(FIRST, status=status, code=code, owner=owner)
    assert done(server).submission_id == SECOND


def test_a_cancelled_wait_ends_as_cancelled_though_the_job_cannot_be_stopped():
    told: list[str] = []
    server = FakeServer(
        script=[interrupts(KeyboardInterrupt())], stop_fault=JobInterruptedError("it is away")
    )
    with pytest.raises(KeyboardInterrupt):
        done(server, told)
    assert server.stopped == [FIRST]
    assert told[-1] == f"job {FIRST} may still run; the next run finds it: it is away"


def test_jobs_of_other_work_are_left_alone():
    server = FakeServer(script=[ends("SUCCEEDED", 0)])
    server.put("vgen-enhance-0000000000000000-1", status="RUNNING")
    server.put(f"{WORK.key}-1-1", status="RUNNING")
    assert done(server).submission_id == FIRST


@pytest.mark.parametrize(
    ("status", "code", "error", "says_so"),
    [
        ("FAILED", 2, JobError, "was refused: the recipe is wrong"),
        ("FAILED", 127, JobError, "found no Python; set VGEN_JOB_PYTHON"),
        ("FAILED", 130, JobError, "was stopped; the next run goes on"),
        ("STOPPED", None, JobError, "was stopped; the next run goes on"),
        ("FAILED", 3, JobInterruptedError, "failed: the recipe is wrong"),
        ("FAILED", None, JobInterruptedError, "failed: the recipe is wrong"),
    ],
)
def test_an_end_is_told_by_its_cause(status, code, error, says_so):
    server = FakeServer(script=[says("vgen: the recipe is wrong\nnoise\n"), ends(status, code)])
    with pytest.raises(error, match=says_so) as caught:
        done(server)
    assert type(caught.value) is error
    assert server.stopped == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TimeoutError(), SystemExit()])
def test_whoever_stops_waiting_stops_the_job(error):
    server = FakeServer(script=[says("vgen: 1/2 videos\n"), interrupts(error)])
    with pytest.raises(type(error)):
        done(server)
    assert server.stopped == [FIRST]


@pytest.mark.parametrize(
    ("owner", "is_stopped"), [("somebody else", False), ("a dead run", True), ("me", True)]
)
def test_the_job_of_a_run_that_is_not_over_is_left_to_it(owner, is_stopped):
    told: list[str] = []
    server = FakeServer(script=[interrupts(KeyboardInterrupt())])
    server.put(FIRST, status="RUNNING", owner=owner)
    with pytest.raises(KeyboardInterrupt):
        done(server, told, living=("somebody else", "me"))
    assert server.stopped == ([FIRST] if is_stopped else [])
    goes_on = f"job {FIRST} goes on: the run that started it is not over"
    assert (told[-1] == goes_on) is not is_stopped


def test_a_server_that_is_away_for_a_moment_is_waited_for():
    server = FakeServer(script=[is_away, is_away, ends("SUCCEEDED", 0)])
    assert done(server).exit_code == 0


def test_a_server_that_stays_away_leaves_the_job_to_the_next_run(monkeypatch):
    monkeypatch.setattr(ray_jobs, "PATIENCE_S", 0.0)
    server = FakeServer(script=[is_away] * 1000)
    with pytest.raises(JobInterruptedError, match="no job server answers"):
        done(server)
    assert server.stopped == []


@pytest.mark.parametrize(("watched_s", "pause"), [(0, 0.5), (5, 0.5), (20, 1), (60, 3), (9e4, 3)])
def test_a_short_job_is_looked_at_more_often(watched_s, pause):
    assert pause_s(watched_s) == pytest.approx(pause)


def test_a_cluster_that_forgot_the_job_is_an_interruption():
    with pytest.raises(JobInterruptedError, match="the cluster has lost job"):
        done(FakeServer(script=[loses_it]))


def test_only_code_travels_to_the_cluster():
    shipped = shipped_code()
    assert set(shipped) == {"py_modules", "excludes"}
    assert sorted(one.rpartition("/")[2] for one in shipped["py_modules"]) == ["pipelines", "vgen"]


def test_of_an_installed_package_nothing_travels(monkeypatch, tmp_path):
    from flows import job_server

    monkeypatch.setattr(job_server.pipelines, "__file__", str(tmp_path / "pipelines/__init__.py"))
    assert shipped_code() == {}


def test_the_document_of_a_job_is_found_among_its_lines():
    log = 'vgen: scoring\n{\n  "name": "{x}"\n}\nvgen: x promoted: {reasons}\n'
    assert (
        EndedJob(submission_id="j", is_joined=False, exit_code=0, log=log).document
        == '{\n  "name": "{x}"\n}'
    )


def test_a_job_without_a_document_is_an_error():
    with pytest.raises(JobError, match="ended without a result: no clips"):
        _ = EndedJob(
            submission_id="j", is_joined=False, exit_code=1, log="Traceback\nvgen: no clips\n"
        ).document
