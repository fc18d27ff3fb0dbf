"""What a person may set of each post-processing step.

Plain settings without heavy imports, as every driver and worker reads them: which steps, in which
order, and one table a step. Names of files (a look-up table, a reference still) are resolved by
whoever reads files; the steps get what they hold.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

StepName = Literal["denoise", "deflicker", "color", "stabilize", "sharpen", "grain"]
STEPS: tuple[StepName, ...] = get_args(StepName)
"""Names of all steps."""
DENOISE_REACH = 2
"""Frames that ``denoise`` looks at on either side."""

Share = Annotated[float, Field(ge=0, le=1)]
Signed = Annotated[float, Field(ge=-1, le=1)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ColorOptions(_Options):
    """Colour and exposure, corrected by the shot and then by hand."""

    white_balance: Share = 1.0
    """How much of the measured cast to take out; 0 leaves it."""
    exposure: Share = 1.0
    """How much of the measured fault of brightness and contrast to take out; 0 leaves it."""
    drift_frames: Annotated[int, Field(ge=0)] = 0
    """0 keeps a shot's correction constant; else it may follow changes slower than this."""
    temperature: Signed = 0.0
    """By hand: 1 is much warmer, -1 much colder."""
    tint: Signed = 0.0
    """By hand: 1 is much more magenta, -1 much greener."""
    gain: Annotated[float, Field(gt=0, le=4)] = 1.0
    """By hand: factor on all code values."""
    gamma: Annotated[float, Field(ge=0.25, le=4)] = 1.0
    """By hand: above 1 lifts the mid tones, black and white stay."""
    saturation: Annotated[float, Field(ge=0, le=3)] = 1.0
    """By hand: 0 is gray."""
    lut: str | None = None
    """URI of a 3-D look-up table (.cube), applied last."""
    reference: str | None = None
    """URI of a still whose colours every shot is matched to, in place of the automatic part."""
    hdr: bool = False
    """Whether HDR sources (PQ, HLG) are changed too, and then only by hand and by the table, in
    their own code values: what is known of usual pictures, and a reference, holds for SDR."""


class DenoiseOptions(_Options):
    """Classical noise filter, for recipes without a network."""

    strength: Annotated[float, Field(ge=0, le=3)] = 1.0
    """Factor on the noise level that is taken out."""
    sigma: Annotated[float, Field(ge=0, le=100)] | None = None
    """Standard deviation of the noise in 8-bit levels; measured in each shot where absent."""


class DeflickerOptions(_Options):
    """Luminance flicker; changes slower than about two seconds are kept."""

    smoothness: Annotated[int, Field(ge=4, le=1000)] = 40
    """Waves of brightness are kept where half of one takes more frames than this."""
    max_change: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Largest change of a frame's brightness, as a share."""


class StabilizeOptions(_Options):
    """Camera path of each shot."""

    smoothness: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Motion in waves of less than 1.8 seconds times this is taken for shake; slower motion
    is kept."""
    max_crop: Annotated[float, Field(gt=0, le=0.4)] = 0.12
    """Largest share of the width that the stable picture may lose; no more is cut than needed."""
    tripod: bool = False
    """Hold the camera still as far as the crop permits."""


class SharpenOptions(_Options):
    """Contrast-adaptive sharpening."""

    amount: Share = 0.4
    """0 changes nothing."""


class GrainOptions(_Options):
    """Film grain laid over the picture."""

    sigma: Annotated[float, Field(ge=0, le=50)] = 3.0
    """Standard deviation in mid tones, 8-bit levels."""
    size_px: Annotated[float, Field(ge=0, le=4)] = 0.8
    """Radius of a grain (sigma of a Gaussian), pixels."""
    color: Share = 0.2
    """Share of the grain that differs between red, green and blue."""
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """Another seed gives other grain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What has to be measured of the source."""

    frames: bool
    """Whether frames have to be seen at all."""
    every_frame: bool
    """Whether all of them have to be, as what changes from one to the next counts."""
    motion: bool
    """Whether the camera's motion is needed."""
    light: bool
    """Whether the change of brightness from frame to frame is needed."""
    noise: bool
    """Whether noise is needed, from luma in the full size."""


class PostSettings(_Options):
    """Steps after the network, and one table a step."""

    steps: tuple[StepName, ...] = ()
    """Any of denoise, deflicker, color, stabilize, sharpen, grain, in the order given."""
    color: ColorOptions = ColorOptions()
    """Colour and exposure."""
    denoise: DenoiseOptions = DenoiseOptions()
    """Classical noise filter."""
    deflicker: DeflickerOptions = DeflickerOptions()
    """Luminance flicker."""
    stabilize: StabilizeOptions = StabilizeOptions()
    """Camera path."""
    sharpen: SharpenOptions = SharpenOptions()
    """Sharpening."""
    grain: GrainOptions = GrainOptions()
    """Film grain."""

    @field_validator("steps")
    @classmethod
    def _once(cls, steps: tuple[StepName, ...]) -> tuple[StepName, ...]:
        for at, name in enumerate(steps):
            if name in steps[:at]:
                raise ValueError(f"step {name!r} is given twice")
        return steps

    @property
    def idle(self) -> tuple[StepName, ...]:
        """Steps that have a table and are not named in ``steps``: it changes nothing."""
        given = self.model_fields_set
        return tuple(name for name in STEPS if name in given and name not in self.steps)

    def in_use(self) -> dict[str, object]:
        """Return the settings that change a picture: the steps and their tables, no others."""
        return self.model_dump(mode="json", include={"steps", *self.steps})

    def without(self, step: StepName) -> "PostSettings":
        """Return the same settings without ``step``."""
        return self.model_copy(update={"steps": tuple(name for name in self.steps if name != step)})

    @property
    def reach(self) -> int:
        """Frames on either side that the result of a frame, or its measure, depends on."""
        return DENOISE_REACH if "denoise" in self.steps else int(self.needs.frames)

    @property
    def needs(self) -> Needs:
        """What the steps want measured."""
        automatic = max(self.color.white_balance, self.color.exposure) > 0
        color = "color" in self.steps and (automatic or self.color.reference is not None)
        motion, light = "stabilize" in self.steps, "deflicker" in self.steps
        # Even where its noise is given, denoise has to know the shots to the frame.
        every_frame = motion or light or "denoise" in self.steps
        return Needs(
            frames=color or every_frame,
            every_frame=every_frame,
            motion=motion,
            light=light,
            noise="denoise" in self.steps and self.denoise.sigma is None,
        )
