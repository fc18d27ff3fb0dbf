"""Where a bad file becomes a failed row, and nothing else does."""

import contextlib
import faulthandler
import logging
from collections.abc import Iterator

from vgen.errors import MediaError, UnforeseenError
from vgen.records import Fault

log = logging.getLogger(__name__)

# Past its limit a stage is asked to stop between two frames; a call into a codec that never
# returns can only be ended with its process, which the attempt count then sees.
HANG_GRACE_S = 120.0
_MISTAKES = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
_LONGEST_S = 1e9  # thirty years; a clock takes no infinity, which a recipe may ask for


def fault_of(stage: str, error: MediaError) -> Fault:
    """Describe ``error`` for the report."""
    return Fault(stage=stage, kind=type(error).__name__, message=str(error))


@contextlib.contextmanager
def isolated(uri: str) -> Iterator[None]:
    """Turn what nobody foresaw into a fault of the file at ``uri``; its trace goes to the log.

    An archive of thousands holds what no test did, and that should cost one video, not the night.
    What the machine or the network is at fault for passes: it would meet the next video as well.

    Raises:
        UnforeseenError: in place of what a mistake in the code raises.
    """
    try:
        yield
    except _MISTAKES as error:
        log.exception("while working on %s", uri)
        told = " ".join(str(error).split())
        raise UnforeseenError(
            f"{type(error).__name__}: {told}; this is a fault of vgen, please report it", uri=uri
        ) from error


@contextlib.contextmanager
def process_ends_after(seconds: float) -> Iterator[None]:
    """End this worker process, with a stack trace, if the body is not done in time.

    Not reentrant: one guarded body a process at a time.
    """
    # A descriptor, because sys.stderr may be replaced by something without one.
    faulthandler.dump_traceback_later(min(seconds, _LONGEST_S), exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
