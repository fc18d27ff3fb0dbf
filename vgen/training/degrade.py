"""What happens to pictures before they reach an archive: one blind mix.

Parameters are drawn once a clip, or drift slowly from a drawn start, and the noise of every frame
is its own, as in a real recording. Every result is 8-bit RGB. A seventh of the mix is clean or
nearly so: a network that never saw a good picture would smooth it.

Clips are uint8 RGB arrays ``[T, H, W, 3]``; H and W are multiples of 4 after shrinking.
"""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch
from numpy.random import Generator
from torch.nn import functional as F

from vgen.training.choices import Mix
from vgen.training.codec import Clip, code_clip, subsample_clip, to_bytes
from vgen.training.degrade_codec import (
    draw_bit_rate,
    draw_broadcast,
    draw_coded,
    draw_encoding,
    draw_jpeg,
    draw_modern,
    draw_motion_jpeg,
)
from vgen.training.degrade_noise import add_noise, draw_chroma, draw_gaussian, draw_sensor
from vgen.training.degrade_soft import (
    blur,
    draw_blur,
    draw_motion_blur,
    draw_resize,
    shrink_and_enlarge,
)
from vgen.training.degrade_tape import draw_interlaced, draw_tape


def degrade_clip(clip_thwc: Clip, mix: Mix, rng: Generator, *, scale: int = 1) -> Clip:
    """Return ``clip_thwc``, shrunk by ``scale``, with one draw of damage from ``mix``."""
    shares = np.array(list(asdict(mix).values()))
    kind = list(asdict(mix))[rng.choice(len(shares), p=shares / shares.sum())]
    return KINDS[kind](shrink_clip(clip_thwc, scale), rng)


def shrink_clip(clip_thwc: Clip, scale: int) -> Clip:
    """Return the clip ``scale`` times smaller along each side, by antialiased bicubic.

    The filter is that of the super-resolution benchmarks: torch's agrees with Matlab's
    ``imresize`` to 0.15 of a level on average.

    Raises:
        ValueError: the sides are no multiples of ``scale``.
    """
    if scale == 1:
        return clip_thwc
    height, width = clip_thwc.shape[1:3]
    if height % scale or width % scale:
        raise ValueError(f"{width}x{height} is no multiple of {scale=}")
    tensor_tchw = torch.from_numpy(np.ascontiguousarray(clip_thwc)).movedim(-1, 1).float()
    size = (height // scale, width // scale)
    small_tchw = F.interpolate(tensor_tchw, size=size, mode="bicubic", antialias=True)
    return np.ascontiguousarray(to_bytes(small_tchw.movedim(1, -1).numpy()))


def _noise_subsampled(clip_thwc: Clip, rng: Generator) -> Clip:
    encoding = draw_encoding(rng, best_crf=18, worst_crf=18)
    return subsample_clip(draw_gaussian(clip_thwc, rng), encoding)


def _noise_then_codec(clip_thwc: Clip, rng: Generator) -> Clip:
    if rng.random() < 0.5:
        noisy = add_noise(clip_thwc, sigma=rng.uniform(2, 20), rng=rng)
    else:
        noisy = draw_sensor(clip_thwc, rng)
    return code_clip(noisy, draw_encoding(rng, best_crf=18, worst_crf=36))


def _soft(clip_thwc: Clip, rng: Generator) -> Clip:
    if rng.random() < 0.5:
        sigmas = rng.uniform(0.3, 1.2, size=2)
        softened = blur(clip_thwc, sigma_x_px=sigmas[0], sigma_y_px=sigmas[1])
    else:
        ratio = rng.uniform(0.55, 0.95)
        softened = shrink_and_enlarge(clip_thwc, ratio=ratio, is_sharp=bool(rng.random() < 0.5))
    return _coded_or_not(softened, rng)


def _blur(clip_thwc: Clip, rng: Generator) -> Clip:
    return _coded_or_not(draw_blur(clip_thwc, rng, strongest_px=1.8), rng)


def _motion(clip_thwc: Clip, rng: Generator) -> Clip:
    return _coded_or_not(draw_motion_blur(clip_thwc, rng, longest_px=9), rng)


def _coded_or_not(clip_thwc: Clip, rng: Generator) -> Clip:
    if rng.random() < 0.5:
        return clip_thwc
    return code_clip(clip_thwc, draw_encoding(rng, best_crf=18, worst_crf=36))


def _jpeg(clip_thwc: Clip, rng: Generator) -> Clip:
    return draw_jpeg(clip_thwc, rng) if rng.random() < 0.5 else draw_motion_jpeg(clip_thwc, rng)


def _twice(clip_thwc: Clip, rng: Generator) -> Clip:
    """Damage in the order of ingest, then the same at half strength, a codec last."""
    for share in (1.0, 0.5):
        if rng.random() < 0.7 * share:
            clip_thwc = draw_blur(clip_thwc, rng, strongest_px=0.3 + 1.2 * share)
        elif rng.random() < 0.15 * share:
            clip_thwc = draw_motion_blur(clip_thwc, rng, longest_px=3 + 4 * share)
        if rng.random() < 0.5 * share:
            clip_thwc = draw_resize(clip_thwc, rng, smallest=1 - 0.4 * share)
        if rng.random() < 0.8:
            clip_thwc = _light_noise(clip_thwc, rng, share)
        if rng.random() < 0.2 * share:
            clip_thwc = draw_motion_jpeg(clip_thwc, rng, worst=round(70 - 40 * share))
    if rng.random() < 0.1:
        return draw_bit_rate(clip_thwc, rng)
    return code_clip(clip_thwc, draw_encoding(rng, best_crf=18, worst_crf=36))


def _light_noise(clip_thwc: Clip, rng: Generator, share: float) -> Clip:
    if rng.random() < 0.4:
        return draw_chroma(clip_thwc, rng, strongest=3 + 4 * share)
    return add_noise(clip_thwc, sigma=rng.uniform(1, 12 * share), rng=rng)


def _clean(clip_thwc: Clip, rng: Generator) -> Clip:
    if rng.random() < 0.5:
        return clip_thwc
    return subsample_clip(clip_thwc, draw_encoding(rng, best_crf=18, worst_crf=18))


def _near_clean(clip_thwc: Clip, rng: Generator) -> Clip:
    return code_clip(clip_thwc, draw_encoding(rng, best_crf=10, worst_crf=18))


KINDS: dict[str, Callable[[Clip, Generator], Clip]] = {
    "noise": draw_gaussian,
    "noise_subsampled": _noise_subsampled,
    "sensor": draw_sensor,
    "chroma": draw_chroma,
    "codec": draw_coded,
    "bit_rate": draw_bit_rate,
    "broadcast": draw_broadcast,
    "modern": draw_modern,
    "noise_then_codec": _noise_then_codec,
    "soft": _soft,
    "blur": _blur,
    "motion": _motion,
    "jpeg": _jpeg,
    "twice": _twice,
    "clean": _clean,
    "near_clean": _near_clean,
    "tape": draw_tape,
    "interlaced": draw_interlaced,
}
"""What each share of a ``Mix`` stands for; each keeps the shape of the clip."""
