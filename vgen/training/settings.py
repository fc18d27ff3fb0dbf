"""What a person chooses about a training run: the training recipe.

Everything here may change the weights that come out. What only changes how fast they come
(workers, processes that make examples, places) is not here, and a run may go on with other
values of it.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vgen import storage
from vgen.config import describe_faults
from vgen.errors import ConfigError
from vgen.models.release import MAX_NAME_LENGTH
from vgen.models.unet_settings import SIZES
from vgen.models.vae_settings import VAE_SIZES, VaeSettings
from vgen.training.choices import (
    FREE_NATS,
    PENALTY_EVERY,
    WARMUP_SHARE,
    GanKind,
    LossWeights,
    PoolSettings,
)

_PERCEPTUAL = "-perceptual"
# The rule of releases, looked at before anything is trained. There is room for the suffix also
# where there is no adversarial stage, so that one can be added to a recipe.
_MAX_NAME_LENGTH = MAX_NAME_LENGTH - len(_PERCEPTUAL)
_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{_MAX_NAME_LENGTH}}}")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class StructureWeights(_Settings):
    """What counts beside single pixels; 0 leaves a term out."""

    fft: Annotated[float, Field(ge=0)] = 0.0
    """L1 distance of spectra."""
    sobel: Annotated[float, Field(ge=0)] = 0.0
    """L1 distance of the edges of luma."""
    temporal: Annotated[float, Field(ge=0)] = 0.0
    """L1 distance of the changes from frame to frame; needs three outputs a sample."""
    low_pass: Annotated[float, Field(ge=0)] = 0.0
    """L1 distance of 8 x 8 means: holds colours where a critic pulls at them."""
    features: Annotated[float, Field(ge=0)] = 0.0
    """L1 distance of the critics' inner activations; adversarial stage only."""
    perceptual: Annotated[float, Field(ge=0)] = 0.0
    """L1 distance of what the pixel stage's encoder sees; adversarial stage only."""


class AdversarialSettings(_Settings):
    """The stage that trades a little fidelity for texture; starts from the pixel stage's average.

    The weights are those of a network without a pretrained perceptual term, which bears about
    a tenth of the adversarial weight that Real-ESRGAN (Wang et al. 2021) uses.
    """

    share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Last share of the budget that is spent on it; 0 leaves it out."""
    loss: GanKind = "rpgan"
    """rpgan: relativistic pairing; ns: non-saturating; hinge."""
    image_weight: Annotated[float, Field(ge=0)] = 5e-3
    """Of the critic that sees single frames."""
    temporal_weight: Annotated[float, Field(ge=0)] = 2e-3
    """Of the critic that sees three frames and their differences."""
    channels: Annotated[int, Field(ge=4, le=128)] = 16
    """Width of both critics: 16 for tiny networks, 48 for base."""
    penalty: Annotated[float, Field(ge=0)] = 1.0
    """Gamma of the gradient penalties R1 and R2 (Mescheder et al. 2018) on mean logits."""
    penalty_every: Annotated[int, Field(ge=1)] = PENALTY_EVERY
    """Steps between two penalties, each of which counts that many times (lazy regularisation)."""
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    """Steps that only the critics learn in, at the start of the stage."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Peak of generator and critics in this stage."""
    structure: StructureWeights = StructureWeights(
        fft=0.05, sobel=0.1, temporal=0.5, low_pass=0.5, features=0.2, perceptual=0.1
    )
    """Terms beside the pixel losses in this stage."""
    max_loss_db: Annotated[float, Field(gt=0)] = 1.5
    """Training stops where the validation PSNR falls this far below the pixel stage's."""

    @model_validator(mode="after")
    def _check(self) -> "AdversarialSettings":
        if self.share and not self.image_weight and not self.temporal_weight:
            raise ValueError(
                f"share={self.share} needs a critic: an image_weight or a temporal_weight above 0"
            )
        return self


class VaeTraining(_Settings):
    """What only a VAE needs."""

    kl_warmup_share: Annotated[float, Field(ge=0, lt=1)] = WARMUP_SHARE
    """First share of the budget over which the KL term grows to its full weight."""
    free_nats: Annotated[float, Field(ge=0)] = FREE_NATS
    """Nats a latent dimension may hold before the KL term counts (Kingma et al. 2016)."""


class TrainFlags(_Settings):
    """The fields of the training recipe, each checked on its own: what flags are made of."""

    name: str = "restore-tiny"
    """Of the release that comes out: letters, digits, dot, dash and underscore."""
    size: str = "tiny"
    """tiny, small, base, large: restoration networks; vae-tiny, vae-small: variational
    autoencoders that restore by sampling; generate-tiny, generate-small: those that make clips
    up."""
    scale: Literal[1, 2, 4] = 1
    """Output pixels for one input pixel, along each side; a VAE has 1."""
    start_from: str = ""
    """A release of this scale, and of this size or a smaller one, to start from: a bundled name,
    path or URI. Single frames are then not learned first, and a lower learning rate keeps what the
    release knows."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Chooses initial weights, damage and samples."""
    steps: Annotated[int | None, Field(ge=1)] = None
    """Budget in steps; gives the same weights on every run."""
    seconds: Annotated[float | None, Field(gt=0)] = None
    """Budget in seconds of wall clock, time before a resumption included."""
    single_frame_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the pixel stage that is spent on single frames first."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Samples of one step over all workers, so that the learning rate need not follow their
    number; where you raise it, raise the learning rate by the square root of the factor."""
    patch_px: Annotated[int, Field(ge=16, multiple_of=8)] = 64
    """Height and width of a sample, in input pixels."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the networks' arithmetic: auto is bfloat16 on a GPU and float32 on a CPU. bfloat16
    is for CPUs that compute with it (AMX); the progress lines show what it gains."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak of the schedule."""
    warmup_steps: Annotated[int, Field(ge=1)] = 200
    """Steps over which the learning rate rises, at the start of each stage."""
    steps_per_example: Annotated[float, Field(gt=0)] = 1.0
    """Steps between two new examples; making one costs more than one use of it is worth."""
    validation_clips: Annotated[int, Field(ge=1, le=256)] = 12
    """Examples, held back from training where there is enough material, that score checkpoints."""
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds between two checkpoints, each scored by validation."""
    keep_best: Annotated[int, Field(ge=1, le=100)] = 3
    """Checkpoints of the best scores that are kept, beside the newest two."""
    pool: PoolSettings = PoolSettings()
    """Ready examples, and the damage done to them."""
    loss: LossWeights = LossWeights()
    """Pixel losses, in both stages."""
    structure: StructureWeights = StructureWeights()
    """Terms beside the pixel losses in the pixel stage."""
    adversarial: AdversarialSettings = AdversarialSettings()
    """The adversarial stage."""
    vae: VaeTraining = VaeTraining()
    """What only a VAE needs."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                "a release's name may hold letters, digits, '.', '_' and '-', 1 to "
                f"{_MAX_NAME_LENGTH} of them"
            )
        return name


class TrainSettings(TrainFlags):
    """The training recipe: fields that go together."""

    @model_validator(mode="after")
    def _check(self) -> "TrainSettings":
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("give the budget either in steps or in seconds")
        if self.patch_px > self.pool.side_px:
            raise ValueError(f"{self.patch_px=} must fit into {self.pool.side_px=}")
        if self.size not in {**SIZES, **VAE_SIZES}:
            known = ", ".join((*SIZES, *VAE_SIZES))
            raise ValueError(f"size {self.size!r} is not one of {known}")
        if self.is_vae:
            self._check_vae(VAE_SIZES[self.size])
        if self.scale != self.pool.scale:
            raise ValueError(
                f"scale={self.scale} and pool.scale={self.pool.scale} must be equal: the network "
                "enlarges as much as its examples were made smaller"
            )
        if self.structure.features or self.structure.perceptual:
            raise ValueError("features and perceptual belong to the adversarial stage's structure")
        if self.outputs > self.pool.frames:
            raise ValueError(f"need {self.outputs} frames of an example, got {self.pool.frames=}")
        return self

    def _check_vae(self, vae: VaeSettings) -> None:
        if self.patch_px % vae.latent_side:
            raise ValueError(
                f"patch_px={self.patch_px} must be a multiple of {vae.latent_side} for size "
                f"{self.size!r}"
            )
        if self.pool.frames < vae.temporal_stride:
            raise ValueError(
                f"pool.frames={self.pool.frames} must be at least {vae.temporal_stride} for size "
                f"{self.size!r}, which makes as many frames together"
            )
        if self.scale != 1 or self.adversarial.share:
            raise ValueError(f"size {self.size} takes neither a scale nor an adversarial stage")

    @property
    def is_vae(self) -> bool:
        """Whether a variational autoencoder is trained."""
        return self.size in VAE_SIZES

    @property
    def outputs(self) -> int:
        """Frames that the costliest stage restores of one sample."""
        return 3 if self.structure.temporal or self.adversarial.share else 1

    def identity(self) -> dict[str, object]:
        """Return what a checkpoint must agree with to be gone on from: all but the housekeeping."""
        return self.model_dump(mode="json", exclude={"checkpoint_every_s", "keep_best"})


def load_train_recipe(path: Path | None, flags: dict[str, object] | None = None) -> TrainSettings:
    """Read a TOML training recipe, with ``flags`` (nested, as the model dumps) laid over it.

    A budget in flags replaces one of the other kind in the file.

    Raises:
        ConfigError: the file is unreadable, a key or value is refused, or a table of which a
            flag cannot replace a part is given twice; one sentence a fault.
    """
    chosen: dict[str, object] = {}
    if path is not None:
        try:
            chosen = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"cannot read the recipe {str(path)!r}: {error}") from error
    for table in ("pool", "loss"):
        if table in chosen and table in (flags or {}):
            raise ConfigError(f"give {table} either in the recipe or by flags, not by both")
    if {"steps", "seconds"} & (flags or {}).keys():
        chosen = {key: value for key, value in chosen.items() if key not in ("steps", "seconds")}
    try:
        return TrainSettings.model_validate(_overlaid(chosen, flags or {}))
    except ValidationError as error:
        raise ConfigError(f"training recipe refused: {describe_faults(error)}") from error


def _overlaid(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _overlaid(below, value) if both else value  # type: ignore[arg-type]
    return merged


def release_uri(run_uri: str, settings: TrainSettings, *, is_perceptual: bool) -> str:
    """Return where a run puts the release of its pixel stage or VAE, or of its adversarial one."""
    suffix = _PERCEPTUAL if is_perceptual else ""
    return storage.join(run_uri, f"{settings.name}{suffix}.safetensors")
