"""What is measured of each frame of the source before any span is processed.

Every figure is of one frame, or of a frame and the one before it, so that any machine may measure
any stretch of a video: it starts one frame early, and ``merge_stats`` puts the stretches together.

Pictures are small RGB, 8 bits, about 180 to 270 rows; luma is BT.709's of the code values, which
is near enough for what follows. Black bars are no picture: all figures are of what lies inside.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vgen.post.bars import Bars, common_bars, find_bars, part_inside
from vgen.post.light import measure_log_gain
from vgen.post.motion import IDENTITY, Motion, estimate_motion

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue in luma, BT.709."""
PERCENTILES = (0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5)
"""Of luma, in percent."""
NORM = 6
"""Exponent of the Minkowski mean; Finlayson, Trezzi, "Shades of gray", Color Imaging 2004."""
DARK, BRIGHT = 0.03, 0.97
"""Pixels with a channel outside are clipped or nearly so, and do not show the light's colour."""
DISPLAY_GAMMA = 2.2
"""Power that takes code values to linear light."""
MIN_EXPOSED = 0.05
"""A frame with a smaller share of well-exposed pixels says nothing about the light."""
MEASURED_ROWS = 60
"""Light and colour are taken from about so many rows, and as many pixels of each, which say as much
as all of them."""
LOG_FLOOR = 0.05
"""Added to luma before its logarithm, so that noise in the dark is no detail."""
NOISE_BLOCK = 32
"""Side of the blocks in which noise is measured, pixels of the full picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameStats:
    """The figures of one frame; a flat row, whatever the size of the video."""

    frame: int
    """Number of the frame in its video."""
    bars: Bars | None
    """Black bars around the picture; None where all is black."""
    luma: tuple[float, ...]
    """Luma at ``PERCENTILES``, in [0, 1]."""
    detail: float
    """Mean luma of what has detail: pixels count by the gradient of luma's logarithm. It varies
    less from picture to picture than the plain mean, as skies, walls and screens say little."""
    illuminant: tuple[float, float, float] | None
    """Colour of the light: logarithms of red, green, blue in code values, sum 0; None: unknown."""
    mean_ycc: tuple[float, float, float]
    """Mean luma and mean of B - Y and R - Y, in shares of the range."""
    spread_ycc: tuple[float, float, float]
    """Standard deviations of the same."""
    log_gain: float | None
    """Natural logarithm of the brightness by that of the frame before; None if not measured, if it
    cannot be told, or if there is none."""
    sigma: float | None
    """Standard deviation of the noise in 8-bit levels; None if not measured."""
    motion: Motion | None
    """From the frame before; None if not measured, or if there is none."""


class Observer:
    """Measures the frames of one stretch in order; the state is the frame before."""

    def __init__(
        self, *, with_motion: bool, with_light: bool = False, aspect: float | None = None
    ) -> None:
        """Choose what is compared with the frame before.

        Args:
            with_motion: Whether to measure the camera's motion.
            with_light: Whether to measure the change of brightness.
            aspect: The shown picture's width by height; None where pixels are square.
        """
        self._with_motion = with_motion
        self._with_light = with_light
        self._aspect = aspect
        self._previous: tuple[NDArray[np.uint8], Bars | None] | None = None

    def see(
        self,
        frame: int,
        small_hwc: NDArray[np.uint8],
        *,
        luma_hw: NDArray[np.uint8] | None = None,
        luma_gain: float = 1.0,
        starts_shot: bool = False,
    ) -> FrameStats:
        """Measure one frame.

        Args:
            frame: Its number.
            small_hwc: Small RGB picture, all of one size.
            luma_hw: Luma in the full size, 8-bit levels, where noise is to be measured.
            luma_gain: Levels of it for one level of R'G'B'; below 1 in limited range.
            starts_shot: Whether a cut lies before it, so that nothing is compared across.
        """
        if small_hwc.ndim != 3 or small_hwc.shape[2] != 3 or small_hwc.dtype != np.uint8:
            raise ValueError(f"expected uint8 [H, W, 3], got {small_hwc.dtype} {small_hwc.shape}")
        row = measure_picture(small_hwc)
        luma_small_hw = cv2.transform(small_hwc, np.array([LUMA]))
        before = None if starts_shot else self._previous
        self._previous = luma_small_hw, row.bars
        motion = log_gain = None
        if before is not None:
            before_hw, bars = before
            inside = part_inside(common_bars([bars, row.bars]).inside, *luma_small_hw.shape)
            if self._with_motion:
                motion = estimate_motion(
                    before_hw, luma_small_hw, aspect=self._aspect, inside=inside
                )
            if self._with_light:
                log_gain = measure_log_gain(before_hw[inside], luma_small_hw[inside])
        sigma = None
        if luma_hw is not None:
            inside = part_inside(common_bars([row.bars]).inside, *luma_hw.shape)
            sigma = measure_noise(luma_hw[inside]) / luma_gain
        return replace(row, frame=frame, log_gain=log_gain, sigma=sigma, motion=motion)


def measure_picture(small_hwc: NDArray[np.uint8]) -> FrameStats:
    """Measure light and colour of a picture by itself, such as a reference still, as frame 0."""
    bars = find_bars(small_hwc)
    inside_hwc = small_hwc[part_inside(common_bars([bars]).inside, *small_hwc.shape[:2])]
    step = max(min(inside_hwc.shape[:2]) // MEASURED_ROWS, 1)
    # A channel after the other: a mean along three neighbours costs ten times as much.
    picked_3n = inside_hwc[::step, ::step].reshape(-1, 3).T.astype(np.float32, order="C")
    rgb_3n = picked_3n / np.float32(255)
    luma_n = np.asarray(np.array(LUMA, np.float32) @ rgb_3n, np.float32)
    ycc_3n = np.stack([luma_n, rgb_3n[2] - luma_n, rgb_3n[0] - luma_n])
    mean, spread = ycc_3n.mean(axis=1), ycc_3n.std(axis=1)
    return FrameStats(
        frame=0,
        bars=bars,
        luma=tuple(map(float, np.percentile(luma_n, PERCENTILES))),
        detail=_detail(inside_hwc, step),
        illuminant=_illuminant(rgb_3n),
        mean_ycc=(float(mean[0]), float(mean[1]), float(mean[2])),
        spread_ycc=(float(spread[0]), float(spread[1]), float(spread[2])),
        log_gain=None,
        sigma=None,
        motion=None,
    )


def measure_noise(luma_hw: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the noise in 8-bit levels.

    The median absolute diagonal detail of the finest Haar level, by 0.6745 (Donoho and Johnstone
    1994), in blocks; of the blocks the lower quartile, as texture only ever adds.
    """
    height, width = (size // NOISE_BLOCK * NOISE_BLOCK for size in luma_hw.shape)
    if not height or not width:
        return 0.0
    # Every other row of blocks tells as much as all of them.
    rows = luma_hw[:height, :width].reshape(-1, NOISE_BLOCK, width)[::2].astype(np.float32)
    cells = rows.reshape(len(rows), NOISE_BLOCK // 2, 2, width // 2, 2)
    detail = (
        cells[:, :, 0, :, 0] - cells[:, :, 0, :, 1] - cells[:, :, 1, :, 0] + cells[:, :, 1, :, 1]
    )
    half = NOISE_BLOCK // 2
    blocks = np.abs(detail / 2).reshape(len(rows), half, -1, half).swapaxes(1, 2)
    means = rows.reshape(len(rows), NOISE_BLOCK, -1, NOISE_BLOCK).mean(axis=(1, 3))
    # Clipping hides noise.
    is_open = (means > 255 * DARK) & (means < 255 * BRIGHT)
    if not is_open.any():
        return 0.0
    # The mean of small details follows rounding less than their median does.
    sigmas = np.median(blocks[is_open].reshape(-1, half * half), axis=1) / 0.6745
    return float(np.percentile(sigmas, 25))


def merge_stats(parts: Iterable[Iterable[FrameStats]]) -> list[FrameStats]:
    """Put stretches together: a row a frame, in order, without a gap.

    A frame that two stretches saw counts once, the row that was compared with the frame before
    rather than the other; a frame that nobody saw gets its neighbour's row with no motion.
    """
    seen: dict[int, FrameStats] = {}
    for part in parts:
        for row in part:
            known = seen.get(row.frame)
            if known is None or (known.motion is None and known.log_gain is None):
                seen[row.frame] = row
    merged: list[FrameStats] = []
    for frame in sorted(seen):
        while merged and merged[-1].frame + 1 < frame:
            merged.append(_unseen(merged[-1]))
        merged.append(seen[frame])
    return merged


def _unseen(before: FrameStats) -> FrameStats:
    lost = None if before.motion is None else Motion(similarity=IDENTITY, quality=0.0)
    return replace(before, frame=before.frame + 1, log_gain=None, motion=lost)


def _detail(small_hwc: NDArray[np.uint8], step: int) -> float:
    height, width = (max(side // step, 1) for side in small_hwc.shape[:2])
    area_hwc = cv2.resize(small_hwc, (width, height), interpolation=cv2.INTER_AREA)
    luma_hw = cv2.transform(area_hwc.astype(np.float32), np.array([LUMA]) / 255)
    log_hw = np.log(luma_hw + np.float32(LOG_FLOOR))
    slopes = (cv2.Sobel(log_hw, cv2.CV_32F, dx, 1 - dx, ksize=1) for dx in (0, 1))
    weight_hw = cv2.magnitude(*slopes)
    total = float(weight_hw.sum())
    return float(luma_hw.mean()) if total == 0 else float((weight_hw * luma_hw).sum()) / total


def _illuminant(rgb_3n: NDArray[np.float32]) -> tuple[float, float, float] | None:
    is_exposed = (rgb_3n.min(axis=0) > DARK) & (rgb_3n.max(axis=0) < BRIGHT)
    if is_exposed.mean() < MIN_EXPOSED:
        return None
    power = NORM * DISPLAY_GAMMA
    means = (rgb_3n[:, is_exposed] ** np.float32(power)).mean(axis=1, dtype=np.float64)
    logs = np.log(means) / power
    red, green, blue = (float(log - logs.mean()) for log in logs)
    return red, green, blue
