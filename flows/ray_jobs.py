"""Jobs of a Ray cluster: one a piece of work at a time, watched to its end, stopped with its flow.

A job's id is derived from its work and an attempt number. Who wants some work done looks for a
job that does it already and waits for that one. So a retry, the next run, or a run after the
flow's process was killed does not start a second job beside a living one. When the wait is cut
short (cancelled, out of time), the job is stopped, unless it is kept by another run: one that
started it and is not over.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from flows.job_server import JobError, JobInterruptedError, JobServer, JobState, attempt_of
from flows.work import PYTHON_VARIABLE, Work

POLL_S = 3.0
"""Between two looks at a job that has been watched for a minute or more."""
MIN_POLL_S = 0.5
_POLL_SHARE = POLL_S / 60.0
"""Of the time a job has been watched: the end of a short one is not noticed late."""
PATIENCE_S = 120.0
"""How long a job server may be away while a job is watched: a head node that restarts."""
_REFUSED_CODE = 2
_INTERRUPTED_CODE = 130
_NO_PROGRAM_CODES = (126, 127)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJob:
    """A job whose command came to its own end."""

    submission_id: str
    exit_code: int
    """0, or 1 where a part failed."""
    log: str
    """All that it printed."""
    is_joined: bool
    """Whether it lived when it was looked for: what came after it began, it may not have seen."""

    @property
    def last_words(self) -> str:
        """What it said last."""
        return last_words_of(self.log)

    @property
    def document(self) -> str:
        """The JSON document that the command printed.

        Raises:
            JobError: it printed none.
        """
        start = self.log.find("\n{\n") + 1 if not self.log.startswith("{\n") else 0
        try:
            _, length = json.JSONDecoder().raw_decode(self.log[start:])
        except ValueError as error:
            raise JobError(
                f"job {self.submission_id} ended without a result: {self.last_words}"
            ) from error
        return self.log[start : start + length]


def run_job(
    server: JobServer,
    work: Work,
    *,
    owner: str,
    say: Callable[[str], None],
    is_kept: Callable[[str], bool],
    poll_s: float = POLL_S,
) -> EndedJob:
    """Have ``work`` done by a job and wait for its end.

    Args:
        server: Of the cluster.
        work: What to do.
        owner: The try of a flow run; a job that it started and that has finished is not repeated.
        say: Told the lines that the command says.
        is_kept: Whether the flow run of an owner is another one, and not over.
        poll_s: Most seconds between two looks at the job; it begins with fewer.

    Raises:
        JobInterruptedError: cluster or network failed; doing it again goes on.
        JobError: refused, or stopped by somebody else.
    """
    found = server.newest(work)
    is_ours = found is not None and found.owner == owner and found.finished_code is not None
    is_joined = found is not None and found.is_living and found.owner != owner
    if found is not None and (found.is_living or is_ours):
        submission_id = found.submission_id
        say(f"job {submission_id} does this already; waiting for it")
    else:
        attempt = 1 + ((attempt_of(found.submission_id, work) or 0) if found else 0)
        submission_id = f"{work.key}-{attempt}"
        say(f"job {submission_id} begins")
    try:
        if found is None or submission_id != found.submission_id:
            server.submit(work, submission_id, owner)
        state, log = _watch(server, submission_id, say, poll_s)
    except JobError:
        raise
    except BaseException:  # a signal, Ctrl-C, a deadline
        if found is not None and is_joined and is_kept(found.owner):
            say(f"job {submission_id} goes on: the run that started it is not over")
        else:  # nobody would look after it
            _stop(server, submission_id, say)
        raise
    return EndedJob(
        submission_id=submission_id, exit_code=_judged(state, log), log=log, is_joined=is_joined
    )


def _stop(server: JobServer, submission_id: str, say: Callable[[str], None]) -> None:
    """Stop a job, and say so if that cannot be done: why the wait was cut short matters more."""
    try:
        server.stop(submission_id)
    except JobError as error:
        say(f"job {submission_id} may still run; the next run finds it: {error}")


def _watch(
    server: JobServer, submission_id: str, say: Callable[[str], None], poll_s: float
) -> tuple[JobState, str]:
    """Return how a job ended and all that it printed."""
    told = 0
    silent_since_s: float | None = None
    began_s = time.monotonic()
    while True:
        try:
            state = server.state(submission_id)
            log = server.log(submission_id)
        except JobInterruptedError:
            silent_since_s = silent_since_s or time.monotonic()
            if time.monotonic() - silent_since_s > PATIENCE_S:
                raise
            time.sleep(poll_s)
            continue
        silent_since_s = None
        if state is None:
            raise JobInterruptedError(f"the cluster has lost job {submission_id}: it restarted")
        whole = log if not state.is_living else log[: log.rfind("\n") + 1]
        for line in whole[told:].splitlines():
            if line.startswith("vgen: "):
                say(line.removeprefix("vgen: "))
        told = len(whole)
        if not state.is_living:
            return state, log
        time.sleep(pause_s(time.monotonic() - began_s, poll_s))


def pause_s(watched_s: float, poll_s: float = POLL_S) -> float:
    """Return the time until the next look at a job that has been watched for ``watched_s``."""
    return min(poll_s, max(MIN_POLL_S, _POLL_SHARE * watched_s))


def _judged(state: JobState, log: str) -> int:
    code = state.finished_code
    if code is not None:
        return code
    last = last_words_of(log or state.message)
    name = f"job {state.submission_id}"
    if state.exit_code == _REFUSED_CODE:
        raise JobError(f"{name} was refused: {last}")
    if state.exit_code in _NO_PROGRAM_CODES:
        raise JobError(f"{name} found no Python; set {PYTHON_VARIABLE} to the cluster's: {last}")
    if state.status == "STOPPED" or state.exit_code == _INTERRUPTED_CODE:
        raise JobError(f"{name} was stopped; the next run goes on")
    raise JobInterruptedError(f"{name} failed: {last}")


def last_words_of(log: str) -> str:
    """Return the last line that a command said, or else printed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = [line.removeprefix("vgen: ") for line in lines if line.startswith("vgen: ")]
    return (said or lines or ["nothing"])[-1]
