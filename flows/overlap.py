"""One run of a deployment at a time: a night that meets the one before is left out.

Not by the deployment's own ``concurrency_limit``: where the server is away for longer than a lease,
Prefect ends a run that such a limit let in, and with it the job that the run looks after.

Neither the slot nor the states of other runs tell alone whether one is under way: a server that
keeps leases in memory never gives back slots that were held when it was restarted, and a run whose
process was killed stays in its state for ever. Both together do.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

LEASE_S = 300.0
"""How long the slot of a run whose process was killed stays taken."""
_TAKEN = httpx.codes.LOCKED
_UNDER_WAY = [StateType.RUNNING, StateType.CANCELLING]


@contextmanager
def sole_run() -> Iterator[bool]:
    """Hold the slot of this run's deployment; yield whether no other run of it is under way.

    A run that no deployment started, and one within another run, needs none.
    """
    with ExitStack() as stack:
        yield (
            deployment.id is None
            or flow_run.parent_flow_run_id is not None
            or _is_entered(stack, f"runs-of-{flow_run.flow_name}-{deployment.name}")
            or not _is_another_running(UUID(deployment.id))
        )


def left_out() -> "State[None]":
    """Return how a run ends that met another one of its deployment.

    Not as cancelled: Prefect prints a stack trace for a flow that says so of itself.
    """
    return Completed(name="Left out", message="left out: the run before this one is not over")


def _is_entered(stack: ExitStack, name: str) -> bool:
    """Take the slot until ``stack`` is closed; return whether it was free."""
    if not _has_free_slot(name):
        return False
    slot = concurrency(
        name, max_retries=0, lease_duration=LEASE_S, raise_on_lease_renewal_failure=False
    )
    try:
        stack.enter_context(slot)
    except ConcurrencySlotAcquisitionError as error:  # somebody was faster
        cause = error.__cause__
        if isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code == _TAKEN:
            return False
        raise
    return True


def _has_free_slot(name: str) -> bool:
    """Make the limit where it is not there yet, and look at it: asking for a slot logs errors."""
    with get_client(sync_client=True) as client:
        try:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        except ObjectAlreadyExists:
            found = client.read_global_concurrency_limit_by_name(name)
            return found.active_slots < found.limit
    return True


def _is_another_running(deployment_id: UUID) -> bool:
    states = FlowRunFilterStateType(any_=_UNDER_WAY)
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=states)),
        )
    return any(str(run.id) != flow_run.id for run in found)
