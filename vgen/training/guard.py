"""When a step is left out, and when training has failed.

All numbers judged here are averages over the group, so that every process comes to the same
conclusion. They stay on the device: whether a step counts is decided without the host.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from vgen.errors import VgenError

SPIKE = 10.0
"""A gradient norm this many times the median of the last ``HISTORY`` is left out."""
HISTORY = 64
MIN_HISTORY = 16
"""Norms that must be known before one can be called a spike."""
MAX_SKIPPED_IN_A_ROW = 50

ACCURACY_MEMORY = 0.99
"""Share of the running accuracy of a critic that one step leaves in place."""
ACCURACY_RANGE = (0.55, 0.95)
"""Outside, a critic tells the generator nothing, or learns nothing from it."""


class DivergedError(VgenError):
    """Training stopped learning; the last checkpoint from before is kept."""


def new_monitors(device: torch.device) -> dict[str, Tensor]:
    """Return what guards remember: counts, recent norms, running accuracies of the critics."""
    return {
        "skipped": torch.zeros((), device=device),
        "skipped_in_a_row": torch.zeros((), device=device),
        "norms": torch.full((HISTORY,), torch.nan, device=device),
        "image_accuracy": torch.full((), 0.5, device=device),
        "temporal_accuracy": torch.full((), 0.5, device=device),
    }


def judge_norm(monitors: Mapping[str, Tensor], norm: Tensor) -> Tensor:
    """Return 1.0 where the step with this gradient norm must change nothing, else 0.0.

    That is one that is not finite, or a spike. Updates ``monitors`` in place.
    """
    norms = monitors["norms"]
    median = norms.nanmedian()
    is_known = norms.isfinite().sum() >= MIN_HISTORY
    is_broken = ~norm.isfinite() | (is_known & (norm > SPIKE * median))
    # A spike enters as what is just still allowed: where norms grow for good, the median follows.
    entering = torch.where(is_known, norm.clamp(max=SPIKE * median), norm)
    norms.copy_(torch.cat((norms[1:], torch.where(norm.isfinite(), entering, torch.nan)[None])))
    broken = is_broken.float()
    monitors["skipped"].add_(broken)
    monitors["skipped_in_a_row"].add_(1).mul_(broken)
    return broken


def judge_accuracy(running: Tensor, accuracy: Tensor) -> Tensor:
    """Return 1.0 where a critic is so far ahead that it must wait for the generator, else 0.0.

    Updates ``running``, the moving average of its accuracy, in place.
    """
    running.lerp_(accuracy.to(running), 1 - ACCURACY_MEMORY)
    return (running > ACCURACY_RANGE[1]).float()


def check_progress(monitors: Mapping[str, Tensor], *, step: int) -> None:
    """Read the counts from the device; call it now and then.

    Raises:
        DivergedError: too many steps in a row were left out.
    """
    in_a_row = int(monitors["skipped_in_a_row"].item())
    if in_a_row >= MAX_SKIPPED_IN_A_ROW:
        raise DivergedError(
            f"training diverged by step {step}: the last {in_a_row} steps had gradients that were "
            "not finite or far too large; the last checkpoint is from before; lower learning_rate "
            "and start in another folder"
        )


def check_score(score: float, reference_db: float | None, *, max_loss_db: float, step: int) -> None:
    """Judge a validation score; compare that of the adversarial stage with the pixel stage's.

    Args:
        score: Of the weights that are about to be saved.
        reference_db: Score that the adversarial stage began with; None in other stages.
        max_loss_db: How far it may fall below that.
        step: For the message.

    Raises:
        DivergedError: it is not finite, or has fallen too far.
    """
    if not math.isfinite(score):
        raise DivergedError(
            f"training diverged by step {step}: validation gave {score}; the last "
            "checkpoint is from before; lower learning_rate and start in another folder"
        )
    if reference_db is not None and score < reference_db - max_loss_db:
        raise DivergedError(
            f"the adversarial stage diverged by step {step}: validation fell from "
            f"{reference_db:.2f} to {score:.2f} dB; lower adversarial.learning_rate or the "
            "adversarial weights"
        )
