"""Steps in the order a person gave, and what they need from whoever runs them.

    observe   ``needs`` says what to measure; ``Observer`` measures, anywhere, in any stretches
    reduce    ``plan_chain``: all rows of a video and its cuts -> one small ``ChainPlan``
    apply     ``Chain``: frames with their numbers, in any spans that have ``lead`` and ``tail``

A frame after the chain depends on the plan, its number and its neighbours within the halo and the
shot alone: any cut into spans gives the same pictures.

Axes: t time, c channel, h height, w width.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, get_args

import torch
from torch import Tensor

from vgen.errors import ConfigError
from vgen.post.color import ColorPlan, plan_color
from vgen.post.deflicker import Deflicker, DeflickerPlan, plan_deflicker
from vgen.post.denoise import Denoise, DenoisePlan, plan_denoise
from vgen.post.grading import Color
from vgen.post.grain import Grain
from vgen.post.lut import Lut
from vgen.post.options import StepName, StepOptions
from vgen.post.sharpen import Sharpen
from vgen.post.stabilize import Stabilize, StabilizePlan, plan_stabilize
from vgen.post.stats import FrameStats
from vgen.records import Record

STEPS: tuple[str, ...] = get_args(StepName)
"""Names of all steps."""


class Step(Protocol):
    """One correction, ready to be applied."""

    @property
    def lead(self) -> int:
        """Frames before one that its result depends on."""

    @property
    def tail(self) -> int:
        """Frames after one that its result depends on."""

    def apply(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return as many frames, RGB in [0, 1]; right where the halo is there or the shot ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What has to be measured of the source."""

    frames: bool
    """Whether every frame has to be seen at all."""
    motion: bool
    """Whether the camera's motion is needed."""
    noise: bool
    """Whether noise is needed, from luma in the full size."""


class ChainPlan(Record):
    """The global numbers of a video; one small JSON object."""

    color: ColorPlan = ColorPlan()
    denoise: DenoisePlan = DenoisePlan()
    deflicker: DeflickerPlan = DeflickerPlan()
    stabilize: StabilizePlan = StabilizePlan(aspect=1.0)


def check_steps(steps: Sequence[str]) -> None:
    """Refuse what is no step.

    Raises:
        ConfigError: an unknown name, or one given twice; the message lists the valid ones.
    """
    for at, name in enumerate(steps):
        if name not in STEPS:
            raise ConfigError(f"unknown step {name!r}, expected any of {', '.join(STEPS)}")
        if name in steps[:at]:
            raise ConfigError(f"step {name!r} is given twice")


def needs(steps: Sequence[str], options: StepOptions) -> Needs:
    """Return what the steps want measured."""
    noise = "denoise" in steps and options.denoise.sigma is None
    automatic = max(options.color.white_balance, options.color.exposure) > 0
    color = "color" in steps and (automatic or options.color.reference is not None)
    motion = "stabilize" in steps
    # Even where its noise is given, denoise has to know the shots.
    frames = color or motion or "denoise" in steps or "deflicker" in steps
    return Needs(frames=frames, motion=motion, noise=noise)


def plan_chain(
    steps: Sequence[str],
    options: StepOptions,
    stats: Sequence[FrameStats],
    cuts: Sequence[int],
    *,
    aspect: float,
    reference: FrameStats | None = None,
) -> ChainPlan:
    """Reduce a video's measures to the numbers its steps need.

    Args:
        steps: Names, in the order given.
        options: Of all steps.
        stats: What ``merge_stats`` returns; may be empty where ``needs`` wants no frames.
        cuts: Numbers of the frames that start a shot.
        aspect: Width by height of the shown picture.
        reference: What ``measure_picture`` says of the still that ``color`` matches.

    Raises:
        ConfigError: an unknown step.
    """
    check_steps(steps)
    plan = ChainPlan()
    parts: dict[str, Record] = {}
    if "color" in steps:
        parts["color"] = plan_color(stats, cuts, options.color, reference=reference)
    if "denoise" in steps:
        parts["denoise"] = plan_denoise(stats, cuts, options.denoise)
    if "deflicker" in steps:
        parts["deflicker"] = plan_deflicker(stats, cuts, options.deflicker)
    if "stabilize" in steps:
        parts["stabilize"] = plan_stabilize(stats, cuts, options.stabilize, aspect=aspect)
    return plan.model_copy(update=parts)


class Chain:
    """All steps of a recipe over one video; the state of a stream lives in its iterator."""

    def __init__(
        self, steps: Sequence[str], options: StepOptions, plan: ChainPlan, *, lut: Lut | None = None
    ) -> None:
        """Make the steps.

        Raises:
            ConfigError: an unknown step.
        """
        check_steps(steps)
        self._steps = [_step(name, options, plan, lut) for name in steps]
        self.lead = sum(step.lead for step in self._steps)
        """Context frames needed before a span."""
        self.tail = sum(step.tail for step in self._steps)
        """Context frames needed after a span."""

    def apply(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return as many frames; the first ``lead`` and last ``tail`` lack context, unless the
        video starts or ends there."""
        for step in self._steps:
            frames_tchw = step.apply(frames_tchw, numbers)
        return frames_tchw

    def stream(self, frames: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
        """Yield every frame ``[1, 3, H, W]`` with its number, in order, drawn lazily.

        Each step holds ``lead + 1 + tail`` frames.
        """
        for step in self._steps:
            if isinstance(step, Denoise):
                frames = _windowed(step, frames)
            else:
                frames = _one_by_one(step, frames)
        yield from frames


def _one_by_one(step: Step, frames: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    for number, frame_1chw in frames:
        yield number, step.apply(frame_1chw, [number])


def _windowed(step: Denoise, frames: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    held: deque[tuple[int, Tensor]] = deque()
    at = 0
    for item in frames:
        held.append(item)
        if len(held) > at + step.tail:
            yield _centre(step, held, at)
            at += 1
        if at > step.lead:
            held.popleft()
            at -= 1
    for rest in range(at, len(held)):
        yield _centre(step, held, rest)


def _centre(step: Denoise, held: deque[tuple[int, Tensor]], at: int) -> tuple[int, Tensor]:
    begin, end = max(at - step.lead, 0), min(at + step.tail + 1, len(held))
    numbers, frames = zip(*(held[i] for i in range(begin, end)), strict=True)
    return numbers[at - begin], step.apply_one(torch.cat(frames), numbers, at - begin)[None]


def _step(name: str, options: StepOptions, plan: ChainPlan, lut: Lut | None) -> Step:
    match name:
        case "color":
            return Color(plan.color, options.color, lut=lut)
        case "denoise":
            return Denoise(plan.denoise)
        case "deflicker":
            return Deflicker(plan.deflicker)
        case "stabilize":
            return Stabilize(plan.stabilize)
        case "sharpen":
            return Sharpen(options.sharpen)
        case _:
            return Grain(options.grain)
