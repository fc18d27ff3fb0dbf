"""Where in its budget a run is: the stage, and the learning rate.

Both follow the share of the budget that is spent, in steps or in seconds, so that any budget
ends annealed. Stages: ``single`` frames first, then the ``window`` of frames, which starts as the
single-frame network (a window trained from nothing is worse than none on a small budget), then
``adversarial``, which anneals on its own; or ``vae`` from first to last.
"""

import math
from typing import Literal

from vgen.training.settings import TrainSettings

Stage = Literal["single", "window", "adversarial", "vae"]

FINAL_SHARE = 0.01
"""The learning rate ends at this share of its peak."""


def stage_at(settings: TrainSettings, spent: float) -> Stage:
    """Return the stage that a step taken at the share ``spent`` of the budget belongs to."""
    if settings.is_vae:
        return "vae"
    pixel_share = 1 - settings.adversarial.share
    if settings.adversarial.share and spent >= pixel_share:
        return "adversarial"
    single_share = 0.0 if settings.start_from else settings.single_frame_share
    return "single" if spent < single_share * pixel_share else "window"


def learning_rate(settings: TrainSettings, spent: float, stage_steps: int) -> float:
    """Return a cosine over the stage's share of the budget, times a linear warm-up.

    Args:
        settings: The recipe.
        spent: Share of the whole budget that is spent.
        stage_steps: Steps since the weights or the optimiser began afresh.
    """
    adversarial = settings.adversarial
    pixel_share = 1 - adversarial.share
    if stage_at(settings, spent) == "adversarial":
        peak, progress = adversarial.learning_rate, (spent - pixel_share) / adversarial.share
    else:
        peak, progress = settings.learning_rate, spent / pixel_share
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    warmup = min(1.0, (1 + stage_steps) / settings.warmup_steps)
    return peak * warmup * (FINAL_SHARE + (1 - FINAL_SHARE) * cosine)


def kl_weight(settings: TrainSettings, spent: float) -> float:
    """Return how much the KL term counts: rises linearly to 1, lest the latents stay unused."""
    share = settings.vae.kl_warmup_share
    return min(1.0, spent / share) if share else 1.0
