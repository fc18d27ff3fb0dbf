"""The command about training: ``train``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pipelines.terminal import OK, SOME_FAILED, console, guarded, print_document, say
from pipelines.train import Trained, TrainRequest, prepare_training, train_on_ray
from vgen.training.guard import DivergedError
from vgen.training.settings import TrainFlags, load_train_recipe

RecipeFlags = Annotated[TrainFlags | None, Parameter(name="*", group="Training recipe")]


def train(
    data: str,
    run: str,
    /,
    *,
    recipe: Path | None = None,
    workers: int | None = None,
    min_workers: int | None = None,
    processes: int | None = None,
    address: str | None = None,
    log_every_s: float = 10.0,
    json: bool = False,
    settings: RecipeFlags = None,
) -> int:
    """Train a network on DATA, and leave releases, curves and checkpoints in RUN.

    Run the same command again after any interruption: it goes on from the newest checkpoint.
    Exit status 1: training diverged; the last good checkpoint is kept.

    Parameters
    ----------
    data:
        What ``vgen dataset`` made of stills and clips, or a copy of vgen's own training folder.
    run:
        A folder or s3:// prefix that all nodes reach, outside of DATA.
    recipe:
        A TOML file of the training recipe; flags below override it.
    workers:
        Processes that train together, each on a GPU where there are any; default: one a GPU.
    min_workers:
        Go on with as few as this where nodes are lost, and with more again when they are back.
    processes:
        Beside each worker, that make examples; default: one for each of its further CPUs.
    address:
        local, auto, host:port or ray://...; default: RAY_ADDRESS if set, else local.
    log_every_s:
        Seconds between two lines of progress.
    json:
        Print the URIs of what was made as JSON on stdout.
    """
    flags = settings.model_dump(exclude_unset=True) if settings else None
    request = prepare_training(
        TrainRequest(
            data=data,
            run=run,
            settings=load_train_recipe(recipe, flags),
            workers=workers,
            min_workers=min_workers,
            processes=processes,
            address=address,
            log_every_s=log_every_s,
        )
    )

    def attempt() -> Trained | DivergedError:
        try:
            return train_on_ray(request, say=say)
        except DivergedError as error:  # not for ``guarded``: a rerun would not go on
            return error

    trained = guarded(attempt)
    if isinstance(trained, DivergedError):
        console.print(f"vgen: {trained}", markup=False, style="red")
        return SOME_FAILED
    if json:
        print_document(trained.model_dump_json(indent=2))
    for uri in trained.release_uris:
        say(f"release: {uri}")
    say(f"curves and samples: {trained.page_uri}")
    return OK
