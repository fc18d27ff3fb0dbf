"""How much injected flicker remains, against ffmpeg's deflicker, and what becomes of a fade.

``python -m benchmarks.post_deflicker``. What counts is the gain of each frame: the median, over its
pixels, of the logarithm of the output by the original, so that content does not matter. Flicker is
the part of it that is faster than a shot's Gaussian mean of ``SLOW_FRAMES``: its standard deviation
in the output, and how much of the energy and of the amplitude of what was injected is gone. With a
fade added to the clip, every deviation counts, slow ones and those between shots included.

Where nothing is injected, the clip's own flicker is what is changed, or content taken for flicker.
"""

import time
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.post_clips import Clip, filtered, read_clip
from vgen.enhance.shots import is_cut, thumbnail
from vgen.post.deflicker import Deflicker, plan_deflicker
from vgen.post.light import measure_log_gain
from vgen.post.stats import LUMA, Observer
from vgen.post_options import DeflickerOptions

CLIPS = ("street_dog_720p_audio", "bikes_640x272", "opencv_cup", "shaky_handheld_360p_msmpeg4")
FRAMES, HEIGHT = 120, 240
SLOW_FRAMES = 15
"""Standard deviation of the mean that tells slow changes from flicker."""
BLACK, WHITE = 16, 240
"""Pixels outside, before or after, are clipped or nearly so and tell no gain."""
OTHERS = [f"deflicker=size={size}" for size in (5, 15, 51)]
"""Its arithmetic mean, the default; its power mean overflows at 51 and gives black."""

Series = NDArray[np.float64]


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    t = np.arange(FRAMES)
    flickers = {
        "none": np.zeros(FRAMES),
        "random 3 %": 0.03 * rng.standard_normal(FRAMES),
        "random 8 %": 0.08 * rng.uniform(-1, 1, FRAMES),
        "mains 5 %": 0.05 * np.sin(2 * np.pi * t / 6.3),
    }
    fade = np.interp(t, [40, 80], [1.0, 0.5])
    print("| clip | flicker | method | left | energy gone | amplitude gone | error with a fade |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in CLIPS:
        clip = read_clip(name, num_frames=FRAMES, height=HEIGHT)
        faded = rounded(clip * fade[:, None, None, None])
        cuts = cuts_of(clip)
        for kind, flicker in flickers.items():
            given, given_faded = lit(clip, flicker), lit(faded, flicker)
            injected = fast(gains(clip, given), cuts).std()
            for method in ("vgen", *OTHERS):
                left = fast(gains(clip, work(given, method)), cuts).std()
                error = gains(faded, work(given_faded, method)).std()
                share = left / injected if kind != "none" else np.nan
                gone = f"{1 - share**2:.1%} | {1 - share:.1%}".replace("nan%", "-")
                print(f"| {name} | {kind} | {method} | {left:.2%} | {gone} | {error:.2%} |")
        print(
            f"| {name} | | | {measure_ms(clip):.2f} ms CPU a frame to measure | | | |", flush=True
        )


def gains(original: Clip, other: Clip) -> Series:
    """Return the logarithm of each frame's brightness by the original's, on the same pixels."""
    found = []
    for before, after in zip(original[:, ::2, ::2], other[:, ::2, ::2], strict=True):
        levels = np.stack([before @ np.array(LUMA), after @ np.array(LUMA)])
        is_open = (levels > BLACK).all(axis=0)
        for picture in (before, after):
            is_open &= picture.max(axis=-1) < WHITE
        before_n, after_n = levels[:, is_open]
        found.append(np.median(np.log(after_n / before_n)))
    return np.array(found)


def fast(series: Series, cuts: list[int]) -> Series:
    """Take a shot's slow changes out, each shot by itself."""
    shots = np.split(series, cuts)
    slow = [ndimage.gaussian_filter1d(shot, SLOW_FRAMES, mode="nearest") for shot in shots]
    return np.asarray(series - np.concatenate(slow))


def work(clip: Clip, method: str) -> Clip:
    """Run one of the methods."""
    if method != "vgen":
        return filtered(clip, method)
    observer, cuts = Observer(with_motion=False, with_light=True), cuts_of(clip)
    stats = [observer.see(t, frame, starts_shot=t in cuts) for t, frame in enumerate(clip)]
    step = Deflicker(plan_deflicker(stats, cuts, DeflickerOptions()))
    tensor = torch.from_numpy(clip.copy()).permute(0, 3, 1, 2).float() / 255
    out = step.apply(tensor, range(len(clip)))
    return (out * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def cuts_of(clip: Clip) -> list[int]:
    """Return the frames that start a shot, as the analyze pass finds them."""
    seen = [thumbnail(luma_hw, 8) for luma_hw in lumas(clip)]
    return [t for t in range(1, len(clip)) if is_cut(seen[t - 1], seen[t])]


def measure_ms(clip: Clip) -> float:
    """CPU milliseconds a frame of what is measured only for this step."""
    pictures = lumas(clip)
    began = time.process_time()
    for before, after in pairwise(pictures):
        measure_log_gain(before, after)
    return (time.process_time() - began) / (len(pictures) - 1) * 1e3


def lumas(clip: Clip) -> list[NDArray[np.uint8]]:
    """Return the luma of each frame."""
    return [cv2.transform(np.ascontiguousarray(frame), np.array([LUMA])) for frame in clip]


def lit(clip: Clip, flicker: Series) -> Clip:
    """Multiply each frame by one plus its flicker."""
    return rounded(clip * (1 + flicker)[:, None, None, None])


def rounded(levels: NDArray[np.float64]) -> Clip:
    """Return 8-bit levels."""
    return levels.round().clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
