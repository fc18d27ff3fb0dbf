"""All that a person chooses about a training run that ends with a release."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from vgen import storage
from vgen.config import describe_faults
from vgen.errors import ConfigError
from vgen.models.registry import registry_uri
from vgen.training.promote import PromotionRules
from vgen.training.scores import EvaluationSettings
from vgen.training.selection import DatasetSettings
from vgen.training.settings import TrainSettings


class Training(BaseModel):
    """All that a training run is made of: places and settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    material: str
    """Folder or s3:// prefix of clean videos and stills."""
    dataset: str
    """Where shards are kept; those of an earlier run are reused."""
    run: str
    """Folder or s3:// prefix of this training run: checkpoints, curves, releases."""
    recipe: TrainSettings
    """The training recipe."""
    registry: str = ""
    """Where the release is promoted; empty for what VGEN_REGISTRY says."""
    clips: str = ""
    """What releases are scored on; empty for the held-out part of the dataset."""
    selection: DatasetSettings = DatasetSettings()
    """Which clips are taken."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How releases are scored."""
    rules: PromotionRules = PromotionRules()
    """What a candidate must reach."""

    def place(self) -> str:
        """Return the registry.

        Raises:
            ConfigError: none is named.
        """
        found = registry_uri(self.registry or None)
        if found is None:
            raise ConfigError("name a registry in the parameter registry or in VGEN_REGISTRY")
        return found


def of_week(training: Training, moment: datetime) -> Training:
    """Return ``training`` with a run folder of its own for the ISO week of ``moment``.

    A run that was interrupted goes on in the same week, and the next week begins a new one.
    """
    year, week, _ = moment.isocalendar()
    run = storage.join(storage.normalize_uri(training.run), f"{year}-W{week:02d}")
    return training.model_copy(update={"run": run})


def load_training(path: Path) -> Training:
    """Read the parameter ``training`` of the flow from a JSON file.

    Raises:
        ConfigError: it cannot be read, or a field is refused.
    """
    try:
        return Training.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{str(path)!r} is refused: {describe_faults(error)}") from error
