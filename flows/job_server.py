"""The job server of a Ray cluster, and what it and the network refuse.

The cluster's address and token come from ``RAY_ADDRESS``, ``RAY_AUTH_MODE`` and
``RAY_AUTH_TOKEN``; nothing of the environment is sent along with a job, as nodes have their own.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pipelines
from flows.work import Work
from vgen.errors import ConfigError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

STOP_PATIENCE_S = 12.0
"""How long a job gets to end after it was told to; Ray kills it after 3 s."""
REQUEST_TIMEOUT_S = 60.0
"""How long a server may be silent after a question; networks swallow packets."""

_SHIPPED = ("vgen", "pipelines")
_FINISHED_CODES = (0, 1)


class JobError(Exception):
    """A job could not be run, or did not end well; doing it again would not help."""


class JobInterruptedError(JobError):
    """The cluster failed the job; doing it again goes on from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job at a moment."""

    submission_id: str
    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    exit_code: int | None
    message: str
    owner: str
    """The try of a flow run that started it: its id and number, with a slash between."""

    @property
    def is_living(self) -> bool:
        """Whether it runs or is about to."""
        return self.status in ("PENDING", "RUNNING")

    @property
    def finished_code(self) -> int | None:
        """Exit status of a command that came to its own end, 1 where a part failed, else None."""
        has_ended = self.status in ("SUCCEEDED", "FAILED")
        return self.exit_code if has_ended and self.exit_code in _FINISHED_CODES else None


def job_server(address: str) -> str | None:
    """Return the URL of the job server that ``address`` means, None where it means another Ray.

    Args:
        address: Of a job server (``http://head:8265``) or a Ray, or empty for what
            ``RAY_ADDRESS`` says.

    Raises:
        ConfigError: ``RAY_ADDRESS`` says something else, which Ray would follow silently.
    """
    meant = address or os.environ.get("RAY_ADDRESS", "")
    if not meant.startswith(("http://", "https://")):
        return None
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        other = os.environ.get(name) or meant
        if other.rstrip("/") != meant.rstrip("/"):
            raise ConfigError(
                f"address {meant!r} and {name} {other!r} differ; unset {name}, or leave the "
                "address empty"
            )
    return meant.rstrip("/")


class JobServer:
    """The job server of one cluster; what it and the network refuse becomes a ``JobError``."""

    def __init__(self, url: str) -> None:
        """Ask for nothing yet."""
        self._url = url
        self._client: object = None

    def newest(self, work: Work) -> JobState | None:
        """Return the living job of that work, else its latest attempt, else None."""
        jobs = [job for job in self._all() if attempt_of(job.submission_id, work) is not None]
        living = [job for job in jobs if job.is_living]
        return max(
            living or jobs, key=lambda job: attempt_of(job.submission_id, work) or 0, default=None
        )

    def submit(self, work: Work, submission_id: str, owner: str) -> None:
        """Start a job; where one of that id is there already, that is as good."""
        runtime_env = shipped_code()
        run, _, count = owner.partition("/")
        metadata = {"vgen_work": work.key, "flow_run_id": run, "flow_run_count": count}
        try:
            self._call(
                "submit_job",
                entrypoint=work.entrypoint,
                submission_id=submission_id,
                runtime_env=runtime_env,
                metadata=metadata,
            )
        except JobError:
            if self.state(submission_id) is None:
                raise

    def state(self, submission_id: str) -> JobState | None:
        """Return how a job is, None where the server knows of none."""
        try:
            return _state(cast("JobDetails", self._call("get_job_info", submission_id)))
        except _UnknownJobError:
            return None

    def log(self, submission_id: str) -> str:
        """Return all that a job has printed so far."""
        try:
            return str(self._call("get_job_logs", submission_id))
        except _UnknownJobError:
            return ""

    def stop(self, submission_id: str, *, pause_s: float = 0.5) -> None:
        """Stop a job if it lives, and wait for its end.

        Raises:
            JobInterruptedError: it may live on, as the server does not answer or does not stop it.
        """
        end_s = time.monotonic() + STOP_PATIENCE_S
        is_told = False
        fault = JobInterruptedError(f"job {submission_id} does not stop")
        while time.monotonic() < end_s:
            try:
                if not is_told:
                    self._call("stop_job", submission_id)
                    is_told = True
                state = self.state(submission_id)
                if state is None or not state.is_living:
                    return
            except _UnknownJobError:
                return
            except JobInterruptedError as error:  # a head that restarts: it may be back in time
                fault = error
            time.sleep(pause_s)
        raise fault

    def _all(self) -> list[JobState]:
        jobs = cast("list[JobDetails]", self._call("list_jobs"))
        return [_state(job) for job in jobs if job.submission_id]

    def _call(self, name: str, *arguments: object, **named: object) -> object:
        from ray.exceptions import AuthenticationError

        try:
            if self._client is None:
                self._client = _client(self._url)
            return getattr(self._client, name)(*arguments, **named)
        except AuthenticationError as error:
            raise JobError(
                f"the job server at {self._url} refused the token; set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN to the cluster's"
            ) from error
        except OSError as error:  # of requests too: no connection, or one that broke
            raise JobInterruptedError(
                f"no job server answers at {self._url}; start the cluster, or check the address"
            ) from error
        except RuntimeError as error:
            if "status code 404" in str(error):
                raise _UnknownJobError(str(error)) from error
            raise JobInterruptedError(f"the job server at {self._url}: {error}") from error


def _client(url: str) -> object:
    """Return Ray's client, with the time limit that it lacks."""
    from ray.job_submission import JobSubmissionClient

    class Impatient(JobSubmissionClient):
        def _do_request(self, *arguments: Any, **named: Any) -> Any:
            return super()._do_request(*arguments, timeout=REQUEST_TIMEOUT_S, **named)

    return Impatient(url)


class _UnknownJobError(JobInterruptedError):
    """The server knows of no such job."""


def shipped_code() -> dict[str, object]:
    """Return the part of a job's environment that carries this code, and nothing else.

    Of an installed package nothing is sent: then the cluster's image has it as well.
    """
    root = Path(pipelines.__file__).parents[1]
    if not (root / "pyproject.toml").is_file():
        return {}
    return {
        "py_modules": [str(root / name) for name in _SHIPPED],
        "excludes": ["__pycache__"],
    }


def attempt_of(submission_id: str, work: Work) -> int | None:
    """Return the number of the attempt at ``work`` that the job is, None if it is another's."""
    start, _, number = submission_id.rpartition("-")
    return int(number) if start == work.key and number.isdigit() else None


def _state(job: "JobDetails") -> JobState:
    metadata = job.metadata or {}
    return JobState(
        submission_id=str(job.submission_id),
        status=str(job.status.value),
        exit_code=job.driver_exit_code,
        message=str(job.message or ""),
        owner="/".join(metadata.get(key, "") for key in ("flow_run_id", "flow_run_count")),
    )
