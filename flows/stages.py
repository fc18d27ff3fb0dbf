"""What all flows do in the same way: retry what may help, and do work here or on a cluster."""

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from uuid import UUID

import httpx
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.tasks import exponential_backoff

from flows.artifacts import Teller
from flows.budget import until
from flows.job_server import JobInterruptedError, JobServer, job_server
from flows.ray_jobs import EndedJob, run_job
from flows.work import Work
from pipelines.terminal import StoppedError
from vgen.errors import MissingError, StorageError

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun

GPU_LIMIT = "gpu"
"""Name of the global concurrency limit that work on a cluster's GPUs takes a slot of; where
nobody made one, nothing is limited."""
RETRIES = 2
RETRY_DELAYS_S = exponential_backoff(10)(RETRIES)
RETRY_JITTER = 0.5
CHECK_TIMEOUT_S = 3600.0
"""For a listing of a large archive, or a report of one."""

SERVER_PATIENCE_S = 300.0
"""How long Prefect's server may be away when a job has ended: one that is restarted."""

T = TypeVar("T")
P = ParamSpec("P")


def retried(*tags: str, timeout_s: float | None = None) -> "Callable[[Callable[P, T]], Task[P, T]]":
    """Make a task of a function that may be done again where that may help.

    Args:
        tags: Beside ``vgen``, which all tasks have.
        timeout_s: Longest time of one try, None for any.
    """
    return task(
        retries=RETRIES,
        retry_delay_seconds=RETRY_DELAYS_S,
        retry_jitter_factor=RETRY_JITTER,
        retry_condition_fn=may_help,
        timeout_seconds=timeout_s,
        cache_policy=NO_CACHE,
        tags=["vgen", *tags],
    )


def may_help(_: "Task[..., object]", run: "TaskRun", state: "State[object]") -> bool:
    """Whether doing a failed task again may end otherwise; Prefect asks this after a failure."""
    error = state.result(raise_on_failure=False)
    # Prefect's own client tries again only where it has reached the server before.
    if isinstance(error, JobInterruptedError | StoppedError | httpx.TransportError):
        return True
    if isinstance(error, StorageError):
        return not isinstance(error, MissingError)
    return type(error).__module__.split(".")[0] == "ray"


def ray_address(address: str) -> str:
    """Return the address that a driver in this process connects to.

    Args:
        address: As the flow got it; not a job server's.
    """
    return address or os.environ.get("RAY_ADDRESS") or "local"


def carry_out(
    address: str,
    deadline_s: float | None,
    *,
    key: str,
    work: Callable[[], Work],
    inline: Callable[[Teller], T],
    collect: Callable[[EndedJob], T],
) -> T:
    """Do a piece of work: as a job where ``address`` is a job server, else in this process.

    Args:
        address: As the flow got it.
        deadline_s: When the work is stopped, as ``time.monotonic`` counts.
        key: Of the progress artifact.
        work: Returns what a job would do.
        inline: Does it here.
        collect: Turns a finished job into the same result.

    Raises:
        BudgetError: the time was over; the work was stopped.
        JobError: the job could not be run.
    """
    server_url = job_server(address)
    teller = Teller(key)
    # A server that is away must not stop the work: slots may then be handed out twice.
    with until(deadline_s), concurrency(GPU_LIMIT, raise_on_lease_renewal_failure=False):
        if server_url is None:
            result = inline(teller)
        else:
            # A run that a person has Prefect retry is a new try, which repeats what has ended.
            owner = f"{flow_run.id or 'no flow run'}/{flow_run.run_count or 1}"
            job = run_job(JobServer(server_url), work(), owner=owner, say=teller, is_kept=is_kept)
            result = collect(job)
            await_server()
    teller.finish()
    return result


def await_server(patience_s: float = SERVER_PATIENCE_S) -> None:
    """Wait for Prefect's server where it is away: what comes after a job is told to it.

    Where it stays away for longer, the next call says so.
    """
    given_up_s = time.monotonic() + patience_s
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True) as client,
    ):
        while client.api_healthcheck() is not None and time.monotonic() < given_up_s:
            time.sleep(1)


def is_kept(owner: str) -> bool:
    """Whether a job's owner is another flow run than this one, and not over.

    Also where that cannot be told, as of a run that another server knows: to leave a job, which
    the next run finds, costs less than to stop somebody's.

    Args:
        owner: The id of a flow run and the number of its try, with a slash between.
    """
    run, _, _ = owner.partition("/")
    if run == flow_run.id:
        return False
    try:
        # Asked once: a run that is cancelled has little time left.
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True) as client,
        ):
            state = client.read_flow_run(UUID(run)).state
    except (ValueError, ObjectNotFound, httpx.HTTPError):
        return True
    return state is None or not state.is_final()
