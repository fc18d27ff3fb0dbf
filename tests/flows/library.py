"""An archive on S3, and what Prefect and Ray know of the runs over it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import Artifact, FlowRun, State, StateType
from prefect.client.schemas.sorting import LogSort
from prefect.deployments import run_deployment
from ray.job_submission import JobDetails

from tests.flows.stand import Stand, wait_for
from tests.media_factory import run_ffmpeg
from vgen import storage
from vgen.manifest import runs_prefix
from vgen.records import RunReport

DEPLOYMENT = "enhance-library/enhance-library"


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One archive and its destination."""

    stand: Stand
    place: str
    """URI that holds it."""

    @property
    def source(self) -> str:
        return f"{self.place}/in"

    @property
    def destination(self) -> str:
        return f"{self.place}/out"

    def add(self, name: str, path: Path) -> None:
        storage.publish(path, f"{self.source}/{name}", remove_source=False)

    def parameters(self, **recipe: object) -> dict[str, Any]:
        return {
            "source": self.source,
            "destination": self.destination,
            "recipe": {"release": "identity", **recipe},
        }

    def begin(self, parameters: dict[str, Any], name: str = DEPLOYMENT) -> FlowRun:
        """Create a run of a deployment."""
        return run_deployment(name, parameters=parameters, timeout=0)

    def run(self, parameters: dict[str, Any]) -> FlowRun:
        """Run the deployment to its end."""
        return self.end(self.begin(parameters).id)

    def end(self, run_id: UUID) -> FlowRun:
        """Wait until a run has ended."""
        wait_for(lambda: self.look(run_id).state.is_final(), f"run {run_id}")
        return self.look(run_id)

    def look(self, run_id: UUID) -> FlowRun:
        with client() as prefect:
            return prefect.read_flow_run(run_id)

    def cancel(self, run_id: UUID) -> None:
        """Ask for a run's end, as Prefect's page and command line do."""
        with client() as prefect:
            prefect.set_flow_run_state(run_id, State(type=StateType.CANCELLING))

    def artifacts(self, run_id: UUID) -> list[Artifact]:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        with client() as prefect:
            return prefect.read_artifacts(artifact_filter=wanted)

    def logs(self, run_id: UUID) -> list[str]:
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
        with client() as prefect:
            found = prefect.read_logs(log_filter=wanted, limit=200, sort=LogSort.TIMESTAMP_ASC)
        return [one.message for one in found]

    def wait_for_line(self, run_id: UUID, line: str) -> None:
        """Wait until a run's log on the server holds a line; it comes there after the run's end."""
        wait_for(lambda: line in self.logs(run_id), repr(line), patience_s=60)

    def jobs(self) -> list[JobDetails]:
        """All jobs over this archive, by their id."""
        # Without Ray's client, which keeps the settings of whoever used it first in a process.
        jobs = [JobDetails(**one) for one in self.stand.ask_ray("/api/jobs/").json()]
        ours = [job for job in jobs if job.submission_id and f"{self.place}/" in job.entrypoint]
        return sorted(ours, key=lambda job: str(job.submission_id))

    def reports(self) -> list[RunReport]:
        """The reports of all runs, oldest first."""
        uris = [one.uri for one in storage.list_objects(runs_prefix(self.destination))]
        return [
            RunReport.model_validate_json(storage.read_bytes(uri))
            for uri in sorted(uris)
            if uri.endswith("/report.json")
        ]

    def plans(self) -> int:
        """Count the runs that have listed the source and written down what they will do."""
        uris = [one.uri for one in storage.list_objects(runs_prefix(self.destination))]
        return sum(uri.endswith("/plan.parquet") for uri in uris)

    def published(self) -> list[str]:
        """Names of the videos that are there."""
        uris = [one.uri for one in storage.list_objects(self.destination)]
        names = [storage.relative_to(uri, self.destination) for uri in uris]
        return sorted(name for name in names if not name.startswith("_vgen/"))


def client() -> SyncPrefectClient:
    """Return a client of the server that the environment names."""
    return get_client(sync_client=True)


def wait_for_job(library: Library) -> JobDetails:
    """Wait until a job over the archive runs; return it."""
    wait_for(lambda: any(job.status.value == "RUNNING" for job in library.jobs()), "a running job")
    return next(job for job in library.jobs() if job.status.value == "RUNNING")


def add_many(library: Library, folder: Path, count: int, seconds: int = 3) -> None:
    """Put ``count`` clips into the archive that take a while to enhance."""
    path = folder / "clip.mp4"
    run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size=128x96:rate=25:duration={seconds}",
        "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-threads", "1", path,
    )  # fmt: skip
    for number in range(count):
        library.add(f"{number:02d}.mp4", path)
