"""Only what may end otherwise is tried again."""

import pytest
import ray.exceptions
from prefect.states import Failed

from flows.budget import BudgetError
from flows.job_server import JobError, JobInterruptedError
from flows.stages import may_help, ray_address
from pipelines.terminal import StoppedError
from vgen.errors import ConfigError, MissingError, ReleaseError, StorageError


@pytest.mark.parametrize(
    ("error", "is_tried_again"),
    [
        (StorageError("the store hangs"), True),
        (JobInterruptedError("a node went away"), True),
        (StoppedError("workers died"), True),
        (ray.exceptions.RayActorError(), True),
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
