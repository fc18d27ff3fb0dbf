"""How much injected flicker remains, against ffmpeg's deflicker, and what becomes of a fade.

``python -m benchmarks.post_deflicker``. What counts is the deviation of each frame's mean luma from
the original's, as a share of what was injected.
"""

import numpy as np
import torch

from benchmarks.post_clips import Clip, filtered, read_clip
from vgen.post.deflicker import Deflicker, plan_deflicker
from vgen.post.stats import LUMA, Observer
from vgen.post_options import DeflickerOptions

CLIPS = ("street_dog_720p_audio", "bikes_640x272", "opencv_cup", "shaky_handheld_360p_msmpeg4")
FRAMES, HEIGHT = 120, 120
OTHERS = [f"deflicker=size={size}:mode=pm" for size in (5, 15, 51)]


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    t = np.arange(FRAMES)
    flickers = {
        "random 3 %": 0.03 * rng.standard_normal(FRAMES),
        "random 8 %": 0.08 * rng.uniform(-1, 1, FRAMES),
        "mains 5 %": 0.05 * np.sin(2 * np.pi * t / 6.3),
    }
    fade = np.interp(t, [40, 80], [1.0, 0.5])
    print("clip | flicker | method | flicker removed | error of mean luma, levels, with a fade too")
    for name in CLIPS:
        clip = read_clip(name, num_frames=FRAMES, height=HEIGHT)
        for kind, flicker in flickers.items():
            for method in ("vgen", *OTHERS):
                removed = 1 - remains(clip, flicker, method)
                faded = rounded(clip * fade[:, None, None, None])
                lost = error(faded, work(lit(faded, flicker), method)).std()
                print(f"{name} | {kind} | {method} | {removed:.1%} | {lost:.2f}", flush=True)


def remains(clip: Clip, flicker: np.ndarray, method: str) -> float:
    """Return the share of the flicker's standard deviation that is left."""
    given = lit(clip, flicker)
    return float(error(clip, work(given, method)).std() / error(clip, given).std())


def error(clip: Clip, other: Clip) -> np.ndarray:
    """Return the deviation of each frame's mean luma, in levels."""
    return ((other.astype(float) - clip) @ np.array(LUMA)).mean(axis=(1, 2))


def work(clip: Clip, method: str) -> Clip:
    """Run one of the methods."""
    if method != "vgen":
        return filtered(clip, method)
    observer = Observer(with_motion=False)
    stats = [observer.see(t, frame) for t, frame in enumerate(clip)]
    step = Deflicker(plan_deflicker(stats, [], DeflickerOptions()))
    tensor = torch.from_numpy(clip.copy()).permute(0, 3, 1, 2).float() / 255
    out = step.apply(tensor, range(len(clip)))
    return (out * 255).round().byte().permute(0, 2, 3, 1).numpy()


def lit(clip: Clip, flicker: np.ndarray) -> Clip:
    """Multiply each frame by one plus its flicker."""
    return rounded(clip * (1 + flicker)[:, None, None, None])


def rounded(levels: np.ndarray) -> Clip:
    """Return 8-bit levels."""
    return levels.round().clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
