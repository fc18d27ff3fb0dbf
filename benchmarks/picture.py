"""Pictures before and after: ``python -m benchmarks.picture TARGET [RELEASE ...]``.

A second of Big Buck Bunny (Blender Foundation, CC BY 3.0; it comes with the demo extra and no
release was trained on it) with Gaussian noise of sigma 25, and after each release beside it, of
which ``restore-tiny`` is the usual one; of several, the clean picture comes last.
"""

import sys
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from pipelines.demo import sample_folder
from vgen.enhance.enhancer import Enhancer

FIRST, FRAMES, CROP = 60, 7, (slice(120, 480), slice(430, 910))


def main() -> None:
    target, *releases = sys.argv[1:]
    with av.open(str(sample_folder() / "bigbuckbunny.mp4")) as container:
        shown = islice(container.decode(video=0), FIRST, FIRST + FRAMES)
        clean = np.stack([frame.to_ndarray(format="rgb24") for frame in shown])
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    noisy = np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)
    columns = {"before": noisy}
    for release in releases or ["restore-tiny"]:
        columns[release] = restored(noisy, release)
    middle = FRAMES // 2
    for name, frames in columns.items():
        error = np.mean((frames[middle].astype(float) - clean[middle]) ** 2)
        share = sharpness(frames[middle]) / sharpness(clean[middle])
        print(f"{name}: {10 * np.log10(255**2 / error):.2f} dB RGB, sharpness {share:.2f}")
    if len(releases) > 1:
        columns["clean"] = clean
    shown_side_by_side = np.hstack([frames[middle][CROP] for frames in columns.values()])
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 82]
    cv2.imwrite(target, shown_side_by_side[..., ::-1], quality)


def restored(noisy_thwc: np.ndarray, release: str) -> np.ndarray:
    """Restore a clip; 8 bits in and out."""
    clip = torch.from_numpy(noisy_thwc).permute(0, 3, 1, 2).float() / 255
    made = Enhancer.load(release, device="cpu").restore(clip)
    return (made.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def sharpness(picture_hwc: np.ndarray) -> float:
    """Return the variance of the Laplacian of luma: energy in high frequencies."""
    gray = cv2.cvtColor(picture_hwc, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(gray, cv2.CV_32F).var())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
