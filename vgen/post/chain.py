"""Steps in the order a person gave, and what they need from whoever runs them.

    observe   ``PostSettings.needs`` says what to measure; ``Observer`` does, in any stretches
    reduce    ``plan_chain``: all rows of a video and its cuts -> one small ``ChainPlan``
    apply     ``Chain``: frames with their numbers, in any spans that have ``lead`` and ``tail``

A frame after the chain depends on the plan, its number and its neighbours within the halo and the
shot alone: any cut into spans gives the same pictures.

Axes: t time, c channel, h height, w width.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from vgen.post.color import ColorPlan, plan_color
from vgen.post.deflicker import Deflicker, DeflickerPlan, plan_deflicker
from vgen.post.denoise import Denoise, DenoisePlan, plan_denoise
from vgen.post.grading import Color
from vgen.post.grain import Grain
from vgen.post.lut import Lut
from vgen.post.sharpen import Sharpen
from vgen.post.stabilize import Stabilize, StabilizePlan, plan_stabilize
from vgen.post.stats import FrameStats
from vgen.post_options import PostSettings, StepName
from vgen.records import Record


class Step(Protocol):
    """One correction, ready to be applied."""

    @property
    def lead(self) -> int:
        """Frames before one that its result depends on."""

    @property
    def tail(self) -> int:
        """Frames after one that its result depends on."""

    def apply(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return as many frames, right where the halo is there or the shot ends.

        RGB, nominally in [0, 1]: what lies above white and below black in the source stays.
        """


class ChainPlan(Record):
    """The global numbers of a video; one small JSON object."""

    color: ColorPlan = ColorPlan()
    denoise: DenoisePlan = DenoisePlan()
    deflicker: DeflickerPlan = DeflickerPlan()
    stabilize: StabilizePlan = StabilizePlan(aspect=1.0)


def plan_chain(
    settings: PostSettings,
    stats: Sequence[FrameStats],
    cuts: Sequence[int],
    *,
    aspect: float,
    rate: float,
    reference: FrameStats | None = None,
) -> ChainPlan:
    """Reduce a video's measures to the numbers its steps need.

    Args:
        settings: Which steps, and how.
        stats: What ``merge_stats`` returns; may be empty where no frames are needed.
        cuts: Numbers of the frames that start a shot.
        aspect: Width by height of the shown picture.
        rate: Frames a second, on average.
        reference: What ``measure_picture`` says of the still that ``color`` matches.
    """
    plan = ChainPlan()
    parts: dict[str, Record] = {}
    if "color" in settings.steps:
        parts["color"] = plan_color(stats, cuts, settings.color, reference=reference)
    if "denoise" in settings.steps:
        parts["denoise"] = plan_denoise(stats, cuts, settings.denoise)
    if "deflicker" in settings.steps:
        parts["deflicker"] = plan_deflicker(stats, cuts, settings.deflicker)
    if "stabilize" in settings.steps:
        parts["stabilize"] = plan_stabilize(
            stats, cuts, settings.stabilize, aspect=aspect, rate=rate
        )
    return plan.model_copy(update=parts)


class Chain:
    """All steps of a recipe over one video; the state of a stream lives in its iterator."""

    def __init__(self, settings: PostSettings, plan: ChainPlan, *, lut: Lut | None = None) -> None:
        """Make the steps; ``lut`` is the table that the settings of ``color`` name."""
        self._steps = [_step(name, settings, plan, lut) for name in settings.steps]
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
    if step.leaves(numbers[at - begin]):
        return numbers[at - begin], frames[at - begin]  # itself, by which it is known as untouched
    return numbers[at - begin], step.apply_one(torch.cat(frames), numbers, at - begin)[None]


def _step(name: StepName, settings: PostSettings, plan: ChainPlan, lut: Lut | None) -> Step:
    match name:
        case "color":
            return Color(plan.color, settings.color, lut=lut)
        case "denoise":
            return Denoise(plan.denoise)
        case "deflicker":
            return Deflicker(plan.deflicker)
        case "stabilize":
            return Stabilize(plan.stabilize)
        case "sharpen":
            return Sharpen(settings.sharpen)
        case _:
            return Grain(settings.grain)
