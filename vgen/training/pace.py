"""Time in a training run: how much of the budget is spent, and what is due.

The first process reads the clock and tells the others, so that all of them change stages, save
and stop at the same step.
"""

from collections.abc import Callable

import torch

from vgen.training.distributed import Group
from vgen.training.guard import check_progress
from vgen.training.news import Progress
from vgen.training.settings import TrainSettings
from vgen.training.state import TrainState
from vgen.training.step import Losses, Step

TELL_EVERY_STEPS = 10
"""Steps between two looks at the clock where several processes train."""


class Pace:
    """The clock of a run; ``state.elapsed_s`` counts the time before a resumption too."""

    def __init__(
        self,
        settings: TrainSettings,
        group: Group,
        clock: Callable[[], float],
        state: TrainState,
        *,
        log_every_s: float,
    ) -> None:
        self._settings = settings
        self._group = group
        self._clock = clock
        self._log_every_s = log_every_s
        now_s = clock()
        self._began_s = now_s - state.elapsed_s
        self._saved_s = self._told_s = now_s
        self._told_step, self._told_waited_s = state.step, 0.0
        self.is_report_due = self.is_checkpoint_due = False

    def spent(self, state: TrainState) -> float:
        """Return the share of the budget that is used up, 0 to 1 and beyond."""
        if self._settings.steps is not None:
            return state.step / self._settings.steps
        assert self._settings.seconds is not None
        return state.elapsed_s / self._settings.seconds

    def tick(self, state: TrainState) -> None:
        """Bring ``state.elapsed_s`` up to date after a step, and decide what is due."""
        self.is_report_due = self.is_checkpoint_due = False
        if self._group.size > 1 and state.step % TELL_EVERY_STEPS:
            return
        now_s = self._clock()
        is_save_due = now_s - self._saved_s >= self._settings.checkpoint_every_s
        is_report_due = is_save_due or now_s - self._told_s >= self._log_every_s
        elapsed_s, save, report = self._group.told(
            [now_s - self._began_s, float(is_save_due), float(is_report_due)]
        )
        state.elapsed_s = elapsed_s
        self.is_checkpoint_due, self.is_report_due = bool(save), bool(report)
        if save:
            self._saved_s = now_s

    def report(self, state: TrainState, losses: Losses, step: Step, *, waited_s: float) -> Progress:
        """Return what has happened since the last report; all processes call it together.

        Raises:
            DivergedError: too many steps in a row were left out.
        """
        check_progress(state.monitors, step=state.step)
        means = self._group.average(torch.stack(list(losses.values())), share=step.share).tolist()
        spent = self.spent(state)
        steps = state.step - self._told_step
        now_s = self._began_s + state.elapsed_s
        lasted_s = max(now_s - self._told_s, 1e-9)
        progress = Progress(
            step=state.step,
            stage=state.stage,
            spent=spent,
            elapsed_s=state.elapsed_s,
            left_s=state.elapsed_s * max(0.0, 1 - spent) / spent,
            learning_rate=step.learning_rate,
            losses=dict(zip(losses, means, strict=True)) | accuracies(state),
            samples_per_s=steps * self._settings.batch / lasted_s,
            wait_share=min(1.0, (waited_s - self._told_waited_s) / lasted_s),
            skipped=int(state.monitors["skipped"].item()),
        )
        self._told_s, self._told_step, self._told_waited_s = now_s, state.step, waited_s
        return progress


def accuracies(state: TrainState) -> dict[str, float]:
    """Return the running accuracies of the critics that there are."""
    names = [f"{kind}_accuracy" for kind in state.critics]
    return {name: float(state.monitors[name].item()) for name in names}
