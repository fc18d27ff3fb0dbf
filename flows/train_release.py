"""The flow ``train-release``: dataset, training, evaluation and promotion of a release.

    python -m flows.train_release SETTINGS.json

Every stage can be done again: shards that are there are reused, training goes on from its newest
checkpoint, and a candidate that is in force already is not promoted twice.
"""

from pathlib import Path
from typing import cast

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.artifacts import Teller, key_of, publish_decision, publish_training
from flows.budget import Budget, BudgetFlags
from flows.job_server import JobError, job_server
from flows.notify import notify
from flows.overlap import left_out, sole_run
from flows.program import leave, program, run_program
from flows.ray_jobs import EndedJob
from flows.stages import (
    CHECK_TIMEOUT_S,
    carry_out,
    ray_address,
    retried,
)
from flows.training import Training, load_training, of_week
from flows.work import dataset_work, promotion_work, training_work
from pipelines import dataset as datasets
from pipelines.release_files import resolve_release
from pipelines.train import PAGE, TrainRequest, prepare_training, train_on_ray
from vgen import storage
from vgen.errors import ConfigError
from vgen.models.registry import checked_name, current
from vgen.models.vae_settings import VAE_SIZES
from vgen.records import Record
from vgen.training.dataset import SUMMARY_NAME
from vgen.training.promote import Decision
from vgen.training.settings import TrainSettings, release_uri


class Released(Record):
    """What a flow run returns."""

    release_uri: str
    page_uri: str
    is_promoted: bool
    reasons: tuple[str, ...]


_BUDGET = Budget()


@flow(
    name="train-release",
    flow_run_name="{training.recipe.name} in {training.run}",
    on_completion=[notify],
    on_failure=[notify],
    on_crashed=[notify],
)
def train_release(
    training: Training, address: str = "", budget: Budget = _BUDGET, weekly: bool = False
) -> Released:
    """Train a network on the clips of MATERIAL, and put it in force if it is better.

    A candidate that is refused by its scores completes the run; the reasons are in its artifact.

    Args:
        training: Places and settings.
        address: Of a Ray job server (http://head:8265), or of a Ray; empty for what RAY_ADDRESS
            says, else an embedded Ray.
        budget: When to stop.
        weekly: Train anew each week, of the time the run was scheduled for, in a folder of its
            own below ``training.run``; else what is there goes on, and once finished stays.

    Raises:
        ConfigError, ReleaseError: refused.
        DivergedError: training stopped learning; the last good checkpoint is kept.
        BudgetError: the budget is spent.
        JobError, StorageError: infrastructure failed; the next run goes on.
    """
    deadline_s = budget.deadline_s()
    if weekly:
        training = of_week(training, flow_run.scheduled_start_time)
    with sole_run() as is_sole:
        if not is_sole:
            return cast("Released", left_out())
        return release(training, address, deadline_s)


def release(training: Training, address: str, deadline_s: float | None) -> Released:
    """Do the stages one after the other."""
    check_training(training, address)
    gather(training, address, deadline_s)
    page_uri = train(training, address, deadline_s)
    # Absolute, as a job on the cluster has a folder of its own.
    run = storage.normalize_uri(training.run)
    candidate = release_uri(run, training.recipe, is_perceptual=False)
    reason = in_force(candidate, training)
    if reason is not None:
        return Released(
            release_uri=candidate, page_uri=page_uri, is_promoted=True, reasons=(reason,)
        )
    decision = promote(candidate, training, address, deadline_s)
    return Released(
        release_uri=candidate,
        page_uri=page_uri,
        is_promoted=decision.is_promoted,
        reasons=decision.reasons,
    )


@retried(timeout_s=CHECK_TIMEOUT_S)
def check_training(training: Training, address: str) -> None:
    """Refuse settings and places before anything is read or a cluster is asked."""
    from vgen.training.damages import classes_for  # imports torch, as the next one
    from vgen.training.initial import check_start

    job_server(address)
    _check_promotable(training.recipe)
    check_start(training.recipe)
    run, dataset = (storage.normalize_uri(place) for place in (training.run, training.dataset))
    if storage.contains(dataset, run):
        raise ConfigError(f"the run {run!r} lies in the dataset; choose another folder")
    classes_for(training.recipe.scale, training.evaluation.damages)
    storage.check_reachable(training.place(), writable=True)
    storage.check_reachable(run, writable=True)
    prepared = datasets.prepare(_dataset_request(training, address))
    get_run_logger().info("%d sources of clips listed", len(prepared.jobs))


@retried()
def gather(training: Training, address: str, deadline_s: float | None) -> str:
    """Cut clips out of the material; return the URI of the dataset."""
    place = storage.normalize_uri(training.dataset)

    def inline(teller: Teller) -> str:
        request = _dataset_request(training, address)
        return datasets.build(datasets.prepare(request), say=teller).summary_uri

    def collect(job: EndedJob) -> str:
        summary_uri = storage.join(place, SUMMARY_NAME)
        if not storage.exists(summary_uri):
            raise JobError(f"job {job.submission_id} ended without {summary_uri}")
        return summary_uri

    return carry_out(
        address,
        deadline_s,
        key=f"progress-{key_of(place)}",
        work=lambda: dataset_work(training.material, place, training.selection),
        inline=inline,
        collect=collect,
    )


@retried("gpu")
def train(training: Training, address: str, deadline_s: float | None) -> str:
    """Train, or go on with it; return the URI of the page with the curves."""
    run = storage.normalize_uri(training.run)
    page_uri = storage.join(run, PAGE)

    def inline(teller: Teller) -> str:
        request = TrainRequest(
            data=training.dataset,
            run=run,
            settings=training.recipe,
            address=ray_address(address),
        )
        return train_on_ray(prepare_training(request), say=teller).page_uri

    def collect(job: EndedJob) -> str:
        if job.exit_code:  # 1: training diverged
            raise JobError(f"job {job.submission_id}: {job.last_words}")
        return page_uri

    made = carry_out(
        address,
        deadline_s,
        key=f"progress-{key_of(run)}",
        work=lambda: training_work(training.dataset, run, training.recipe),
        inline=inline,
        collect=collect,
    )
    publish_training(made, [release_uri(run, training.recipe, is_perceptual=False)], run)
    return made


@retried(timeout_s=CHECK_TIMEOUT_S)
def in_force(candidate: str, training: Training) -> str | None:
    """Return why there is nothing to promote, None where there may be."""
    pointer = current(training.place(), training.recipe.name)
    if pointer is None or pointer.sha256 != resolve_release(candidate).digest:
        return None
    return f"{training.recipe.name} is version {pointer.version} already"


@retried("gpu")
def promote(candidate: str, training: Training, address: str, deadline_s: float | None) -> Decision:
    """Score the candidate beside the release in force, and put it in force if it is better."""
    clips = storage.normalize_uri(training.clips or training.dataset)
    registry = training.place()

    def inline(teller: Teller) -> Decision:
        from pipelines.evaluate import run_promotion  # imports torch

        return run_promotion(
            candidate,
            clips,
            name=training.recipe.name,
            registry_uri=registry,
            settings=training.evaluation,
            rules=training.rules,
            is_dry_run=False,
            say=teller,
        )

    decision = carry_out(
        address,
        deadline_s,
        key=f"progress-{key_of(registry)}",
        work=lambda: promotion_work(
            candidate, clips, registry, training.recipe.name, training.evaluation, training.rules
        ),
        inline=inline,
        collect=lambda job: Decision.model_validate_json(job.document),
    )
    publish_decision(decision, registry)
    return decision


def _check_promotable(recipe: TrainSettings) -> None:
    """Refuse a release that could not be promoted, before days are spent on it.

    Raises:
        ConfigError: it would only make clips up.
        ReleaseError: its name cannot stand in a registry.
    """
    checked_name(recipe.name)
    if recipe.is_vae and not VAE_SIZES[recipe.size].is_conditional:
        raise ConfigError(
            f"size {recipe.size!r} makes clips up and restores none, so that nothing could be "
            "promoted; train it with vgen train"
        )


def _dataset_request(training: Training, address: str) -> datasets.Request:
    return datasets.Request(
        source=training.material,
        destination=training.dataset,
        settings=training.selection,
        address=ray_address(address),
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the flow once, from the command line; return its exit status."""
    app = program("flows.train_release")

    @app.default
    def once(
        settings: Path,
        /,
        *,
        address: str = "",
        weekly: bool = False,
        budget: BudgetFlags | None = None,
    ) -> Released:
        """Train as the JSON file SETTINGS says, and put the release in force if it is better."""
        return train_release(
            training=load_training(settings),
            address=address,
            budget=budget or _BUDGET,
            weekly=weekly,
        )

    return run_program(app, arguments)


if __name__ == "__main__":
    leave(main())
