"""The command line: ``vgen``.

Progress and messages go to stderr; with ``--json`` the one JSON document of the result goes to
stdout. Exit status: 0 all done or already done; 1 finished, some videos failed; 2 refused before
anything was started; 3 stopped by infrastructure, a rerun goes on; 130 interrupted.
"""

import contextlib
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn, TypeVar

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from pipelines.context import Topology
from pipelines.scratch import scratch
from vgen.config import Recipe, load_recipe
from vgen.errors import ConfigError, ReleaseError, VgenError
from vgen.records import RunReport

OK, SOME_FAILED, REFUSED, STOPPED, INTERRUPTED = 0, 1, 2, 3, 130

app = App(
    name="vgen",
    help="Restore archives of videos with neural networks, frame-exact.",
    result_action="return_value",
    help_on_error=False,
    suppress_keyboard_interrupt=False,  # it would end the process without a word
)
console = Console(stderr=True, highlight=False, soft_wrap=True)

T = TypeVar("T")
RecipeFlags = Annotated[Recipe | None, Parameter(name="*", group="Recipe")]


class StoppedError(Exception):
    """Infrastructure stopped the run after it had started; a rerun goes on."""


@app.command
def enhance(
    source: str,
    destination: str,
    /,
    *,
    recipe: Path | None = None,
    address: str | None = None,
    span_frames: int | None = None,
    overwrite: bool = False,
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
        Advanced: upper bound of frames a span.
    overwrite:
        Replace files in DESTINATION that vgen did not publish.
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
    )
    prepared = prepare(request)
    finished = _guarded(lambda: execute(prepared, say=say))
    if finished.num_reused:
        say(f"{finished.num_reused} finished chunks reused, {finished.num_made} made")
    _conclude(finished.report, json=json)
    say(f"report: {finished.page_uri}")
    return SOME_FAILED if finished.report.totals.failed else OK


@app.command
def plan(
    source: str,
    destination: str,
    /,
    *,
    recipe: Path | None = None,
    address: str | None = None,
    span_frames: int | None = None,
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
    json:
        Print the plan as JSON on stdout.
    """
    from pipelines.dry_run import dry_run, show_plan
    from pipelines.run import Request

    request = Request(
        source=source,
        destination=destination,
        recipe=_recipe(recipe, settings),
        address=address,
        span_frames=_positive("--span-frames", span_frames),
    )
    outlook = dry_run(request, guarded=_guarded)
    if json:
        _print(outlook.model_dump_json(indent=2))
    else:
        show_plan(outlook, console)
    return SOME_FAILED if outlook.failed else OK


@app.command
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
        _print(state.model_dump_json(indent=2))
    else:
        show_status(state, console)
    return SOME_FAILED if state.failed else OK


@app.command
def probe(file: str, /, *, json: bool = False) -> int:
    """Show what vgen sees in a file: streams, timeline, colour, and what it would do.

    Parameters
    ----------
    file:
        A path or URI.
    json:
        Print the facts as JSON on stdout.
    """
    from pipelines.inspection import inspect_file, show_inspection

    facts = inspect_file(file)
    if json:
        _print(facts.model_dump_json(indent=2))
    else:
        show_inspection(facts, console)
    return OK


@app.command
def doctor(*, storage: str | None = None) -> int:
    """Check this machine: one line each, with the remedy.

    Parameters
    ----------
    storage:
        A folder or s3:// prefix that should be reachable and writable.
    """
    from pipelines.doctor import examine

    findings = examine(storage)
    for finding in findings:
        mark = "[green]ok  [/]" if finding.is_fine else "[red]FAIL[/]"
        console.print(f"{mark} {finding.name}: ", end="")
        console.print(finding.message, markup=False)
    return OK if all(finding.is_fine for finding in findings) else SOME_FAILED


@app.command
def demo(*, output: Path = Path("demo-out")) -> int:
    """Enhance real sample clips, with no services, and measure what it did.

    Parameters
    ----------
    output:
        Folder for the enhanced clips and the report.
    """
    from pipelines.demo import run_demo

    return _guarded(lambda: run_demo(output, say=say))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; no traceback unless VGEN_DEBUG=1."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    # What warnings say is in the report, or in the sentence a command ends with.
    level = logging.WARNING if os.environ.get("VGEN_DEBUG") == "1" else logging.ERROR
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    told: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        told.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)  # `ray job stop` and schedulers send this one
    try:
        return int(app(tokens, exit_on_error=False, print_error=False) or OK)
    except KeyboardInterrupt:
        say(f"interrupted; go on with the same command: vgen {shlex.join(tokens)}")
        return INTERRUPTED
    except CycloptsError as error:
        return _refuse(" ".join(str(error).split()), REFUSED)
    except VgenError as error:
        _reraise_if_debugging()
        return _refuse(str(error), REFUSED)
    except StoppedError as error:
        _reraise_if_debugging()
        if told:  # the signal reached Ray's processes as well, and their end came first
            say(f"interrupted; go on with the same command: vgen {shlex.join(tokens)}")
            return INTERRUPTED
        return _refuse(f"{error}; run the same command again to go on", STOPPED)


def say(line: str) -> None:
    """Print a line for people on stderr."""
    console.print(f"vgen: {line}", markup=False)


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


def _guarded(work: Callable[[], T]) -> T:
    """Run what has side effects; from here on, faults of the infrastructure mean status 3."""
    try:
        with _native_messages_aside():
            return work()
    except (ConfigError, ReleaseError, KeyboardInterrupt):
        raise
    except VgenError as error:
        raise StoppedError(_sentence(error)) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] != "ray":
            raise
        raise StoppedError(_sentence(error, "Ray stopped the run: ")) from error


@contextlib.contextmanager
def _native_messages_aside() -> Iterator[None]:
    """Keep what C++ libraries print (Ray warns of every actor that may restart) off the screen."""
    if os.environ.get("VGEN_DEBUG") == "1":
        yield
        return
    python_stderr, descriptor = sys.stderr, os.dup(2)
    with (
        scratch("messages") as folder,
        (folder / "native.log").open("wb") as aside,
        os.fdopen(os.dup(2), "w", buffering=1) as for_people,
    ):
        python_stderr.flush()
        sys.stderr = for_people
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr = python_stderr
            os.dup2(descriptor, 2)
            os.close(descriptor)


def _sentence(error: BaseException, otherwise: str = "") -> str:
    """Return what one of our errors says at the end of a chain of tracebacks.

    Of another error, return the last line, after the words ``otherwise``.
    """
    chain = str(error).split("direct cause of the following exception:")
    # The last link of what a worker raises is Ray Data's advice about retries.
    told = [link for link in chain if "UserCodeException" not in link] or chain
    lines = [line.strip() for line in told[-1].splitlines()]
    lines = [line for line in lines if line and not line.startswith("The above exception was")]
    last = lines[-1] if lines else type(error).__name__
    is_own = last.startswith("vgen.errors.")
    return last.partition(": ")[2] if is_own else f"{otherwise}{last}"


def _conclude(report: RunReport, *, json: bool) -> None:
    from pipelines.report import totals_table

    if json:
        _print(report.model_dump_json(indent=2))
    else:
        console.print(totals_table(report))
    for video in report.videos:
        if video.error is not None:
            say(f"failed in {video.error.stage}: {video.error.message}")


def _print(document: str) -> None:
    sys.stdout.write(f"{document}\n")
    sys.stdout.flush()


def _refuse(message: str, status: int) -> int:
    console.print(f"vgen: {message}", markup=False, style="red")
    return status


def _reraise_if_debugging() -> None:
    if os.environ.get("VGEN_DEBUG") == "1":
        raise


if __name__ == "__main__":
    sys.exit(main())
