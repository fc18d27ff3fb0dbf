"""Stability and crop against vid.stab's, on real shaky clips and on synthetic jitter.

``python -m benchmarks.post_stabilize [FRAMES]``, 300 of each clip by default. The figures follow
Liu et al., "Bundled camera paths", 2013: crop is the mean scale from output to input; stability the
share of the path's energy in the lowest frequencies, the least of x, y and rotation, measured in
the output alike for all. A share rises when slow drift is added, whatever the shake that is left,
and is chance where nothing moves; so the rest beside it is the shake itself: the root mean square
of what lies above those frequencies, the most of x, y and rotation, in pixels at the width.
"""

import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.post_clips import Clip, filtered, read_clip, read_folder, sequence
from vgen.enhance.small import small_size
from vgen.post.motion import Motion, estimate_motion
from vgen.post.path import accumulate, inverse
from vgen.post.stabilize import MIN_QUALITY, Stabilize, StabilizePlan, plan_stabilize
from vgen.post.stats import Observer
from vgen.post_options import StabilizeOptions

OTHERS = {
    "vidstab default": "vidstabtransform=input=t.trf:optzoom=1",
    "vidstab smoothing=30": "vidstabtransform=input=t.trf:smoothing=30:optzoom=1",
}
RATES = {"handheld_cockatoo_720p_yuv444_mp3": 20.0}
USUAL_RATE = 30.0
"""Frames a second of the others."""


def main(num_frames: int) -> None:
    """Print a table of the clips' first frames."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    handheld = ("shaky_handheld_360p_msmpeg4", "handheld_cockatoo_720p_yuv444_mp3")
    clips = {name: read_clip(name, num_frames=num_frames) for name in handheld}
    clips["shaky_skating"] = read_folder(sequence("shaky_skating_640x360"), num_frames=num_frames)
    clips["street_dog, jitter added"] = jittered(
        read_clip("street_dog_720p_audio", num_frames=min(num_frames, 100))
    )
    print("clip | method | stability | rest, px | second difference, px | crop | CPU ms a frame")
    for name, clip in clips.items():
        show(name, "source", clip, clip, 0.0)
        began = time.process_time()
        plan = planned(clip, RATES.get(name, USUAL_RATE))
        analyzed_s = time.process_time() - began
        made = stabilized(clip, plan)
        show(name, "vgen", clip, made, time.process_time() - began)
        print(f"    of which analysis {analyzed_s / len(clip) * 1e3:.1f} ms; {plan.notes}")
        for method, steps in OTHERS.items():
            show(name, method, clip, vidstab(clip, steps), float("nan"))
    show_synthetic(clips["shaky_handheld_360p_msmpeg4"][0])


def planned(clip: Clip, rate: float = USUAL_RATE) -> StabilizePlan:
    """Measure a clip and choose its path."""
    height, width = clip.shape[1:3]
    observer = Observer(with_motion=True)
    size = small_size(height, width)
    small = (cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in clip)
    stats = [observer.see(t, frame) for t, frame in enumerate(small)]
    return plan_stabilize(stats, [], StabilizeOptions(), aspect=width / height, rate=rate)


def stabilized(clip: Clip, plan: StabilizePlan) -> Clip:
    """Warp a clip along its path."""
    step, out = Stabilize(plan), np.empty_like(clip)
    for t, frame in enumerate(clip):
        tensor = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 255
        out[t] = (step.apply(tensor, [t])[0] * 255).round().byte().permute(1, 2, 0).numpy()
    return out


def vidstab(clip: Clip, steps: str) -> Clip:
    """Both passes of vid.stab."""
    with tempfile.TemporaryDirectory() as folder:
        filtered(clip, "vidstabdetect=result=t.trf", cwd=Path(folder))
        return filtered(clip, steps, cwd=Path(folder))


def show(name: str, method: str, source: Clip, made: Clip, cpu_s: float) -> None:
    """Print one line."""
    steady, rest, second = stability(made)
    crop, spent = cropped(source, made), cpu_s / len(source) * 1e3
    figures = f"{steady:.3f} | {rest:.2f} | {second:.3f} | {crop:.3f} | {spent:.1f}"
    print(f"{name} | {method} | {figures}", flush=True)


def stability(clip: Clip) -> tuple[float, float, float]:
    """Return stability, the rest, and the mean second difference of the path in pixels."""
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]
    motions = [estimate_motion(a, b) for a, b in pairwise(gray)]
    steps = np.array([(0.0, 0.0, 1.0, 0.0), *map(row, motions)])
    # Where nothing was measured the camera goes on; standing still for a frame would be a jolt.
    known = [0, *(t + 1 for t, motion in enumerate(motions) if motion.quality >= MIN_QUALITY)]
    path = accumulate(np.stack([np.interp(range(len(steps)), known, c[known]) for c in steps.T], 1))
    energy = np.abs(np.fft.rfft(path[:, [0, 1, 3]], axis=0)) ** 2
    shares = energy[1:6].sum(axis=0) / energy[1:].sum(axis=0)
    rest = np.sqrt(2 * energy[6:].sum(axis=0)) / len(path) * clip.shape[2]
    second = np.abs(np.diff(path[:, :2], 2, axis=0)).sum(axis=1).mean() * clip.shape[2]
    return float(shares.min()), float(rest.max()), float(second)


def row(motion: Motion) -> tuple[float, float, float, float]:
    """Return a motion as the map back to the frame before."""
    moved = motion.similarity
    dx, dy, a, b = inverse(np.array([moved.dx, moved.dy, moved.a, moved.b])).tolist()
    return dx, dy, a, b


def cropped(source: Clip, made: Clip) -> float:
    """Return the mean scale of the part of the source that is shown."""
    scales = []
    for before, after in list(zip(source, made, strict=True))[::5]:
        pair = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
        motion = estimate_motion(*pair)
        if motion.quality > 0.3:
            moved = motion.similarity
            scales.append(1 / float(np.hypot(moved.a, moved.b)))
    return float(np.mean(scales)) if scales else float("nan")


def jittered(clip: Clip) -> Clip:
    """Shake a clip by about a percent of its width."""
    rng = np.random.default_rng(0)
    out = np.empty_like(clip)
    height, width = clip.shape[1:3]
    for t, frame in enumerate(clip):
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 0.4), 1.0)
        turn[:, 2] += rng.normal(0, 4, 2)
        out[t] = cv2.warpAffine(frame, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    return out


def show_synthetic(still: Clip) -> None:
    """A smooth pan over a still with jitter of known size: what remains of the shake."""
    rng = np.random.default_rng(1)
    large = cv2.resize(still, (1600, 900), interpolation=cv2.INTER_CUBIC)
    t = np.arange(120)
    pan = np.stack([200 + 4 * t, 200 + 60 * np.sin(t / 40)], axis=1)
    path = pan + rng.normal(0, 3, pan.shape)
    clip = np.stack(
        [cv2.getRectSubPix(large, (640, 360), (320 + x, 180 + y)) for x, y in path.tolist()]
    )
    plan = planned(clip)
    maps = np.array(plan.paths[0].maps)
    steady = path + maps[:, :2] * 640
    before, after = ((np.diff(p, 2, axis=0) ** 2).sum() for p in (path, steady))
    print(
        f"pan with jitter: energy falls by {1 - after / before:.2%}, crop {plan.paths[0].zoom:.3f}"
    )
    noisy = np.repeat(clip[:1], 60, axis=0) + rng.normal(0, 2, (60, *clip.shape[1:]))
    static = planned(noisy.clip(0, 255).astype(np.uint8))
    print(f"static with noise: {len(static.paths)} shots are moved")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
