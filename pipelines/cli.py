"""The command line: ``vgen``.

Exit status: 0 all done or already done; 1 finished, some videos failed; 2 refused before
anything was started; 3 stopped by infrastructure, a rerun goes on; 130 interrupted.
"""

import logging
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from cyclopts import App, CycloptsError
from pydantic import ValidationError

from pipelines.commands import archive, dataset, machine, releases
from pipelines.terminal import (
    INTERRUPTED,
    OK,
    REFUSED,
    STOPPED,
    StoppedError,
    console,
    reraise_if_debugging,
    say,
    shown,
    unforeseen,
)
from vgen.config import describe_faults
from vgen.errors import VgenError

app = App(
    name="vgen",
    help="Restore archives of videos with neural networks, frame-exact.",
    result_action="return_value",
    help_on_error=False,
    suppress_keyboard_interrupt=False,  # it would end the process without a word
)
for command in (
    archive.enhance,
    archive.plan,
    archive.status,
    dataset.dataset,
    releases.evaluate,
    releases.promote,
    releases.releases,
    releases.generate,
    machine.probe,
    machine.doctor,
    machine.demo,
):
    app.command(command)
app.command(  # by name, as its flags need torch, which costs seconds
    "pipelines.commands.train:train",
    help="Train a network on DATA, and leave releases, curves and checkpoints in RUN.",
)


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
        cause = error.__cause__
        said = describe_faults(cause) if isinstance(cause, ValidationError) else str(error)
        return _refuse(" ".join(said.split()), REFUSED)
    except VgenError as error:
        reraise_if_debugging()
        return _refuse(str(error), REFUSED)
    except StoppedError as error:
        reraise_if_debugging()
        if told:  # the signal reached Ray's processes as well, and their end came first
            say(f"interrupted; go on with the same command: vgen {shlex.join(tokens)}")
            return INTERRUPTED
        return _refuse(f"{error}; run the same command again to go on", STOPPED)
    except Exception as error:  # noqa: BLE001  a traceback's status would say: some videos failed
        reraise_if_debugging()
        return _refuse(unforeseen(error), STOPPED)


def _refuse(message: str, status: int) -> int:
    console.print(f"vgen: {shown(message)}", markup=False, style="red")
    return status


if __name__ == "__main__":
    sys.exit(main())
