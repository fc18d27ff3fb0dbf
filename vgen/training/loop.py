"""The training run: a budget, a schedule, checkpoints, and a release at the end.

It first learns single frames, then widens the network to its window, which starts as the
single-frame network: a window trained from nothing is worse than none on a small budget.
The learning rate follows the share of the budget that is spent, so that any budget ends
annealed. With a budget in steps the weights depend on the seed alone.
"""

import argparse
import logging
import math
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vgen.errors import ConfigError, VgenError
from vgen.models.generator import SIZES, TemporalUNet, unet_spec
from vgen.models.release import save_release
from vgen.training.clips import CLIPS, STILLS, Material, load_material
from vgen.training.objective import LossWeights
from vgen.training.pool import Batch, ExamplePool, PoolSettings
from vgen.training.state import TrainState
from vgen.training.step import train_step

log = logging.getLogger(__name__)

LOG_EVERY_STEPS = 500
FINAL_SHARE = 0.01
"""The learning rate ends at this share of its peak."""


class TrainSettings(BaseModel):
    """What a person chooses about a training run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "restore-tiny"
    size: str = "tiny"
    seed: int = 0
    steps: int | None = Field(default=None, ge=1)
    """Budget in steps; gives the same weights on every run."""
    seconds: float | None = Field(default=None, gt=0)
    """Budget in seconds of wall clock, time before a resumption included."""
    single_frame_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the budget spent on single frames first."""
    batch: int = Field(default=8, ge=1)
    patch_px: int = Field(default=64, ge=16, multiple_of=8)
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=200, ge=1)
    steps_per_example: float = Field(default=1.0, gt=0)
    """Steps between two examples that enter the pool."""
    workers: int = Field(default=0, ge=0)
    """Processes that make examples; 0 makes them between steps. Does not change the result."""
    checkpoint_every_s: float = Field(default=120.0, gt=0)
    pool: PoolSettings = PoolSettings()
    loss: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _check(self) -> "TrainSettings":
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("give the budget either in steps or in seconds")
        if self.size not in SIZES:
            raise ValueError(f"size {self.size!r} is not one of {', '.join(SIZES)}")
        if self.patch_px > self.pool.side_px:
            raise ValueError(f"{self.patch_px=} must fit into {self.pool.side_px=}")
        return self

    def spent(self, state: TrainState) -> float:
        """Share of the budget that is used up, 0 to 1 and beyond."""
        if self.steps is not None:
            return state.step / self.steps
        assert self.seconds is not None
        return state.elapsed_s / self.seconds


def train(
    material: Material,
    settings: TrainSettings,
    run_path: Path,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Path:
    """Train until the budget is spent; go on from the checkpoint in ``run_path`` if there is one.

    Returns:
        The release made of the averaged weights, ``<name>.safetensors`` in ``run_path``.
    """
    run_path.mkdir(parents=True, exist_ok=True)
    checkpoint_path = run_path / "checkpoint.pt"
    release_path = run_path / f"{settings.name}.safetensors"
    state = _start(settings, checkpoint_path)
    window, widened_at = SIZES[settings.size].window, 0
    saved_at_s = ticked_s = clock()

    def save() -> None:
        state.save(checkpoint_path)
        export(state, settings, material.licences, release_path)

    with ExamplePool(material, settings.pool, seed=settings.seed, workers=settings.workers) as pool:
        while (spent := settings.spent(state)) < 1:
            if spent >= settings.single_frame_share and state.network.settings.window < window:
                log.info("step %d: window widened to %d frames", state.step, window)
                state, widened_at = state.widened(window), state.step
            batch = _draw(pool, settings, state)
            rate = learning_rate(settings, spent, state.step - widened_at)
            losses = train_step(state, batch, settings.loss, learning_rate=rate)
            now_s = clock()
            state.elapsed_s, ticked_s = state.elapsed_s + now_s - ticked_s, now_s
            if state.step % LOG_EVERY_STEPS == 0:
                _log_progress(state, settings, {k: v.item() for k, v in losses.items()}, rate)
            if now_s - saved_at_s >= settings.checkpoint_every_s:
                saved_at_s = now_s
                save()
    save()
    return release_path


def learning_rate(settings: TrainSettings, spent: float, steps_since_start: int) -> float:
    """Cosine over the spent share of the budget, times a linear warm-up."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, spent)))
    warmup = min(1.0, (1 + steps_since_start) / settings.warmup_steps)
    return settings.learning_rate * warmup * (FINAL_SHARE + (1 - FINAL_SHARE) * cosine)


def export(state: TrainState, settings: TrainSettings, licences: Sequence[str], path: Path) -> None:
    """Write the averaged weights as a release that says how they came to be."""
    unet = state.average.settings
    save_release(
        path,
        name=settings.name,
        network=state.average,
        spec=unet_spec(unet),
        settings=unet.to_mapping(),
        provenance={
            "recipe": settings.model_dump(mode="json"),
            "steps": state.step,
            "seconds": round(state.elapsed_s),
            "skipped_steps": int(state.skipped.item()),
            "material": [*STILLS, *CLIPS],
            "licences": list(licences),
            "machine": platform.machine(),
            "torch": torch.__version__,
            "vgen": version("vgen"),
        },
    )


def _start(settings: TrainSettings, checkpoint_path: Path) -> TrainState:
    goal = SIZES[settings.size]
    if checkpoint_path.exists():
        state = TrainState.load(checkpoint_path)
        if replace(state.network.settings, window=goal.window) != goal:
            raise ConfigError(
                f"the checkpoint in {str(checkpoint_path.parent)!r} is not of size "
                f"{settings.size!r}; choose another folder"
            )
        log.info("going on from step %d of %s", state.step, checkpoint_path)
        return state
    torch.manual_seed(settings.seed)
    window = 1 if settings.single_frame_share > 0 else goal.window
    return TrainState.fresh(TemporalUNet(replace(goal, window=window)))


def _draw(pool: ExamplePool, settings: TrainSettings, state: TrainState) -> Batch:
    pool.advance(settings.pool.size + int(state.step / settings.steps_per_example))
    return pool.draw_batch(
        step=state.step,
        batch=settings.batch,
        window=state.network.settings.window,
        patch_px=settings.patch_px,
    )


def _log_progress(
    state: TrainState, settings: TrainSettings, losses: dict[str, float], rate: float
) -> None:
    log.info(
        "step %d, %.0f s, %.1f %% of the budget, %.1f steps/s, pixel %.5f, lr %.2e, skipped %d",
        state.step,
        state.elapsed_s,
        100 * settings.spent(state),
        state.step / state.elapsed_s,
        losses["pixel"],
        rate,
        int(state.skipped.item()),
    )


def main(arguments: list[str] | None = None) -> int:
    """Run from a shell; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vgen.training.loop", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with bsds400_jpg/ and clips/")
    parser.add_argument("run", type=Path, help="folder for checkpoint and release; resumes there")
    parser.add_argument("--seconds", type=float, help="budget in seconds of wall clock")
    parser.add_argument("--steps", type=int, help="budget in steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", default="tiny", choices=sorted(SIZES))
    parser.add_argument("--name", default="restore-tiny")
    parser.add_argument("--workers", type=int, default=0, help="processes that make examples")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(given.threads)
    try:
        settings = TrainSettings(
            name=given.name,
            size=given.size,
            seed=given.seed,
            steps=given.steps,
            seconds=given.seconds,
            workers=given.workers,
        )
        release_path = train(load_material(given.data), settings, given.run)
    except (VgenError, ValueError) as error:
        log.error("%s", error)
        return 2
    log.info("wrote %s", release_path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
