"""PSNR and cost of the noise filter against hqdn3d and atadenoise at the best of a grid.

``python -m benchmarks.post_denoise``. White Gaussian noise is added once to each clip, and rounded.
"""

import time

import numpy as np
import torch

from benchmarks.post_clips import Clip, filtered, read_clip
from vgen.post.denoise import Denoise, DenoisePlan
from vgen.post.stats import measure_noise

CLIPS = ("street_dog_720p_audio", "bikes_640x272", "carphone_qcif_176x144", "opencv_cup")
FRAMES, HEIGHT = 16, 240
SIGMAS = (15, 25)
HQDN3D = [
    f"hqdn3d={s}:{s}:{t}:{t}" for s in (4, 8, 12, 18, 26, 40, 60) for t in (4, 8, 16, 30, 45, 60)
]
ATADENOISE = [
    ":".join(
        [f"atadenoise=s={size}", *(f"{p}a={a}:{p}b={b}" for p in "012")],
    )
    for size in (5, 9, 15)
    for a in (0.1, 0.2, 0.3)  # the largest there is
    for b in (0.5, 2.0)
]


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print(
        "clip | sigma | noisy | vgen | best hqdn3d | best atadenoise | measured sigma | CPU ms | by"
    )
    rng = np.random.default_rng(0)
    for name in CLIPS:
        clip = read_clip(name, num_frames=FRAMES, height=HEIGHT)
        for sigma in SIGMAS:
            noise = rng.normal(0, sigma, clip.shape)
            noisy = (clip + noise).round().clip(0, 255).astype(np.uint8)
            measured = float(np.median([measure_noise(frame[..., 1]) for frame in noisy]))
            began = time.process_time()
            made = denoised(noisy, measured)
            spent_ms = (time.process_time() - began) / FRAMES * 1e3
            best = [
                max((psnr(clip, filtered(noisy, s)), s) for s in g) for g in (HQDN3D, ATADENOISE)
            ]
            figures = [psnr(clip, noisy), psnr(clip, made), *(figure for figure, _ in best)]
            text = " | ".join(f"{figure:.2f}" for figure in figures)
            by = ", ".join(setting for _, setting in best)
            print(f"{name} | {sigma} | {text} | {measured:.1f} | {spent_ms:.0f} | {by}", flush=True)


def denoised(clip: Clip, sigma: float) -> Clip:
    """Filter a clip as one shot."""
    step = Denoise(DenoisePlan(starts=(0,), sigmas=(sigma,)))
    tensor = torch.from_numpy(clip.copy()).permute(0, 3, 1, 2).float() / 255
    out = step.apply(tensor, range(len(clip)))
    return (out * 255).round().byte().permute(0, 2, 3, 1).numpy()


def psnr(clip: Clip, other: Clip) -> float:
    """Return the mean over frames, RGB."""
    errors = ((clip.astype(float) - other) ** 2).mean(axis=(1, 2, 3))
    return float((10 * np.log10(255**2 / errors)).mean())


if __name__ == "__main__":
    main()
