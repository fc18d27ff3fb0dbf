"""What every command says, and how its end becomes an exit status.

Progress and messages go to stderr; a command's one JSON document goes to stdout.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from rich.console import Console

from pipelines.scratch import scratch
from vgen.errors import ConfigError, ReleaseError, VgenError

OK, SOME_FAILED, REFUSED, STOPPED, INTERRUPTED = 0, 1, 2, 3, 130

console = Console(stderr=True, highlight=False, soft_wrap=True)

T = TypeVar("T")

# All of C0 and C1 but tabs and the ends of lines.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class StoppedError(Exception):
    """Infrastructure stopped the run after it had started; a rerun goes on."""


def say(line: str) -> None:
    """Print a line for people on stderr."""
    console.print(f"vgen: {shown(line)}", markup=False)


def shown(text: str) -> str:
    """Return ``text`` without what would command a terminal: a file's name may hold anything."""
    return _COMMANDS.sub(lambda match: repr(match[0])[1:-1], text)


def print_document(document: str) -> None:
    """Write a command's result to stdout."""
    sys.stdout.write(f"{document}\n")
    sys.stdout.flush()


def guarded(work: Callable[[], T]) -> T:
    """Run what has side effects; from here on, whatever stops it means status 3."""
    try:
        with _native_messages_aside():
            return work()
    except (StoppedError, KeyboardInterrupt):
        raise
    except VgenError as error:
        # Ray raises what a worker raised as an error of both kinds.
        if isinstance(error, ConfigError | ReleaseError) and not _is_rays(error):
            raise
        raise StoppedError(_sentence(error)) from error
    except Exception as error:
        # What nobody foresaw stops the run as well, and 1 would say that it had finished.
        raise StoppedError(unforeseen(error)) from error


def unforeseen(error: Exception) -> str:
    """Say in a sentence what stopped a command that no error of vgen's own did."""
    is_rays = _is_rays(error)
    told = "Ray stopped the run: " if is_rays else f"stopped by {type(error).__name__}: "
    remedy = "" if is_rays or isinstance(error, OSError) else " (VGEN_DEBUG=1 shows where)"
    return f"{_sentence(error, told)}{remedy}"


def _is_rays(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0] == "ray"


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
        os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace") as for_people,
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


def reraise_if_debugging() -> None:
    """Show the whole traceback of the error at hand where VGEN_DEBUG=1 asks for it."""
    if os.environ.get("VGEN_DEBUG") == "1":
        raise
