"""A flow as a program: the same exit status as ``vgen``, and one sentence where it fails."""

import os
import sys
from typing import NoReturn

import httpx
from cyclopts import App, CycloptsError
from prefect.exceptions import TerminationSignal
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
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

_INTERRUPTED = "interrupted; go on with the same command"


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
    # A temporary server is of this process group: Ctrl-C ends it before the run's end can be
    # told, and asking it again and again would take minutes. Not at all is too seldom: where its
    # database is locked, as in its first seconds on a new machine, it wants to be asked again.
    is_temporary = PREFECT_API_URL.value() is None
    settings = {PREFECT_CLIENT_MAX_RETRIES: 2} if is_temporary else {}
    try:
        with temporary_settings(settings):
            result = app(
                tokens, exit_on_error=False, print_error=False, result_action="return_value"
            )
    except (KeyboardInterrupt, TerminationSignal):
        return _refuse(_INTERRUPTED, INTERRUPTED)
    except httpx.HTTPError as error:
        if not _was_interrupted(error):
            raise
        return _refuse(_INTERRUPTED, INTERRUPTED)
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


def leave(status: int) -> NoReturn:
    """End the process with ``status``."""
    if status == INTERRUPTED:
        # Prefect would wait for ever to deliver events to a temporary server that is gone.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether a signal came first in the chain that led to ``error``."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt | TerminationSignal):
            return True
        error = error.__context__
    return False


def _refuse(message: str, status: int) -> int:
    console.print(f"vgen: {message}", markup=False, style="red")
    return status
