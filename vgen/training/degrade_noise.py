"""Noise as cameras, scanners and benchmarks have it: parameters of a clip, dice of every frame.

Clips are uint8 RGB arrays ``[T, H, W, 3]``. Sigma is in 8-bit levels.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vgen.training.codec import Clip, to_bytes
from vgen.training.degrade_soft import walk

GAMMA = 2.2


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
    light = (clip_thwc.astype(np.float32) / 255) ** GAMMA
    noise = rng.standard_normal(clip_thwc.shape, dtype=np.float32)
    if blur_px > 0:
        noise = _correlated(noise, blur_px)
    light += noise * np.sqrt(shot * light + read**2)
    return to_bytes(255 * np.clip(light, 0, 1) ** (1 / GAMMA))


def add_chroma_noise(
    clip_thwc: Clip,
    *,
    sigma: float,
    chroma_gain: float,
    blur_px: float,
    chroma_blur_px: float,
    rng: Generator,
) -> Clip:
    """Add noise that is stronger and coarser in colour than in light, as cameras process it.

    Args:
        clip_thwc: The clip.
        sigma: Standard deviation of luma in levels.
        chroma_gain: That of either colour difference (BT.601, scaled as luma) over ``sigma``.
        blur_px: Sigma of the blur that correlates neighbours in luma; 0 for none.
        chroma_blur_px: The same in colour.
        rng: Source of the noise.
    """
    noise = rng.standard_normal(clip_thwc.shape, dtype=np.float32)
    luma = _correlated(noise[..., :1], blur_px) if blur_px > 0 else noise[..., :1]
    chroma = _correlated(noise[..., 1:], chroma_blur_px) if chroma_blur_px > 0 else noise[..., 1:]
    luma, chroma = luma * np.float32(sigma), chroma * np.float32(sigma * chroma_gain)
    blue, red = chroma[..., :1], chroma[..., 1:]
    # What Y', Cb, Cr add to R'G'B' by BT.601.
    added = np.concatenate(
        (luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue), axis=-1
    )
    return to_bytes(clip_thwc.astype(np.float32) + added)


def draw_gaussian(clip_thwc: Clip, rng: Generator) -> Clip:
    """Gaussian noise with a sigma of 1 to 55; one clip in ten has the same in all colours."""
    sigma = rng.uniform(1, 55)
    return add_noise(clip_thwc, sigma=sigma, rng=rng, is_gray=bool(rng.random() < 0.1))


def draw_sensor(clip_thwc: Clip, rng: Generator) -> Clip:
    """Noise that grows with light, of good to bad cameras; half of it correlated."""
    return add_sensor_noise(
        clip_thwc,
        shot=float(np.exp(rng.uniform(np.log(2e-4), np.log(1.2e-2)))),
        read=float(np.exp(rng.uniform(np.log(5e-4), np.log(2e-2)))),
        blur_px=float(rng.uniform(0.3, 0.8)) if rng.random() < 0.5 else 0.0,
        rng=rng,
    )


def draw_chroma(clip_thwc: Clip, rng: Generator, *, strongest: float = 12) -> Clip:
    """Noise of small cameras in the dark: coarse blotches of colour, a level that drifts."""
    # Of a colour difference that blue has 1.77 and red 1.4 times: as strong to the eye as luma.
    gain, blur_px = float(rng.uniform(0.5, 1.1)), float(rng.uniform(0, 0.8))
    chroma_blur_px = blur_px + float(rng.uniform(0.4, 1.6))
    sigmas = walk(len(clip_thwc), rng.uniform(1, strongest), 0.3, (1, strongest), rng)
    frames = [
        add_chroma_noise(
            frame[None],
            sigma=sigma,
            chroma_gain=gain,
            blur_px=blur_px,
            chroma_blur_px=chroma_blur_px,
            rng=rng,
        )
        for frame, sigma in zip(clip_thwc, sigmas, strict=True)
    ]
    return np.concatenate(frames)


def _correlated(noise_thwc: NDArray[np.float32], blur_px: float) -> NDArray[np.float32]:
    """Blur noise and give it back its strength."""
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), blur_px) for frame in noise_thwc])
    blurred = blurred.reshape(noise_thwc.shape).astype(np.float32, copy=False)
    return np.asarray(blurred / blurred.std(), np.float32)
