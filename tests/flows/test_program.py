"""A flow as a program ends like ``vgen``: a status and one sentence."""

import signal

import httpx
import pytest
from cyclopts import App
from prefect.exceptions import TerminationSignal
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.budget import Budget, BudgetError
from flows.job_server import JobError
from flows.program import TooManyFailedError, program, run_program
from vgen.errors import ConfigError, ReleaseError, StorageError


def app_that(error: BaseException | None = None) -> App:
    app = program("tests")

    @app.default
    def command(*, hours: float = 1.0) -> Budget:
        if error is not None:
            raise error
        return Budget(hours=hours)

    return app


def caused_by(first: BaseException, then: BaseException) -> BaseException:
    then.__context__ = first
    return then


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TooManyFailedError("3 of 4 failed"), 1),
        (ConfigError("wrong"), 2),
        (ReleaseError("wrong"), 2),
        (StorageError("the store hangs"), 3),
        (JobError("stopped"), 3),
        (BudgetError("spent"), 3),
        (KeyboardInterrupt(), 130),
        (TerminationSignal(signal.SIGTERM), 130),
        (caused_by(KeyboardInterrupt(), httpx.ConnectError("refused")), 130),
    ],
)
def test_each_end_has_its_status(error, status, capsys):
    assert run_program(app_that(error), []) == status
    said = capsys.readouterr().err
    assert said.startswith("vgen: ")
    assert "Traceback" not in said


def test_a_wrong_flag_is_refused(capsys):
    assert run_program(app_that(), ["--hours", "many"]) == 2
    assert "many" in capsys.readouterr().err


def test_the_result_is_one_document(capsys):
    assert run_program(app_that(), ["--hours", "2"]) == 0
    assert Budget.model_validate_json(capsys.readouterr().out) == Budget(hours=2)


@pytest.mark.parametrize(
    ("url", "tries"), [(None, 3), ("http://127.0.0.1:4200/api", 6)], ids=["temporary", "own"]
)
def test_a_temporary_server_is_asked_again_but_not_for_minutes(url, tries):
    app = program("tests")
    asked = []

    @app.default
    def command() -> None:
        asked.append(1 + PREFECT_CLIENT_MAX_RETRIES.value())

    with temporary_settings({PREFECT_API_URL: url}):
        assert run_program(app, []) == 0
    assert asked == [tries]


@pytest.mark.parametrize("error", [ZeroDivisionError(), httpx.ConnectError("refused")])
def test_what_nobody_expects_is_not_hidden(error):
    with pytest.raises(type(error)):
        run_program(app_that(error), [])
