"""A flow as a program: the same exit status as ``vgen``, and one sentence where it fails."""

import sys

from cyclopts import App, CycloptsError
from pydantic import BaseModel

from flows.budget import BudgetError
from flows.job_server import JobError
from pipelines.terminal import (
    INTERRUPTED,
    OK,
    REFUSED,
    SOME_FAILED,
    STOPPED,
    console,
    print_document,
    reraise_if_debugging,
)
from vgen.errors import ConfigError, ReleaseError, VgenError


class TooManyFailedError(Exception):
    """A larger share of videos failed than the recipe allows."""


def program(module: str) -> App:
    """Return an empty command line for ``python -m`` of that module."""
    return App(
        name=f"python -m {module}",
        help_on_error=False,
        suppress_keyboard_interrupt=False,  # it would end the process without a word
    )


def run_program(app: App, arguments: list[str] | None) -> int:
    """Run ``app`` and return the exit status; its result goes to stdout as JSON."""
    tokens = sys.argv[1:] if arguments is None else arguments
    try:
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except KeyboardInterrupt:
        return _refuse("interrupted; go on with the same command", INTERRUPTED)
    except CycloptsError as error:
        return _refuse(" ".join(str(error).split()), REFUSED)
    except TooManyFailedError as error:
        return _refuse(str(error), SOME_FAILED)
    except (ConfigError, ReleaseError) as error:
        reraise_if_debugging()
        return _refuse(str(error), REFUSED)
    except (VgenError, JobError, BudgetError) as error:
        reraise_if_debugging()
        return _refuse(f"{error}; run the same command again to go on", STOPPED)
    if isinstance(result, BaseModel):
        print_document(result.model_dump_json(indent=2))
    return OK


def _refuse(message: str, status: int) -> int:
    console.print(f"vgen: {message}", markup=False, style="red")
    return status
