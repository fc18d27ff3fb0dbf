"""What a network needs from whoever runs it.

Planning and tiling read only this, so the module must stay free of torch: the driver of a
run reads headers on a machine that may have no use for it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self

from vgen.errors import ReleaseError

TEMPORAL_UNET = "temporal_unet"
CONDITIONAL_VAE = "conditional_vae"
UNCONDITIONAL_VAE = "unconditional_vae"
ARCHITECTURES = (TEMPORAL_UNET, CONDITIONAL_VAE, UNCONDITIONAL_VAE, "identity")
SCALES = (1, 2, 4)

# Far above any sensible network, low enough that a hostile header cannot ask for absurd padding.
MAX_CONTEXT_FRAMES = 64
MAX_MULTIPLE = 256
MAX_RADIUS = 4096
MAX_TEMPORAL_STRIDE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The facts about a network that planning, padding and tiling stand on."""

    architecture: str
    """Which builder makes the network: one of ``ARCHITECTURES``."""
    scale: int
    """Output pixels for one input pixel, along each side: 1, 2 or 4."""
    lead: int
    """Context frames before the restored one."""
    tail: int
    """Context frames after the restored one."""
    multiple_of: int
    """Height and width of the input must be multiples of this."""
    receptive_radius: int
    """Input pixels, to each side, that can change one output pixel; tiles overlap by it."""
    temporal_stride: int = 1
    """Frames that go through the network together; clips come in multiples of it. What restores
    takes frames one by one, as spans may start anywhere."""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ReleaseError(
                f"architecture {self.architecture!r} is not one of {', '.join(ARCHITECTURES)}; "
                "the release may need a later version"
            )
        if self.scale not in SCALES:
            raise ReleaseError(f"scale {self.scale!r} is not one of {SCALES}")
        _check_range("lead", self.lead, 0, MAX_CONTEXT_FRAMES)
        _check_range("tail", self.tail, 0, MAX_CONTEXT_FRAMES)
        _check_range("multiple_of", self.multiple_of, 1, MAX_MULTIPLE)
        _check_range("receptive_radius", self.receptive_radius, 0, MAX_RADIUS)
        _check_range("temporal_stride", self.temporal_stride, 1, MAX_TEMPORAL_STRIDE)
        if self.restores and self.temporal_stride > 1:
            raise ReleaseError(
                f"model spec's temporal_stride is {self.temporal_stride}, but what restores "
                "takes frames one by one"
            )

    @property
    def restores(self) -> bool:
        """Whether the network makes given frames better, and does not make clips up."""
        return self.architecture != UNCONDITIONAL_VAE

    def to_json(self) -> str:
        """Return the spec as JSON with sorted keys, the same bytes for the same spec."""
        document = asdict(self)
        if self.temporal_stride == 1:
            # As in releases that were made before there was a stride.
            del document["temporal_stride"]
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse what ``to_json`` wrote.

        Raises:
            ReleaseError: not JSON, an unknown or missing key, a value out of range.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ReleaseError(f"model spec is not JSON: {error}") from error
        return cls.from_mapping(document)

    @classmethod
    def from_mapping(cls, document: object) -> Self:
        """Check and take over a decoded JSON object.

        Raises:
            ReleaseError: not an object, an unknown or missing key, a value out of range.
        """
        if not isinstance(document, Mapping):
            raise ReleaseError(f"model spec must be an object, got {type(document).__name__}")
        known = {field.name: field.type for field in fields(cls)}
        unknown = sorted(str(key) for key in document if key not in known)
        if unknown:
            raise ReleaseError(f"model spec has unknown key {unknown[0]!r}")
        document = {"temporal_stride": 1} | dict(document)
        missing = [name for name in known if name not in document]
        if missing:
            raise ReleaseError(f"model spec lacks {missing[0]!r}")
        for name, kind in known.items():
            # type() and not isinstance: JSON's true is an int to Python.
            if type(document[name]) is not kind:
                raise ReleaseError(f"model spec's {name} is {document[name]!r}, not a {kind}")
        return cls(**document)


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise ReleaseError(f"model spec's {name} is {value}, outside {lowest} to {highest}")
