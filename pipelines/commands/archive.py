"""Commands about an archive: ``enhance``, ``plan``, ``status``."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pipelines.context import Topology
from pipelines.terminal import OK, SOME_FAILED, console, guarded, print_document, say
from pipelines.wording import counted
from vgen.config import Recipe, load_recipe
from vgen.errors import ConfigError
from vgen.records import RunReport

RecipeFlags = Annotated[Recipe | None, Parameter(name="*", group="Recipe")]


def enhance(
    source: str,
    destination: str,
    /,
    *,
    recipe: Path | None = None,
    address: str | None = None,
    span_frames: int | None = None,
    overwrite: bool = False,
    registry: str | None = None,
    json: bool = False,
    settings: RecipeFlags = None,
) -> int:
    """Restore every video under SOURCE and publish it under DESTINATION.

    Run the same command again after any interruption: finished work is not done twice.

    Parameters
    ----------
    source:
        A file, folder, glob, s3://bucket/prefix, or a .txt/.csv/.parquet listing of URIs.
    destination:
        A folder or s3:// prefix, outside of SOURCE.
    recipe:
        A TOML file of settings; flags below override it.
    address:
        local, auto, host:port or ray://...; default: RAY_ADDRESS if set, else local.
    span_frames:
        Advanced: upper bound of frames a span; a video of no more frames is one span.
    overwrite:
        Replace files in DESTINATION that vgen did not publish.
    registry:
        Folder or s3:// prefix of promoted releases; default: VGEN_REGISTRY.
    json:
        Print the report as JSON on stdout.
    """
    from pipelines.run import Request, execute, prepare

    request = Request(
        source=source,
        destination=destination,
        recipe=_recipe(recipe, settings),
        address=address,
        span_frames=_positive("--span-frames", span_frames),
        is_overwrite=overwrite,
        topology=_topology(),
        registry=registry,
    )
    prepared = prepare(request)
    finished = guarded(lambda: execute(prepared, say=say))
    if finished.num_reused:
        say(f"{counted(finished.num_reused, 'finished chunk')} reused, {finished.num_made} made")
    _conclude(finished.report, json=json)
    say(f"report: {finished.page_uri}")
    return SOME_FAILED if finished.report.totals.failed else OK


def plan(
    source: str,
    destination: str,
    /,
    *,
    recipe: Path | None = None,
    address: str | None = None,
    span_frames: int | None = None,
    overwrite: bool = False,
    registry: str | None = None,
    json: bool = False,
    settings: RecipeFlags = None,
) -> int:
    """Say what ``enhance`` would do: videos, frames, spans, what is skipped or refused.

    Parameters
    ----------
    source:
        As for enhance.
    destination:
        As for enhance; nothing is written there.
    recipe:
        A TOML file of settings; flags below override it.
    address:
        As for enhance.
    span_frames:
        Advanced: upper bound of frames a span.
    overwrite:
        As for enhance.
    registry:
        As for enhance.
    json:
        Print the plan as JSON on stdout.
    """
    from pipelines.dry_run import dry_run, show_plan
    from pipelines.listing import describe_passed_over
    from pipelines.run import Request, idle_settings

    request = Request(
        source=source,
        destination=destination,
        recipe=_recipe(recipe, settings),
        address=address,
        span_frames=_positive("--span-frames", span_frames),
        is_overwrite=overwrite,
        registry=registry,
    )
    outlook = dry_run(request, guarded=guarded)
    for line in (*idle_settings(request.recipe), *describe_passed_over(outlook.passed_over)):
        say(line)
    if json:
        print_document(outlook.model_dump_json(indent=2))
    else:
        show_plan(outlook, console)
    return SOME_FAILED if outlook.failed else OK


def status(destination: str, /, *, json: bool = False) -> int:
    """Show the newest run's state from its objects alone, also while it runs elsewhere.

    Parameters
    ----------
    destination:
        Where the run publishes.
    json:
        Print the state as JSON on stdout.
    """
    from pipelines.status import read_status, show_status

    state = read_status(destination)
    if json:
        print_document(state.model_dump_json(indent=2))
    else:
        show_status(state, console)
    return SOME_FAILED if state.failed else OK


def _recipe(path: Path | None, flags: Recipe | None) -> Recipe:
    return load_recipe(path, flags.model_dump(exclude_unset=True) if flags else None)


def _topology() -> Topology | None:
    """Read the override that benchmarks and tests use."""
    match os.environ.get("VGEN_TOPOLOGY"):
        case None | "":
            return None
        case "fused":
            return "fused"
        case "staged":
            return "staged"
        case other:
            raise ConfigError(f"VGEN_TOPOLOGY must be fused or staged, got {other!r}")


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ConfigError(f"{name} must be at least 1, got {value}")
    return value


def _conclude(report: RunReport, *, json: bool) -> None:
    from pipelines.report import totals_table

    if json:
        print_document(report.model_dump_json(indent=2))
    else:
        console.print(totals_table(report))
    for video in report.videos:
        if video.error is not None:
            say(f"failed in {video.error.stage}: {video.error.message}")
