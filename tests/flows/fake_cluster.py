"""A job server in memory: what ``run_job`` asks of one, under a test's control."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from flows.job_server import JobInterruptedError, JobState, attempt_of
from flows.work import Work


@dataclass(slots=True, kw_only=True)
class FakeServer:
    """Keeps jobs and plays a script: each look at a living job takes one step of it."""

    script: list[Callable[["FakeServer", str], None]] = field(default_factory=list)
    jobs: dict[str, JobState] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    submitted: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    stop_fault: Exception | None = None

    def newest(self, work: Work) -> JobState | None:
        ours = [job for job in self.jobs.values() if attempt_of(job.submission_id, work)]
        living = [job for job in ours if job.is_living]
        return max(living or ours, key=lambda job: job.submission_id, default=None)

    def submit(self, work: Work, submission_id: str, owner: str) -> None:
        self.submitted.append(submission_id)
        self.put(submission_id, status="RUNNING", owner=owner)

    def state(self, submission_id: str) -> JobState | None:
        if self.script:
            self.script.pop(0)(self, submission_id)
        return self.jobs.get(submission_id)

    def log(self, submission_id: str) -> str:
        return self.logs.get(submission_id, "")

    def stop(self, submission_id: str) -> None:
        self.stopped.append(submission_id)
        if self.stop_fault is not None:
            raise self.stop_fault

    def put(
        self, submission_id: str, *, status: str, owner: str = "", code: int | None = None
    ) -> None:
        """Put a job there."""
        self.jobs[submission_id] = JobState(
            submission_id=submission_id, status=status, exit_code=code, message="", owner=owner
        )


def says(text: str) -> Callable[[FakeServer, str], None]:
    """The job prints ``text``."""

    def step(server: FakeServer, submission_id: str) -> None:
        server.logs[submission_id] = server.logs.get(submission_id, "") + text

    return step


def ends(status: str, code: int | None) -> Callable[[FakeServer, str], None]:
    """The job ends."""

    def step(server: FakeServer, submission_id: str) -> None:
        job = server.jobs[submission_id]
        server.jobs[submission_id] = replace(job, status=status, exit_code=code)

    return step


def is_away(server: FakeServer, submission_id: str) -> None:
    """The server does not answer."""
    raise JobInterruptedError("no job server answers")


def loses_it(server: FakeServer, submission_id: str) -> None:
    """The cluster has restarted and knows nothing."""
    server.jobs.clear()


def interrupts(error: BaseException) -> Callable[[FakeServer, str], None]:
    """Whoever waits is interrupted."""

    def step(server: FakeServer, submission_id: str) -> None:
        raise error

    return step
