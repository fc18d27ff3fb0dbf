"""Serves the deployments of ``deploy/prefect.yaml`` from one process: no work pool, no worker.

    python -m flows.serve [--file PREFECT.yaml] [--limit N]

Schedules stay as they are when the process ends; runs that were due meanwhile are late, not lost.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml  # type: ignore[import-untyped]
from prefect import Flow, serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron, Schedule
from prefect.types.entrypoint import EntrypointType
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.program import leave, program, run_program
from vgen.config import describe_faults
from vgen.errors import ConfigError

DEPLOYMENTS = Path(__file__).parents[1] / "deploy" / "prefect.yaml"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CronEntry(_Entry):
    """A schedule of a deployment."""

    cron: str
    timezone: str = "UTC"
    active: bool = True


class DeploymentEntry(_Entry):
    """What of an entry of ``prefect.yaml`` holds without a work pool."""

    name: str
    entrypoint: Annotated[str, Field(pattern=r"^[a-z_/]+\.py:[a-z_]+$")]
    description: str | None = None
    tags: list[str] = []
    schedules: list[CronEntry] = []
    concurrency_limit: ConcurrencyLimitConfig | None = None
    parameters: dict[str, Any] = {}

    def flow(self) -> Flow[..., object]:
        """Return the flow of the entrypoint."""
        file, _, name = self.entrypoint.partition(":")
        module = file.removesuffix(".py").replace("/", ".")
        found = getattr(importlib.import_module(module), name)
        if not isinstance(found, Flow):
            raise ConfigError(f"{self.entrypoint} is no flow")
        return found

    def deployment(self) -> RunnerDeployment:
        """Return the deployment as ``serve`` takes it."""
        schedules: list[Schedule] = [
            Cron(one.cron, timezone=one.timezone, active=one.active) for one in self.schedules
        ]
        return self.flow().to_deployment(  # type: ignore[return-value]
            self.name,
            description=self.description,
            tags=self.tags,
            schedules=schedules,
            concurrency_limit=self.concurrency_limit,
            parameters=self.parameters,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )


def read_deployments(path: Path) -> list[DeploymentEntry]:
    """Read the deployments of a ``prefect.yaml``.

    Raises:
        ConfigError: it cannot be read, or an entry lacks something.
    """
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
        return [DeploymentEntry.model_validate(one) for one in listed]
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error}") from error
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{str(path)!r} lists no deployments: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{str(path)!r} is refused: {describe_faults(error)}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return the exit status."""
    app = program("flows.serve")

    @app.default
    def once(*, file: Path = DEPLOYMENTS, limit: int = 1) -> None:
        """Serve the deployments of FILE, LIMIT runs at the same time."""
        deployments = [entry.deployment() for entry in read_deployments(file)]
        serve(*deployments, pause_on_shutdown=False, limit=limit)

    return run_program(app, list(arguments) if arguments is not None else None)


if __name__ == "__main__":
    leave(main())
