"""What a person chooses about a dataset: plain values, which load no network."""

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vgen.config import Limits

HELD_OUT_NAMES = (
    "*0.jpg",
    "intel_asl_yes.*",
    "intel_asl_night.*",
    "opencv_cup.*",
    "intel_asl_milk.*",
)
"""File names, as shell patterns, that are kept for evaluation where nothing else is said: stills
whose names end in 0, and four clips."""
STILL_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"})
"""Suffixes, in lower case, that make a file a still picture."""
DATASET_VERSION = 1
"""Part of every shard's name: raise it when the same source and settings give other clips."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FitnessLimits(_Settings):
    """What a clip must reach to be learned from; see ``vgen.training.fitness``.

    Measured on 40 stills and 70 runs of real clips, clean ones have a blur of 0.12 to 0.48 and a
    blockiness of 1.00 to 1.13; blurred by 2.5 pixels they have 0.63 and more, as JPEG of quality
    25 or MPEG-2 of quantiser 12 a blockiness of 1.16 and more, 1.5 in the middle.
    """

    min_brightness: Annotated[float, Field(ge=0, le=255)] = 24.0
    """Mean luma in 8-bit levels; below it a clip is dark."""
    min_change: Annotated[float, Field(ge=0)] = 0.1
    """Mean luma difference of neighbouring frames in levels; below it everywhere, it is static."""
    max_blur: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Blur from 0 to 1; above it a clip is blurred."""
    max_blockiness: Annotated[float, Field(ge=1)] = 1.25
    """Steps along an 8-pixel grid over those beside it; above it a clip is blocky."""


class DatasetSettings(_Settings):
    """All settings of a dataset."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Decides where clips are cut out, together with each source's content."""
    frames: Annotated[int, Field(ge=1)] = 9
    """Frames of a clip cut out of a video."""
    clips_per_video: Annotated[int, Field(ge=1)] = 6
    """Clips of a video at most, one from each of as many equal parts of it."""
    halve_from_px: Annotated[int, Field(ge=0)] = 360
    """Pictures whose short side has this many pixels are halved, which removes most of what their
    own compression did to them; 0 for never."""
    crop_px: Annotated[int, Field(ge=16)] = 512
    """Longest side of a clip; of larger pictures a part is kept."""
    min_side_px: Annotated[int, Field(ge=16)] = 64
    """Shortest side a clip may have."""
    require_licence: bool = False
    """Leave out what no MANIFEST.csv states a licence of that allows training."""
    held_out: tuple[str, ...] = HELD_OUT_NAMES
    """Names of files kept for evaluation, as shell patterns that tell upper from lower case."""
    fitness: FitnessLimits = FitnessLimits()
    """What a clip must reach to be learned from."""
    limits: Limits = Limits()
    """What a single source may ask for."""

    def digest(self) -> str:
        """Return the hex digest of the settings that change what a shard holds."""
        settings = self.model_dump_json(exclude={"limits", "require_licence"})
        return hashlib.sha256(settings.encode()).hexdigest()
