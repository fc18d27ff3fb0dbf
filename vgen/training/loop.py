"""The training run: a budget, stages, checkpoints, and releases at the end.

Knows processes that train together, through ``Group``, and nothing of who started them. With a
budget in steps the weights depend on recipe and material alone: not on the number of processes,
up to rounding, nor on interruptions.

A run's folder or prefix holds ``checkpoints/``, ``curves.jsonl``, ``events/``, ``pictures/`` and
``<name>.safetensors``; after the adversarial stage also ``<name>-perceptual.safetensors``.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from vgen import storage
from vgen.errors import VgenError
from vgen.models.ladder import Vae
from vgen.models.unet_settings import SIZES
from vgen.training.checkpoint_files import CHECKPOINTS, list_checkpoints
from vgen.training.checkpoints import from_bytes
from vgen.training.clips import Material, load_material
from vgen.training.distributed import Group
from vgen.training.duel import adversarial_step, critics_of
from vgen.training.feed import Feed, View
from vgen.training.initial import initial_network
from vgen.training.keeper import Keeper
from vgen.training.news import Begun, News
from vgen.training.pace import Pace
from vgen.training.schedule import kl_weight, learning_rate, stage_at
from vgen.training.settings import TrainSettings, load_train_recipe
from vgen.training.state import TrainState
from vgen.training.step import Step, pixel_step, vae_step, whole_groups
from vgen.training.validation import split_material

log = logging.getLogger(__name__)

STEPS = {
    "single": pixel_step, "window": pixel_step, "adversarial": adversarial_step, "vae": vae_step,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one process trains; does not change what comes out, up to rounding."""

    run_uri: str
    """Folder or prefix of the run."""
    group: Group = field(default_factory=Group)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    processes: int = 0
    """Make examples beside this one; 0 leaves it to a thread."""
    log_every_s: float = 10.0
    """Seconds between two progress reports."""


def train(
    material: Material,
    settings: TrainSettings,
    place: Place,
    *,
    tell: Callable[[News], None] = lambda news: None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Train until the budget is spent; go on from the newest checkpoint of the run, if any.

    Every process of the group calls this with the same material and settings.

    Args:
        material: What is learned from; some of it is held back to score checkpoints.
        settings: The recipe.
        place: Where.
        tell: Told of progress now and then, by the first process of the group.
        clock: Seconds from any start.

    Raises:
        ReleaseError: the newest checkpoint is damaged, or of another recipe or version.
        DivergedError: training stopped learning; the last checkpoint is kept.
        StorageError: something could not be read or written; the last checkpoint is kept.
        ValueError: there are more workers than samples in a step.
    """
    lanes = place.group.lanes(settings.batch)
    learned, held_back = split_material(material)
    state = start(settings, place)
    if place.group.rank == 0:
        tell(Begun(step=state.step, workers=place.group.size, device=place.device.type))
    with (
        Keeper(
            held_back,
            settings,
            place.run_uri,
            place.group,
            licences=material.licences,
            step=state.step,
            tell=tell,
        ) as keeper,
        Feed(
            learned,
            settings.pool,
            seed=settings.seed,
            lanes=lanes,
            num_lanes=settings.batch,
            steps_per_example=settings.steps_per_example,
            processes=place.processes,
        ) as feed,
    ):
        pace = Pace(settings, place.group, clock, state, log_every_s=place.log_every_s)
        while (spent := pace.spent(state)) < 1:
            enter_stage(state, settings, spent, keeper)
            step = Step(
                settings=settings,
                group=place.group,
                lanes=lanes,
                learning_rate=learning_rate(settings, spent, state.stage_step),
                kl_weight=kl_weight(settings, spent),
            )
            samples = feed.take(state.step, view_of(state, settings))
            losses = STEPS[state.stage](state, *samples.floats(place.device), step)
            state.step += 1
            state.stage_step += 1
            pace.tick(state)
            if pace.is_report_due:
                keeper.report(pace.report(state, losses, step, waited_s=feed.waited_s))
            if pace.is_checkpoint_due:
                keeper.checkpoint(state)
        keeper.finish(state)


def start(settings: TrainSettings, place: Place) -> TrainState:
    """Return the state of the newest checkpoint, or that of a run that has not begun.

    The first process reads it and tells the others, who may not see the same disk.
    """
    folder_uri = storage.join(place.run_uri, CHECKPOINTS)
    name = ""

    def newest() -> bytes:
        nonlocal name
        found = list_checkpoints(folder_uri)
        if not found:
            return b""
        name = storage.name_of(found[-1].uri)
        return storage.read_bytes(found[-1].uri)

    content = place.group.by_first(newest)
    if content:
        state = from_bytes(content, settings, name=name or "of the run", device=place.device)
        return state
    torch.manual_seed(settings.seed)
    stage = stage_at(settings, 0)
    network = initial_network(settings, place.group, is_single_frame=stage == "single")
    return TrainState.fresh(network.to(place.device), stage)


def enter_stage(state: TrainState, settings: TrainSettings, spent: float, keeper: Keeper) -> None:
    """Bring the networks to the stage that the spent share of the budget asks for."""
    stage = stage_at(settings, spent)
    if stage == state.stage:
        return
    log.info("step %d: stage %s begins", state.step, stage)
    if state.stage == "single":
        state.widen(SIZES[settings.size].window)
    if stage == "adversarial":
        state.reference_db = keeper.settle(state)
        # Critics start from the same weights in every process.
        torch.manual_seed(settings.seed + 1)
        chosen = settings.adversarial
        state.begin_adversarial(chosen.channels, critics_of(chosen))


def view_of(state: TrainState, settings: TrainSettings) -> View:
    """Return what of an example the stage's step looks at."""
    if isinstance(state.network, Vae):
        frames = whole_groups(state.network, settings.pool.frames)
        return View(inputs=frames, outputs=frames, patch_px=settings.patch_px)
    has_motion = state.stage == "adversarial" or settings.structure.temporal > 0
    outputs = 3 if has_motion else 1
    window = state.network.settings.window
    return View(inputs=window + outputs - 1, outputs=outputs, patch_px=settings.patch_px)


def log_news(news: News) -> None:
    """Write news to the log, one line each."""
    log.info("%s", news.line())


def main(arguments: list[str] | None = None) -> int:
    """Train in this process alone, from a shell; returns the exit status.

    ``vgen train`` does the same with any number of workers.
    """
    parser = argparse.ArgumentParser(prog="python -m vgen.training.loop", description=__doc__)
    parser.add_argument("data", help="a dataset, or a folder with stills and clips")
    parser.add_argument("run", help="folder or prefix of the run; goes on there")
    parser.add_argument("--recipe", type=Path, help="TOML file")
    parser.add_argument("--seconds", type=float, help="budget in seconds of wall clock")
    parser.add_argument("--steps", type=int, help="budget in steps")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--size")
    parser.add_argument("--name")
    parser.add_argument("--processes", type=int, default=0, help="that make examples")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(given.threads)
    flags = {key: getattr(given, key) for key in ("seconds", "steps", "seed", "size", "name")}
    try:
        place = Place(
            run_uri=storage.normalize_uri(given.run),
            device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            processes=given.processes,
        )
        settings = load_train_recipe(
            given.recipe, {key: value for key, value in flags.items() if value is not None}
        )
        material = load_material(given.data, frames=settings.pool.frames)
        train(material, settings, place, tell=log_news)
    except VgenError as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
