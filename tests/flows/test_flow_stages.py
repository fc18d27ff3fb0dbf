"""Only what may end otherwise is tried again."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
import ray.exceptions
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed

from flows.budget import BudgetError
from flows.job_server import JobError, JobInterruptedError
from flows.stages import await_server, may_help, ray_address
from pipelines.terminal import StoppedError
from vgen.errors import ConfigError, MissingError, ReleaseError, StorageError


@pytest.mark.parametrize(
    ("error", "is_tried_again"),
    [
        (StorageError("the store hangs"), True),
        (JobInterruptedError("a node went away"), True),
        (StoppedError("workers died"), True),
        (ray.exceptions.RayActorError(), True),
        (httpx.ConnectError("Prefect's server is away"), True),
        (MissingError("no such object"), False),
        (ConfigError("wrong"), False),
        (ReleaseError("wrong"), False),
        (JobError("refused"), False),
        (BudgetError("spent"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_what_may_help_is_done_again(error, is_tried_again):
    assert may_help(None, None, Failed(data=error)) is is_tried_again


def test_an_empty_address_is_the_environments_ray_or_an_embedded_one(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ray_address("") == "local"
    assert ray_address("head:6379") == "head:6379"
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert ray_address("") == "auto"


class Health(BaseHTTPRequestHandler):
    """A server that is away at first, as one that is restarted."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(503 if self.asked < 3 else 200)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_is_away_is_waited_for_and_not_for_ever():
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            await_server()
            assert Health.asked == 3
            server.shutdown()
    with temporary_settings({PREFECT_API_URL: url}):
        await_server(patience_s=0)
