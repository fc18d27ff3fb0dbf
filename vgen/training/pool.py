"""Examples: clean clips and what damage made of them.

Making an example (warp, noise, a real encoder) costs more than one use of it is worth, so each
is used several times with other crops and turns. Example ``i`` is a pure function of seed and
``i``; ``feed`` keeps the latest.

Axes: t time, h height, w width, c channel.
"""

from dataclasses import dataclass, field

import numpy as np

from vgen.training.clips import Material, draw_clip
from vgen.training.codec import Clip
from vgen.training.degrade import Mix, degrade_clip

# Keeps the random numbers of examples apart from those of samples, which use 1.
_EXAMPLES = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How many examples are kept, and how large they are."""

    size: int = 512
    """Examples in the pool; 0.5 MB each at the default size."""
    frames: int = 5
    """Frames of an example; the window is cut from them."""
    side_px: int = 128
    """Height and width of a damaged picture, coded whole and cropped later, so that the codec's
    block grid falls anywhere in a crop."""
    scale: int = 1
    """The clean picture is this many times as large along each side: 1, 2 or 4."""
    mix: Mix = field(default_factory=Mix)
    """Kinds of damage and their shares."""

    def __post_init__(self) -> None:
        if self.size < 1 or self.frames < 1 or self.side_px < 16 or self.side_px % 4:
            raise ValueError(f"need examples of a side that is a multiple of 4, got {self}")
        if self.scale not in (1, 2, 4):
            raise ValueError(f"scale must be 1, 2 or 4, got {self.scale}")


@dataclass(frozen=True, slots=True)
class Example:
    """One clip before and after damage, uint8 ``[T, H, W, 3]``.

    The clean one is larger by the scale.
    """

    degraded_thwc: Clip
    clean_thwc: Clip


def make_example(material: Material, settings: PoolSettings, *, seed: int, index: int) -> Example:
    """Make example ``index`` of the stream that ``seed`` names."""
    rng = np.random.default_rng((seed, _EXAMPLES, index))
    side = settings.scale * settings.side_px
    clean = draw_clip(material, frames=settings.frames, side=side, rng=rng)
    return Example(degrade_clip(clean, settings.mix, rng, scale=settings.scale), clean)
