"""What happens to pictures before they reach an archive: one blind mix.

Parameters are drawn once a clip and the noise of every frame is its own, as in a real
recording. Every result is 8-bit RGB. A seventh of the mix is clean or nearly so: a network that
never saw a good picture would smooth it.

Clips are uint8 RGB arrays ``[T, H, W, 3]``; H and W are even. Sigma is in 8-bit levels.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.random import Generator

from vgen.training.codec import Clip, Encoding, code_clip, subsample_clip, to_bytes

PRESETS = {
    "ultrafast": 0.05,
    "superfast": 0.1,
    "veryfast": 0.2,
    "faster": 0.1,
    "fast": 0.15,
    "medium": 0.4,
}
"""Presets of x264 and how often each is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How often each kind of damage is drawn; only the ratios count."""

    noise: float = 0.09
    """Gaussian noise, sigma up to 55."""
    noise_subsampled: float = 0.03
    """The same, kept in a lossless 4:2:0 file."""
    sensor: float = 0.02
    """Noise that grows with light, often correlated between neighbours."""
    codec: float = 0.60
    """x264 crf 18 to 48, MPEG-2, MPEG-4. Half of the mix: noise is learned in minutes, while
    what a codec loses comes back slowly and by tenths of a decibel."""
    noise_then_codec: float = 0.06
    """Light noise that a codec then had to spend its bits on."""
    soft: float = 0.03
    """Blur, or a smaller size and back; half of it coded afterwards."""
    jpeg: float = 0.01
    """Every frame a JPEG of its own."""
    clean: float = 0.03
    """Untouched, or 4:2:0 alone."""
    near_clean: float = 0.13
    """x264 crf 10 to 18."""

    def __post_init__(self) -> None:
        shares = asdict(self)
        if min(shares.values()) < 0 or sum(shares.values()) <= 0:
            raise ValueError(f"shares must not be negative and not all 0, got {shares}")


def degrade_clip(clip_thwc: Clip, mix: Mix, rng: Generator) -> Clip:
    """Return ``clip_thwc`` with one draw of damage from ``mix``; the same shape and type."""
    shares = np.array(list(asdict(mix).values()))
    kind = list(asdict(mix))[rng.choice(len(shares), p=shares / shares.sum())]
    return _KINDS[kind](clip_thwc, rng)


def add_noise(clip_thwc: Clip, *, sigma: float, rng: Generator, is_gray: bool = False) -> Clip:
    """Add Gaussian noise, drawn once for each pixel of each frame; round and clip to 8 bits."""
    shape = (*clip_thwc.shape[:3], 1 if is_gray else 3)
    noise = rng.standard_normal(shape, dtype=np.float32)
    return to_bytes(clip_thwc.astype(np.float32) + noise * np.float32(sigma))


def add_sensor_noise(
    clip_thwc: Clip, *, shot: float, read: float, blur_px: float, rng: Generator
) -> Clip:
    """Add noise of variance ``shot * light + read ** 2`` to linear light in [0, 1].

    Args:
        clip_thwc: The clip.
        shot: Variance at full light.
        read: Standard deviation in the dark.
        blur_px: Sigma of the blur that correlates neighbours, as demosaicing does; 0 for none.
        rng: Source of the noise.
    """
    light = (clip_thwc.astype(np.float32) / 255) ** 2.2
    noise = rng.standard_normal(clip_thwc.shape, dtype=np.float32)
    if blur_px > 0:
        noise = np.stack([cv2.GaussianBlur(frame, (0, 0), blur_px) for frame in noise])
        noise /= noise.std()
    light += noise * np.sqrt(shot * light + read**2)
    return to_bytes(255 * np.clip(light, 0, 1) ** (1 / 2.2))


def blur(clip_thwc: Clip, *, sigma_x_px: float, sigma_y_px: float) -> Clip:
    """Soften every frame by the same Gaussian."""
    return np.stack(
        [cv2.GaussianBlur(frame, (0, 0), sigma_x_px, sigmaY=sigma_y_px) for frame in clip_thwc]
    ).astype(np.uint8, copy=False)


def shrink_and_enlarge(clip_thwc: Clip, *, ratio: float, is_sharp: bool) -> Clip:
    """Scale every frame to ``ratio`` of its size and back."""
    height, width = clip_thwc.shape[1:3]
    smaller = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    back = cv2.INTER_CUBIC if is_sharp else cv2.INTER_LINEAR
    frames = [cv2.resize(frame, smaller, interpolation=cv2.INTER_AREA) for frame in clip_thwc]
    return np.stack(
        [cv2.resize(frame, (width, height), interpolation=back) for frame in frames]
    ).astype(np.uint8, copy=False)


def jpeg(clip_thwc: Clip, *, quality: int) -> Clip:
    """Code every frame as a JPEG of ``quality`` 1 to 100."""
    coded = []
    for frame in clip_thwc:
        is_coded, stream = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert is_coded
        coded.append(np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), np.uint8))
    return np.stack(coded)


def draw_encoding(rng: Generator, *, best_crf: int, worst_crf: int) -> Encoding:
    """Draw a codec and its settings; crf in ``[best_crf, worst_crf]``, q to match for MPEG."""
    codec = rng.choice(["libx264", "mpeg2video", "mpeg4"], p=[0.86, 0.07, 0.07])
    crf = int(rng.integers(best_crf, worst_crf + 1))
    # Six steps of crf double the quantiser; crf 18 looks about like q 2.
    quantiser = int(np.clip(2 * 2 ** ((crf - 18) / 6), 2, 31))
    return Encoding(
        codec=str(codec),
        quality=crf if codec == "libx264" else quantiser,
        preset=str(rng.choice(list(PRESETS), p=list(PRESETS.values()))),
        keyframe_every=int(rng.choice([1, 12, 48], p=[0.1, 0.2, 0.7])),
        matrix=str(rng.choice(["bt601", "bt709"])),
        is_full_range=bool(rng.random() < 0.15),
        upsampling=("left", "centre", "nearest")[rng.choice(3, p=[0.5, 0.3, 0.2])],
    )


def _noise(clip_thwc: Clip, rng: Generator) -> Clip:
    sigma = rng.uniform(1, 55)
    return add_noise(clip_thwc, sigma=sigma, rng=rng, is_gray=bool(rng.random() < 0.1))


def _noise_subsampled(clip_thwc: Clip, rng: Generator) -> Clip:
    encoding = draw_encoding(rng, best_crf=18, worst_crf=18)
    return subsample_clip(_noise(clip_thwc, rng), encoding)


def _sensor(clip_thwc: Clip, rng: Generator) -> Clip:
    return add_sensor_noise(
        clip_thwc,
        shot=float(np.exp(rng.uniform(np.log(2e-4), np.log(1.2e-2)))),
        read=float(np.exp(rng.uniform(np.log(5e-4), np.log(2e-2)))),
        blur_px=float(rng.uniform(0.3, 0.8)) if rng.random() < 0.5 else 0.0,
        rng=rng,
    )


def _codec(clip_thwc: Clip, rng: Generator) -> Clip:
    # One in six is far gone: archives of the web's first years look like that.
    low, high = ((18, 25), (26, 40), (41, 48))[rng.choice(3, p=[1 / 6, 2 / 3, 1 / 6])]
    return code_clip(clip_thwc, draw_encoding(rng, best_crf=low, worst_crf=high))


def _noise_then_codec(clip_thwc: Clip, rng: Generator) -> Clip:
    if rng.random() < 0.5:
        noisy = add_noise(clip_thwc, sigma=rng.uniform(2, 20), rng=rng)
    else:
        noisy = _sensor(clip_thwc, rng)
    return code_clip(noisy, draw_encoding(rng, best_crf=18, worst_crf=36))


def _soft(clip_thwc: Clip, rng: Generator) -> Clip:
    if rng.random() < 0.5:
        sigmas = rng.uniform(0.3, 1.2, size=2)
        softened = blur(clip_thwc, sigma_x_px=sigmas[0], sigma_y_px=sigmas[1])
    else:
        ratio = rng.uniform(0.55, 0.95)
        softened = shrink_and_enlarge(clip_thwc, ratio=ratio, is_sharp=bool(rng.random() < 0.5))
    if rng.random() < 0.5:
        return softened
    return code_clip(softened, draw_encoding(rng, best_crf=18, worst_crf=36))


def _jpeg(clip_thwc: Clip, rng: Generator) -> Clip:
    return jpeg(clip_thwc, quality=int(rng.integers(20, 96)))


def _clean(clip_thwc: Clip, rng: Generator) -> Clip:
    if rng.random() < 0.5:
        return clip_thwc
    return subsample_clip(clip_thwc, draw_encoding(rng, best_crf=18, worst_crf=18))


def _near_clean(clip_thwc: Clip, rng: Generator) -> Clip:
    return code_clip(clip_thwc, draw_encoding(rng, best_crf=10, worst_crf=18))


_KINDS: dict[str, Callable[[Clip, Generator], Clip]] = {
    "noise": _noise,
    "noise_subsampled": _noise_subsampled,
    "sensor": _sensor,
    "codec": _codec,
    "noise_then_codec": _noise_then_codec,
    "soft": _soft,
    "jpeg": _jpeg,
    "clean": _clean,
    "near_clean": _near_clean,
}
