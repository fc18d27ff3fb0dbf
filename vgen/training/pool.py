"""Examples: clean clips and what damage made of them.

Making an example (warp, noise, a real encoder) costs more than one use of it is worth, so each
is used several times with other crops and other frames in the middle. All that makes pictures
more various happens before the damage: a codec predicts from above and the left and from frames
shown earlier, and its blocks lie on a grid. A network that is never shown a picture turned or
moved against them can use that. Example ``i`` is a pure function of seed and ``i``; ``feed`` keeps
the latest.

Axes: t time, h height, w width, c channel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from vgen.training.choices import PoolSettings
from vgen.training.clips import Material, draw_clip
from vgen.training.codec import Clip
from vgen.training.degrade import degrade_clip

CHANNEL_SHUFFLES = 0.05
"""Share of examples whose colours are exchanged, so that no colour is learned by heart."""

# Keeps the random numbers of examples apart from those of samples, which use 1.
_EXAMPLES = 0


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
    clean = _varied(draw_clip(material, frames=settings.frames, side=side, rng=rng), rng)
    return Example(degrade_clip(clean, settings.mix, rng, scale=settings.scale), clean)


def _varied(clip_thwc: Clip, rng: Generator) -> Clip:
    """Turn, mirror and reverse a square clip at random, and now and then exchange its colours."""
    turned = np.rot90(clip_thwc, int(rng.integers(4)), axes=(1, 2))
    if rng.random() < 0.5:
        turned = turned[:, :, ::-1]
    if rng.random() < 0.5:
        turned = turned[::-1]
    if rng.random() < CHANNEL_SHUFFLES:
        turned = turned[..., rng.permutation(3)]
    return np.ascontiguousarray(turned)
