"""A budget ends a run, and says so."""

import time

import pytest
from pydantic import ValidationError

from flows.budget import Budget, BudgetError, until


def test_no_budget_has_no_deadline():
    assert Budget().deadline_s() is None
    with until(None):
        pass


def test_a_deadline_is_so_many_hours_away():
    before_s = time.monotonic()
    deadline_s = Budget(hours=2).deadline_s()
    assert deadline_s is not None
    assert before_s + 7200 <= deadline_s <= time.monotonic() + 7200


def test_what_takes_longer_is_interrupted():
    def work() -> None:
        with until(time.monotonic() + 0.2):
            while True:
                time.sleep(0.01)

    with pytest.raises(BudgetError, match="the budget is spent; the next run goes on"):
        work()


def test_what_comes_too_late_does_not_begin():
    began = []
    with pytest.raises(BudgetError, match="the budget is spent"), until(time.monotonic() - 1):
        began.append(1)
    assert began == []


def test_what_is_in_time_is_left_alone():
    with until(time.monotonic() + 3600):
        done = True
    assert done


@pytest.mark.parametrize("hours", [0, -1])
def test_an_empty_budget_is_refused(hours):
    with pytest.raises(ValidationError, match="greater than 0"):
        Budget(hours=hours)
