"""A piece of work for a cluster: a command of ``vgen``, and what makes two of them the same."""

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from pipelines.run import Prepared
from vgen import storage
from vgen.models.registry import registry_uri

if TYPE_CHECKING:  # they load torch, which the flow that enhances does without
    from vgen.training.promote import PromotionRules
    from vgen.training.scores import EvaluationSettings
    from vgen.training.selection import DatasetSettings
    from vgen.training.settings import TrainSettings

PYTHON_VARIABLE = "VGEN_JOB_PYTHON"
"""Names the interpreter on the cluster; ``python`` where it is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a job does. Holds no secret: it is shown in Ray's and Prefect's pages."""

    command: str
    """enhance, dataset, train or promote."""
    arguments: tuple[str, ...]
    """Of that command."""
    identity: tuple[str, ...]
    """What decides its result; two works that agree in it are never done at the same time."""

    @property
    def key(self) -> str:
        """What the ids of all jobs that do this work begin with."""
        text = "\n".join((self.command, *self.identity))
        return f"vgen-{self.command}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def entrypoint(self) -> str:
        """Shell command that does it on a cluster."""
        python = os.environ.get(PYTHON_VARIABLE) or "python"
        return shlex.join((python, "-m", "pipelines.cli", self.command, *self.arguments))


def enhance_work(prepared: Prepared) -> Work:
    """Return the work of enhancing what ``prepared`` found, for any machine that reaches it."""
    request = prepared.request
    recipe, release = request.recipe, prepared.release
    if "/" in recipe.release or recipe.release.endswith(".safetensors"):
        recipe = recipe.model_copy(update={"release": release.location})
    source = storage.normalize_uri(request.source)
    registry = registry_uri(request.registry)
    places = ["--registry", registry] if registry else []
    overwrite = ["--overwrite"] if request.is_overwrite else []
    return Work(
        command="enhance",
        arguments=(source, prepared.destination, *places, *overwrite, *flags_of(recipe)),
        identity=(source, prepared.destination, recipe.digest(), release.digest),
    )


def dataset_work(material: str, dataset: str, settings: "DatasetSettings") -> Work:
    """Return the work of gathering clips."""
    source = storage.normalize_uri(material)
    return Work(
        command="dataset",
        arguments=(source, dataset, *flags_of(settings)),
        identity=(source, dataset, settings.digest()),
    )


def training_work(dataset: str, run: str, settings: "TrainSettings") -> Work:
    """Return the work of training, or of going on with it."""
    data = storage.normalize_uri(dataset)
    identity = json.dumps(settings.identity(), sort_keys=True)
    return Work(
        command="train",
        arguments=(data, run, *flags_of(settings)),
        identity=(data, run, identity),
    )


def promotion_work(
    candidate: str,
    clips: str,
    registry: str,
    name: str,
    settings: "EvaluationSettings",
    rules: "PromotionRules",
) -> Work:
    """Return the work of scoring a candidate and putting it in force if it is better."""
    places = ("--clips", clips, "--registry", registry, "--name", name)
    choices = (*flags_of(settings), *flags_of(rules))
    return Work(
        command="promote",
        arguments=(candidate, *places, "--json", *choices),
        identity=(candidate, *places, *choices),
    )


def flags_of(settings: BaseModel) -> list[str]:
    """Spell settings that differ from their defaults as flags of the command line.

    Raises:
        ValueError: one is None where the default is not, which no flag can say.
    """
    return list(_flags("", settings.model_dump(mode="json", exclude_defaults=True)))


def _flags(prefix: str, table: Mapping[str, object]) -> Iterator[str]:
    for field, value in table.items():
        name = field.replace("_", "-")
        if isinstance(value, Mapping):
            yield from _flags(f"{prefix}{name}.", value)
        elif isinstance(value, list):
            yield from (f"--{prefix}{name}={one}" for one in value)
            if not value:
                yield f"--{prefix}empty-{name}"
        elif value is None:
            raise ValueError(f"no flag can say that {prefix}{field} is empty")
        else:
            yield f"--{prefix}{name}={str(value).lower() if isinstance(value, bool) else value}"
