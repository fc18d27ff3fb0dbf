"""What tape and fields do to a picture: video cassettes, and two fields woven into one frame.

Off by default: who has no such archive would pay for it in sharpness elsewhere. Strengths are of
a picture of some 240 to 600 lines.

Clips are uint8 RGB arrays ``[T, H, W, 3]``; luma and colour are Y', Cb, Cr by BT.601 in levels.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vgen.training.codec import Clip, Plane, to_bytes
from vgen.training.degrade_codec import draw_broadcast

# Rows give Y', Cb and Cr of R'G'B' in the same unit, colours centred on 0.
_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_TO_RGB = np.linalg.inv(_TO_YCC).astype(np.float32)

DROPOUT_PX = (6, 60)
"""Shortest and longest streak where the tape lost its coating."""


def weave(clip_thwc: Clip) -> Clip:
    """Take every second line from the frame after: what is shown combs where it moves."""
    woven = clip_thwc.copy()
    woven[:-1, 1::2] = clip_thwc[1:, 1::2]
    return woven


def double_field(clip_thwc: Clip) -> Clip:
    """Keep the even lines alone and interpolate the others: the cheapest deinterlacing."""
    doubled = clip_thwc.astype(np.float32)
    even = doubled[:, ::2]
    count = doubled[:, 1::2].shape[1]
    below = np.concatenate((even[:, 1:], even[:, -1:]), axis=1)[:, :count]
    doubled[:, 1::2] = (even[:, :count] + below) / 2
    return to_bytes(doubled)


def draw_interlaced(clip_thwc: Clip, rng: Generator) -> Clip:
    """Two fields in a frame, or one of them doubled; half of it coded as a broadcast."""
    fields = weave(clip_thwc) if rng.random() < 0.6 else double_field(clip_thwc)
    return draw_broadcast(fields, rng) if rng.random() < 0.5 else fields


def draw_tape(clip_thwc: Clip, rng: Generator) -> Clip:
    """A video cassette: soft ringing luma, smeared and shifted colour, trembling lines, noise."""
    softness_px, ringing = rng.uniform(0.6, 1.3), rng.uniform(0.2, 0.8)
    narrowing = int(rng.integers(3, 9))
    delay_px, drop_px = float(rng.uniform(1, 4)), int(rng.integers(0, 3))
    luma_sigma, colour_sigma = rng.uniform(1, 6), rng.uniform(1, 5)
    jitter_px, dropouts = rng.uniform(0, 0.8), rng.choice([0.0, 0.3, 1.5])
    frames = []
    for frame in clip_thwc:
        luma, blue, red = np.moveaxis(frame.astype(np.float32) @ _TO_YCC.T, -1, 0)
        luma = ring(luma, softness_px=softness_px, strength=ringing)
        luma += _streaky_noise(luma.shape, luma_sigma, (1.0, 0.3), rng)
        lose_coating(luma, rate=dropouts, rng=rng)
        colours = [
            smear(plane, narrowing=narrowing, delay_px=delay_px, drop_px=drop_px)
            + _streaky_noise(plane.shape, colour_sigma, (6.0, 0.7), rng)
            for plane in (blue, red)
        ]
        offsets = line_offsets(len(luma), spread_px=jitter_px, rng=rng)
        shown = shift_lines(np.stack((luma, *colours), axis=-1), offsets)
        frames.append(to_bytes(shown @ _TO_RGB.T))
    return np.stack(frames)


def ring(luma_hw: Plane, *, softness_px: float, strength: float) -> Plane:
    """Lose the finest detail along lines, and overshoot at what edges are left."""
    soft = cv2.GaussianBlur(luma_hw, (0, 0), softness_px, sigmaY=0.01)
    wide = cv2.GaussianBlur(luma_hw, (0, 0), 2.5 * softness_px, sigmaY=0.01)
    return np.asarray(soft + np.float32(strength) * (soft - wide), np.float32)


def smear(plane_hw: Plane, *, narrowing: int, delay_px: float, drop_px: int) -> Plane:
    """Keep one colour sample in ``narrowing`` along lines, late by a delay and some lines low."""
    height, width = plane_hw.shape
    narrow = cv2.resize(
        plane_hw, (max(1, width // narrowing), height), interpolation=cv2.INTER_AREA
    )
    wide = cv2.resize(narrow, (width, height), interpolation=cv2.INTER_LINEAR)
    move = np.array([[1, 0, delay_px], [0, 1, drop_px]], np.float32)
    moved = cv2.warpAffine(wide, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def line_offsets(lines: int, *, spread_px: float, rng: Generator) -> NDArray[np.float32]:
    """Return how far each line is off, an AR(1) walk down the frame with that deviation."""
    kept = 0.9
    steps = rng.normal(0, spread_px * np.sqrt(1 - kept**2), size=lines)
    offsets = np.empty(lines, np.float32)
    last = rng.normal(0, spread_px)
    for line, step in enumerate(steps):
        offsets[line] = last
        last = kept * last + step
    return offsets


def shift_lines(
    frame_hwc: NDArray[np.float32], offsets: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Move each line sideways by its offset in pixels, interpolating; edges are repeated."""
    height, width = frame_hwc.shape[:2]
    columns = np.arange(width, dtype=np.float32)[None] - offsets[:, None]
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    shifted = cv2.remap(frame_hwc, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(shifted, np.float32)


def lose_coating(luma_hw: Plane, *, rate: float, rng: Generator) -> None:
    """Draw ``rate`` white streaks a frame on average into ``luma_hw``, fading to the right."""
    height, width = luma_hw.shape
    for _ in range(rng.poisson(rate)):
        length = int(rng.integers(*DROPOUT_PX))
        row, left = int(rng.integers(height)), int(rng.integers(width))
        streak = luma_hw[row : row + 1, left : left + length]
        share = np.linspace(1, 0, streak.shape[1], dtype=np.float32)
        streak += share * (np.float32(rng.uniform(180, 255)) - streak)


def _streaky_noise(
    shape: tuple[int, ...], sigma: float, blur_px: tuple[float, float], rng: Generator
) -> Plane:
    """Return noise of that deviation in levels, correlated along lines more than across them."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), blur_px[0], sigmaY=blur_px[1]), np.float32)
    return noise * np.float32(sigma / noise.std())
