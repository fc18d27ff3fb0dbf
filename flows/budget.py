"""What a scheduled run may take, and how long it may be at it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter
from prefect.utilities.timeout import timeout
from pydantic import BaseModel, ConfigDict, Field


class BudgetError(TimeoutError):
    """The budget of a run is spent; the next run goes on."""


class Budget(BaseModel):
    """What a run may take before it is stopped; the next run goes on from there."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    hours: Annotated[float | None, Field(gt=0)] = None
    """Wall clock from the start of the flow; empty for no limit."""

    def deadline_s(self) -> float | None:
        """Return when a run that starts at this moment must end, as ``time.monotonic`` counts."""
        return None if self.hours is None else time.monotonic() + 3600 * self.hours


BudgetFlags = Annotated[Budget, Parameter(group="Budget")]


@contextmanager
def until(deadline_s: float | None) -> Iterator[None]:
    """Run the body until ``deadline_s``, a ``time.monotonic``, at the longest.

    What does not return to Python is interrupted in the main thread only, and there only where
    nobody else has set an alarm.

    Raises:
        BudgetError: the time is over.
    """
    if deadline_s is None:
        yield
        return
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise BudgetError("the budget is spent; the next run goes on")
    try:
        with timeout(seconds=left_s, timeout_exc_type=BudgetError):
            yield
    except BudgetError as error:
        raise BudgetError("the budget is spent; the next run goes on") from error
