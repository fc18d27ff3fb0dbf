"""Pictures that lost sharpness: blur of a lens, of motion, and of a smaller size.

Parameters drift slowly from frame to frame, as focus and shake do. Kernels sum to one, so that
brightness stays.

Clips are uint8 RGB arrays ``[T, H, W, 3]``.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vgen.training.codec import Clip

Kernel = NDArray[np.float32]

ENLARGERS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)
SHRINKERS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


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


def filter_clip(clip_thwc: Clip, kernels: Sequence[Kernel]) -> Clip:
    """Filter each frame by a kernel of its own; edges are mirrored."""
    return np.stack(
        [
            cv2.filter2D(frame, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
            for frame, kernel in zip(clip_thwc, kernels, strict=True)
        ]
    ).astype(np.uint8, copy=False)


def walk(
    frames: int, start: float, step: float, bounds: tuple[float, float], rng: Generator
) -> list[float]:
    """Return ``frames`` values from ``start`` on, each a normal step from the last, in bounds."""
    values = [start]
    for _ in range(frames - 1):
        values.append(float(np.clip(values[-1] + rng.normal(0, step), *bounds)))
    return values


def gaussian_kernel(
    sigma_x_px: float, sigma_y_px: float, angle_rad: float, *, power: float = 2.0
) -> Kernel:
    """Return a rotated Gaussian; with a ``power`` above 2 flatter in the middle, below 2 peaked.

    The generalised kernel of Real-ESRGAN (Wang et al. 2021): exp(-(d^2 / 2) ^ (power / 2)), where
    d is the distance in sigmas.
    """
    radius = max(1, math.ceil(3 * max(sigma_x_px, sigma_y_px)))
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    along, across = cosine * columns + sine * rows, cosine * rows - sine * columns
    distance = (along / sigma_x_px) ** 2 + (across / sigma_y_px) ** 2
    kernel = np.exp(-((distance / 2) ** (power / 2)))
    return np.asarray(kernel / kernel.sum(), np.float32)


def motion_kernel(length_px: float, angle_rad: float) -> Kernel:
    """Return the blur of an even motion over ``length_px`` pixels, centred, at least 1."""
    reach = (length_px - 1) / 2
    radius = max(1, math.ceil(reach))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    ends = np.array([[-1.0], [1.0]]) * reach * np.array([math.cos(angle_rad), math.sin(angle_rad)])
    # Many points along the line, each shared by the four pixels around it.
    for share in np.linspace(0, 1, 8 * radius + 1):
        column, row = ends[0] + share * (ends[1] - ends[0]) + radius
        left, top = int(column), int(row)
        for y, x in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            weight = max(0.0, 1 - abs(column - x)) * max(0.0, 1 - abs(row - y))
            if weight > 0:
                kernel[y, x] += weight
    return np.asarray(kernel / kernel.sum(), np.float32)


def draw_blur(clip_thwc: Clip, rng: Generator, *, strongest_px: float) -> Clip:
    """Blur by a Gaussian whose shape drifts: round or long, at any angle, now and then flat."""
    frames = len(clip_thwc)
    bounds = (0.2, strongest_px)
    sigma_x = walk(frames, rng.uniform(*bounds), 0.02, bounds, rng)
    is_round = rng.random() < 0.5
    sigma_y = sigma_x if is_round else walk(frames, rng.uniform(*bounds), 0.02, bounds, rng)
    angle = walk(frames, rng.uniform(0, math.pi), 0.1, (-math.inf, math.inf), rng)
    power = float(rng.uniform(1.0, 8.0)) if rng.random() < 0.25 else 2.0
    return filter_clip(
        clip_thwc,
        [
            gaussian_kernel(*shape, power=power)
            for shape in zip(sigma_x, sigma_y, angle, strict=True)
        ],
    )


def draw_motion_blur(clip_thwc: Clip, rng: Generator, *, longest_px: float) -> Clip:
    """Blur along a direction that drifts, as the camera's own motion does."""
    frames = len(clip_thwc)
    length = walk(frames, rng.uniform(3, longest_px), 0.5, (1, longest_px), rng)
    angle = walk(frames, rng.uniform(0, math.pi), 0.1, (-math.inf, math.inf), rng)
    shapes = zip(length, angle, strict=True)
    return filter_clip(clip_thwc, [motion_kernel(*shape) for shape in shapes])


def draw_resize(clip_thwc: Clip, rng: Generator, *, smallest: float) -> Clip:
    """Scale to a size that drifts, by some filter, and back by another."""
    height, width = clip_thwc.shape[1:3]
    bounds = (smallest, 1.2)
    ratios = walk(len(clip_thwc), rng.uniform(*bounds), 0.01, bounds, rng)
    there = SHRINKERS[rng.integers(len(SHRINKERS))]
    back = ENLARGERS[rng.integers(len(ENLARGERS))]
    frames = []
    for frame, ratio in zip(clip_thwc, ratios, strict=True):
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        scaled = cv2.resize(frame, size, interpolation=there)
        frames.append(cv2.resize(scaled, (width, height), interpolation=back))
    return np.stack(frames).astype(np.uint8, copy=False)
