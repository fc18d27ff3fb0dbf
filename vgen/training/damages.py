"""The fixed classes of damage that releases are scored on, each with its classical rivals.

Training draws its damage from a wide mix; these stay as they are, so that scores of different
days can be compared. The same clip, class and generator give the same frames.

Axes: t time, h height, w width, c channel (RGB). Clips are uint8 ``[T, H, W, 3]``; damaged ones
are float32 ``[T, 3, H, W]``, in [0, 1] except where a class says otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from vgen.errors import ConfigError
from vgen.training.baselines import CODEC_FILTERS, Filter, noise_filters
from vgen.training.codec import Clip, Encoding, code_clip
from vgen.training.degrade_noise import add_noise
from vgen.training.scores import Kind

BOTH: tuple[Kind, ...] = ("still", "video")


@dataclass(frozen=True, slots=True, kw_only=True)
class DamageClass:
    """One way pictures are damaged, and what it is shown on."""

    name: str
    apply: Callable[[Clip, Generator], Tensor]
    """From clean frames to damaged ones of the same size."""
    kinds: tuple[Kind, ...] = BOTH
    is_single_frame: bool = False
    """Shown on the whole still, one frame, instead of a still in motion."""
    filters: tuple[Filter, ...]
    """What a network is held against at unchanged size; none beside the bicubic enlargement."""


def to_tchw(clip_thwc: Clip) -> Tensor:
    """Return 8-bit frames as float32 ``[T, 3, H, W]`` in [0, 1]."""
    # Copied, as torch warns of arrays that cannot be written to.
    return torch.from_numpy(np.array(clip_thwc)).movedim(-1, 1).float() / 255


def to_thwc(clip_tchw: Tensor) -> Clip:
    """Return float frames clipped and rounded to 8 bits, ``[T, H, W, 3]``."""
    levels = (clip_tchw * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.movedim(1, -1).cpu().numpy())


def shrink(clip_thwc: Clip, scale: int) -> Clip:
    """Return frames at 1 / ``scale`` of their size, by bicubic convolution, rounded.

    The antialiased kernel of Keys with a = -0.5, by which the published scores of super-resolution
    are defined; H and W are multiples of ``scale``.
    """
    return clip_thwc if scale == 1 else to_thwc(_resized(to_tchw(clip_thwc), 1 / scale))


def enlarge(clip_tchw: Tensor, scale: int) -> Tensor:
    """Return frames at ``scale`` times their size, by the same kernel."""
    return clip_tchw if scale == 1 else _resized(clip_tchw, scale)


def classes_for(scale: int, names: Sequence[str] = ()) -> tuple[DamageClass, ...]:
    """Return the classes for releases of that scale, or those of them that are named.

    Raises:
        ConfigError: there is no class of a name.
    """
    classes = UNCHANGED_SIZE if scale == 1 else ENLARGED
    known = {one.name: one for one in classes}
    for name in names:
        if name not in known:
            raise ConfigError(
                f"no class of damage {name!r}; there are {', '.join(map(repr, known))}"
            )
    return tuple(one for one in classes if not names or one.name in names)


def _noisy(clip_thwc: Clip, rng: Generator, *, sigma: float) -> Tensor:
    return to_tchw(add_noise(clip_thwc, sigma=sigma, rng=rng))


def _noisy_unclipped(clip_thwc: Clip, rng: Generator, *, sigma: float) -> Tensor:
    """Add noise and neither round nor clip: what papers on denoising stills do."""
    noise = rng.standard_normal(clip_thwc.shape, dtype=np.float32) * np.float32(sigma / 255)
    return to_tchw(clip_thwc) + torch.from_numpy(noise).movedim(-1, 1)


def _coded(clip_thwc: Clip, rng: Generator, *, encoding: Encoding, sigma: float = 0) -> Tensor:
    noisy = add_noise(clip_thwc, sigma=sigma, rng=rng) if sigma else clip_thwc
    return to_tchw(code_clip(noisy, encoding))


def _untouched(clip_thwc: Clip, rng: Generator) -> Tensor:
    return to_tchw(clip_thwc)


def _x264(crf: int) -> Encoding:
    return Encoding(codec="libx264", quality=crf, preset="medium", keyframe_every=250)


_MPEG2 = Encoding(codec="mpeg2video", quality=12, keyframe_every=12)

UNCHANGED_SIZE = (
    DamageClass(
        name="noise 25 unclipped",
        apply=partial(_noisy_unclipped, sigma=25),
        kinds=("still",),
        is_single_frame=True,
        filters=noise_filters(25),
    ),
    *(
        DamageClass(
            name=f"noise {sigma}", apply=partial(_noisy, sigma=sigma), filters=noise_filters(sigma)
        )
        for sigma in (15, 25, 50)
    ),
    DamageClass(
        name="x264 crf 28", apply=partial(_coded, encoding=_x264(28)), filters=CODEC_FILTERS
    ),
    DamageClass(
        name="x264 crf 35", apply=partial(_coded, encoding=_x264(35)), filters=CODEC_FILTERS
    ),
    DamageClass(name="mpeg2 q 12", apply=partial(_coded, encoding=_MPEG2), filters=CODEC_FILTERS),
    DamageClass(
        name="noise 10, x264 crf 28",
        apply=partial(_coded, encoding=_x264(28), sigma=10),
        filters=(*CODEC_FILTERS, *noise_filters(10)),
    ),
    DamageClass(
        name="x264 crf 15", apply=partial(_coded, encoding=_x264(15)), filters=CODEC_FILTERS
    ),
    DamageClass(name="none", apply=_untouched, filters=CODEC_FILTERS),
)
"""For releases that keep the size. ``none`` shows what a good picture loses."""

ENLARGED = (
    DamageClass(name="bicubic", apply=_untouched, filters=()),
    DamageClass(name="bicubic, x264 crf 28", apply=partial(_coded, encoding=_x264(28)), filters=()),
)
"""For releases that enlarge; ``apply`` gets frames that ``shrink`` has made small."""


def _resized(clip_tchw: Tensor, factor: float) -> Tensor:
    return functional.interpolate(
        clip_tchw, scale_factor=factor, mode="bicubic", antialias=True, align_corners=False
    )
