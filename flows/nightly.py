"""The flow ``nightly``: restore what is new or changed, and retrain once a week where asked for.

A night without a new video costs a listing of source and manifests. A video that failed is tried
again each night, as what it failed of may be gone; that costs a short job. Which release a name in
the recipe stands for is looked up each night: after a promotion all videos are restored again.
"""

from typing import Literal, cast

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.budget import Budget
from flows.enhance_library import Enhanced, enhance_library
from flows.notify import notify
from flows.overlap import left_out, sole_run
from flows.train_release import train_release
from flows.training import Training, of_week
from vgen.config import Recipe

Weekday = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_RECIPE = Recipe()
_BUDGET = Budget()


@flow(name="nightly", on_completion=[notify], on_failure=[notify], on_crashed=[notify])
def nightly(
    source: str,
    destination: str,
    recipe: Recipe = _RECIPE,
    address: str = "",
    budget: Budget = _BUDGET,
    registry: str = "",
    training: Training | None = None,
    retrain_on: Weekday | None = None,
) -> Enhanced:
    """Restore what is new or changed; on one day of the week, train a release before that.

    Where training fails, the videos are restored with the release in force, and then the run
    fails with training's reason.

    Args:
        source: As for enhance-library.
        destination: As for enhance-library.
        recipe: As for enhance-library; name the release that ``training`` makes, to use it.
        address: As for enhance-library.
        budget: For training and for restoring, each.
        registry: As for enhance-library.
        training: As for train-release; each week gets a folder below ``training.run``.
        retrain_on: The day, of the time the run was scheduled for, in UTC; none: never.

    Raises:
        Exception: what ``enhance_library`` or ``train_release`` raise.
    """
    with sole_run() as is_sole:
        if not is_sole:
            return cast("Enhanced", left_out())
        trained = None
        scheduled = flow_run.scheduled_start_time
        if training is not None and _WEEKDAYS[scheduled.weekday()] == retrain_on:
            get_run_logger().info("it is %s: training first", retrain_on)
            trained = train_release(
                training=of_week(training, scheduled),
                address=address,
                budget=budget,
                return_state=True,
            )
        enhanced = enhance_library(
            source=source,
            destination=destination,
            recipe=recipe,
            address=address,
            budget=budget,
            registry=registry,
        )
        if trained is not None and not trained.is_completed():
            trained.result()  # raises what training failed with
        return enhanced
