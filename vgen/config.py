"""The recipe: every setting a person chooses, checked when it is made.

A recipe is plain data (TOML, flags, a Prefect form). What the network needs is not here: it
stands in the release's ``ModelSpec``. Checks that need the machine are made by named functions
before any worker is asked for.
"""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vgen.errors import ConfigError
from vgen.post_options import PostSettings

DeinterlaceMode = Literal["auto", "never", "frame", "field"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EncodeSettings(_Settings):
    """How the enhanced frames are compressed."""

    codec: Literal["auto", "h264", "hevc", "av1", "prores", "ffv1"] = "auto"
    """auto: h264 for 8-bit SDR, hevc for more bits or HDR."""
    crf: Annotated[int, Field(ge=0, le=63)] = 18
    """Constant quality, lower is better; ignored by prores and ffv1."""
    preset: Literal[
        "ultrafast",
        "superfast",
        "veryfast",
        "faster",
        "fast",
        "medium",
        "slow",
        "slower",
        "veryslow",
    ] = "medium"
    """Encoder effort, in x264's words; translated for av1."""
    pixel_format: str = "source"
    """source, or a named planar format such as yuv420p10le."""
    container: Literal["source", "mp4", "mkv", "mov"] = "source"
    """source: mp4, mov and mkv stay, all others become mkv."""


class Limits(_Settings):
    """What a single source may ask for before it is refused."""

    max_pixels: Annotated[int, Field(gt=0)] = 8192 * 8192
    """Largest width x height of a frame."""
    max_duration_s: Annotated[float, Field(gt=0)] = 24 * 3600.0
    """Longest source, in seconds."""
    max_size_bytes: Annotated[int, Field(gt=0)] = 1 << 40
    """Largest source file."""
    seconds_per_file: Annotated[float, Field(gt=0)] = 6 * 3600.0
    """Longest time one span, one probe or one assembly may take before its video is failed."""
    max_failed_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """A scheduled run with a larger share of failed videos counts as failed itself."""


class ReportSettings(_Settings):
    """What the report shows."""

    stills: bool = True
    """False where pictures of people must not leave the archive."""


class Recipe(_Settings):
    """All settings of an enhancement run."""

    release: str = "restore-tiny"
    """A bundled name, a path, a URI, or a name in the registry; identity passes frames through."""
    strength: Annotated[float, Field(ge=0, le=1.5)] = 1.0
    """output = base + strength * (network - base)."""
    damaged: Literal["salvage", "fail"] = "salvage"
    """Keep what decodes of a damaged file, or refuse the file."""
    deinterlace: DeinterlaceMode = "auto"
    """auto: what is interlaced, by flags or by its pictures, becomes whole frames at the source's
    rate, except where release identity without steps asks for the very frames; frame: always, also
    where nothing tells; field: as frame, but a picture a field, at twice the rate; never: fields
    stay as they are."""
    encode: EncodeSettings = EncodeSettings()
    """How the enhanced frames are compressed."""
    post: PostSettings = PostSettings()
    """Steps after the network."""
    limits: Limits = Limits()
    """What a single source may ask for."""
    report: ReportSettings = ReportSettings()
    """What the report shows."""

    def digest(self) -> str:
        """Return the hex digest of the settings that change what is published.

        Limits and report settings decide whether and how a run is told, not what its output
        holds, so changing them does not make finished work stale; nor does an option of a step
        that is not asked for.
        """
        settings = self.model_dump(mode="json", exclude={"limits", "report", "release", "post"})
        settings["post"] = self.post.in_use()
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def load_recipe(path: Path | None, overrides: dict[str, object] | None = None) -> Recipe:
    """Read a TOML recipe, with ``overrides`` (nested, as the model dumps) laid over it.

    Raises:
        ConfigError: the file is unreadable, or a key or value is refused; one sentence a fault.
    """
    settings: dict[str, object] = {}
    if path is not None:
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ConfigError(f"cannot read the recipe {str(path)!r}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"the recipe {str(path)!r} is not UTF-8: {error.reason}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"the recipe {str(path)!r} is not valid TOML: {error}") from error
    try:
        return Recipe.model_validate(_overlaid(settings, overrides or {}))
    except ValidationError as error:
        raise ConfigError(f"recipe refused: {describe_faults(error)}") from error


def describe_faults(error: ValidationError) -> str:
    """Return one line for the faults pydantic found, each with its field and value."""
    said = {"extra_forbidden": "there is no such setting"}
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'recipe'}: "
        f"{said.get(fault['type'], fault['msg'])}, got {fault['input']!r}"
        for fault in error.errors()
    )


def _overlaid(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _overlaid(below, value) if both else value  # type: ignore[arg-type]
    return merged
