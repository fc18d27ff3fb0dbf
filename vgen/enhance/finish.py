"""Post-processing of one span: what a stream of restored frames goes through before its planes.

Steps that look at neighbours want restored neighbours, so the frames within the chain's reach of
the span are restored as well; numbers are those of the whole video.

Axes: n batch, c channel (R, G, B), h height, w width.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import Tensor

from vgen.post.stats import LUMA
from vgen.records import LumaPoint, Span

if TYPE_CHECKING:  # every worker imports this module, few run a chain: half a second
    from vgen.post.chain import Chain

T = TypeVar("T")
Key = TypeVar("Key")

Meter = Callable[[str, Iterable[tuple[int, Tensor]]], Iterator[tuple[int, Tensor]]]
"""Passes items on and charges what producing them takes to the stage it is told."""


def unmetered(stage: str, items: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
    """Pass items on."""
    return iter(items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored(Generic[Key]):
    """One frame between restoration and post-processing."""

    key: Key
    """Comes back with the result."""
    number: int
    """Of the frame in its video."""
    source_nchw: Tensor
    """RGB before restoration."""
    restored_nchw: Tensor
    """RGB after it."""


@dataclass(slots=True, kw_only=True)
class Finish:
    """A video's chain, and what is noted while one span goes through it."""

    chain: "Chain"
    stride: int
    """Luma is noted of frames whose number is a multiple of it."""
    meter: Meter = unmetered
    """Told "post" for the chain's work and "enhance" for what it waits for."""
    luma: dict[int, LumaPoint] = field(default_factory=dict)
    """By frame number, context included."""

    def reaches(self, span: Span, number: int) -> bool:
        """Whether a frame is of the span or within the chain's reach of it."""
        return span.start - self.chain.lead <= number < span.stop + self.chain.tail

    def points(self, span: Span) -> tuple[LumaPoint, ...]:
        """Return what was noted of the span's own frames."""
        return tuple(self.luma[n] for n in sorted(self.luma) if span.start <= n < span.stop)

    def run(self, frames: Iterable[Restored[Key]]) -> Iterator[tuple[Key, Tensor | None]]:
        """Yield each frame's key and its RGB in the end, or None where nothing changed it."""
        inside: deque[Restored[Key]] = deque()

        def entering() -> Iterator[tuple[int, Tensor]]:
            for frame in frames:
                inside.append(frame)
                yield frame.number, frame.restored_nchw

        chained = self.chain.stream(self.meter("enhance", entering()))
        for number, finished_nchw in self.meter("post", chained):
            frame = inside.popleft()
            if number % self.stride == 0:
                before, after = _luma(frame.source_nchw), _luma(finished_nchw)
                self.luma[number] = (number, before, after)
            yield frame.key, None if finished_nchw is frame.restored_nchw else finished_nchw


def _luma(rgb_nchw: Tensor) -> float:
    """Return the mean luma in 8-bit levels."""
    means = rgb_nchw.mean(dim=(0, 2, 3)).tolist()
    luma = sum(weight * float(mean) for weight, mean in zip(LUMA, means, strict=True))
    return round(255 * luma, 2)
