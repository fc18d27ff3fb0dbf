"""What an address means, and what a job server may answer."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flows import job_server as job_server_module
from flows.job_server import JobError, JobInterruptedError, JobServer, job_server
from flows.work import Work
from tests.flows.stand import free_port
from vgen.errors import ConfigError

WORK = Work(command="enhance", arguments=(), identity=("x",))


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


@contextmanager
def answering(answers: dict[str, tuple[int, object]]) -> Iterator[str]:
    """Serve the REST paths ``answers``; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = answers.get(self.path, (404, "not there"))
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:  # a package of code
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


VERSION = {"/api/version": (200, {"version": "4", "ray_version": "2.60.0", "ray_commit": "x"})}


def job(submission_id: str, status: str, **more: object) -> dict[str, object]:
    return {"type": "SUBMISSION", "submission_id": submission_id, "status": status,
            "entrypoint": "x", **more}  # fmt: skip


@pytest.mark.parametrize("address", ["", "auto", "local", "127.0.0.1:6379", "ray://head:10001"])
def test_other_addresses_are_no_job_servers(address):
    assert job_server(address) is None


def test_a_job_server_is_an_http_address():
    assert job_server("http://head:8265/") == "http://head:8265"


def test_an_empty_address_follows_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "https://head:8265")
    assert job_server("") == "https://head:8265"


@pytest.mark.parametrize("name", ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"])
def test_an_address_that_the_environment_would_override_is_refused(monkeypatch, name):
    monkeypatch.setenv(name, "http://elsewhere:8265")
    with pytest.raises(ConfigError, match=f"{name} 'http://elsewhere:8265' differ; unset {name}"):
        job_server("http://head:8265")


def test_the_living_attempt_comes_before_the_latest():
    jobs = [
        job(f"{WORK.key}-1", "RUNNING", metadata={"flow_run_id": "a", "flow_run_count": "2"}),
        job(f"{WORK.key}-10", "FAILED", driver_exit_code=3),
        job("another", "RUNNING"),
        {"type": "DRIVER", "job_id": "01", "status": "RUNNING", "entrypoint": "x"},
    ]
    with answering({**VERSION, "/api/jobs/": (200, jobs)}) as url:
        found = JobServer(url).newest(WORK)
    assert found is not None
    assert (found.submission_id, found.owner, found.is_living) == (f"{WORK.key}-1", "a/2", True)


def test_the_latest_attempt_is_the_highest_number():
    jobs = [job(f"{WORK.key}-{n}", "FAILED", driver_exit_code=3) for n in (1, 10, 9)]
    with answering({**VERSION, "/api/jobs/": (200, jobs)}) as url:
        found = JobServer(url).newest(WORK)
    assert found is not None
    assert (found.submission_id, found.finished_code) == (f"{WORK.key}-10", None)


def test_no_job_is_none():
    with answering({**VERSION, "/api/jobs/": (200, [])}) as url:
        server = JobServer(url)
        assert server.newest(WORK) is None
        assert server.state("unknown") is None
        assert server.log("unknown") == ""
        server.stop("unknown")


def test_a_job_that_does_not_stop_is_told(monkeypatch):
    monkeypatch.setattr(job_server_module, "STOP_PATIENCE_S", 0.2)
    answers = {
        **VERSION,
        "/api/jobs/x/stop": (200, {"stopped": True}),
        "/api/jobs/x": (200, job("x", "RUNNING")),
    }
    with (
        answering(answers) as url,
        pytest.raises(JobInterruptedError, match="job x does not stop"),
    ):
        JobServer(url).stop("x", pause_s=0.05)


def test_a_server_that_is_not_there_is_an_interruption():
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(JobInterruptedError, match=f"no job server answers at {url}; start"):
        JobServer(url).newest(WORK)


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(job_server_module, "REQUEST_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(JobInterruptedError, match=f"no job server answers at {url}"):
            JobServer(url).newest(WORK)


def test_a_server_that_fails_is_an_interruption():
    with (
        answering({**VERSION, "/api/jobs/": (500, "out of memory")}) as url,
        pytest.raises(JobInterruptedError, match="out of memory"),
    ):
        JobServer(url).newest(WORK)


def test_a_refused_token_is_told_with_the_remedy_and_not_tried_again():
    with answering({"/api/version": (401, "who are you")}) as url:
        with pytest.raises(JobError, match="refused the token; set RAY_AUTH_MODE=token") as caught:
            JobServer(url).newest(WORK)
        assert not isinstance(caught.value, JobInterruptedError)


def test_an_id_that_is_taken_is_as_good_as_submitted():
    name = f"{WORK.key}-1"
    answers = {
        **VERSION,
        "/api/jobs/": (500, "already exists"),
        f"/api/jobs/{name}": (200, job(name, "RUNNING")),
    }
    with answering(answers) as url:
        JobServer(url).submit(Work(command="x", arguments=(), identity=()), name, "me")


def test_a_submission_that_failed_is_told():
    with (
        answering({**VERSION, "/api/jobs/": (500, "no room")}) as url,
        pytest.raises(JobInterruptedError, match="no room"),
    ):
        JobServer(url).submit(WORK, f"{WORK.key}-1", "me")
