"""What a run leaves in its folder: only its first process writes, and all hear of a failure.

Order of writing: curves, pictures and release first, the checkpoint last, so that whoever goes on
from a checkpoint finds at least what led to it.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Self

from vgen import storage
from vgen.training.checkpoint_files import CHECKPOINTS
from vgen.training.checkpoints import save_checkpoint
from vgen.training.clips import Material
from vgen.training.distributed import Group
from vgen.training.export import export
from vgen.training.guard import check_score
from vgen.training.journal import Journal
from vgen.training.news import News, Progress, Score
from vgen.training.settings import TrainSettings
from vgen.training.state import TrainState
from vgen.training.validation import Validation

log = logging.getLogger(__name__)


class Keeper:
    """Scores, saves and publishes a run; a context manager.

    Args:
        held_back: What checkpoints are scored on.
        settings: The recipe.
        run_uri: Folder or prefix of the run.
        group: Who trains; all of them make the same calls.
        licences: Of all the material.
        step: That the run goes on from.
        tell: Told of progress and scores, in the first process.
    """

    def __init__(
        self,
        held_back: Material,
        settings: TrainSettings,
        run_uri: str,
        group: Group,
        *,
        licences: Sequence[str],
        step: int,
        tell: Callable[[News], None],
    ) -> None:
        self._settings = settings
        self._run_uri = run_uri
        self._group = group
        self._licences = licences
        self._tell = tell
        self._saved_step: int | None = step or None
        self._stack = ExitStack()
        self._journal: Journal | None = None
        self._validation: Validation | None = None

        def prepare() -> bytes:
            self._journal = self._stack.enter_context(Journal(run_uri, step=step))
            self._validation = Validation(held_back, settings)
            return b""

        group.by_first(prepare)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def report(self, progress: Progress) -> None:
        """Pass progress on, and take it down for the curves."""
        if self._journal is not None:
            self._journal.add(progress.row())
            self._tell(progress)

    def settle(self, state: TrainState) -> float:
        """Score and publish what a stage made that another one starts from.

        Returns:
            Its score, in every process.
        """
        score = 0.0

        def work() -> bytes:
            nonlocal score
            score = self._scored(state).score
            check_score(score, None, max_loss_db=0, step=state.step)
            export(state, self._settings, self._licences, self._run_uri)
            return b""

        self._group.by_first(work)
        return self._group.told([score])[0]

    def checkpoint(self, state: TrainState) -> None:
        """Score, publish and save the state.

        Raises:
            DivergedError: the score has fallen too far.
            StorageError: something cannot be written; older checkpoints are kept.
        """

        def work() -> bytes:
            assert self._journal is not None
            score = self._scored(state).score
            limit_db = self._settings.adversarial.max_loss_db
            check_score(score, state.reference_db, max_loss_db=limit_db, step=state.step)
            self._journal.publish()
            export(state, self._settings, self._licences, self._run_uri)
            folder_uri = storage.join(self._run_uri, CHECKPOINTS)
            save_checkpoint(folder_uri, state, self._settings, score=score)
            return b""

        self._group.by_first(work)
        self._saved_step = state.step

    def finish(self, state: TrainState) -> None:
        """Save the end of the run; a run that had ended only gets what is missing."""
        if self._saved_step != state.step:
            self.checkpoint(state)
            return

        def work() -> bytes:
            export(state, self._settings, self._licences, self._run_uri)
            return b""

        self._group.by_first(work)

    def _scored(self, state: TrainState) -> Score:
        assert self._validation is not None
        assert self._journal is not None
        score = self._validation.score(state.average)
        row = {f"validation/{key}": v for key, v in asdict(score).items() if v is not None}
        self._journal.add({"step": state.step, "stage": state.stage, **row})
        picture = self._validation.picture(state.average)
        self._journal.add_picture(picture, step=state.step)
        self._tell(score)
        return score
