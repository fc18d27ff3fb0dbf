"""Pictures before and after: ``python -m benchmarks.picture TARGET [RELEASE ...] [--crf N]``.

A second of Big Buck Bunny (Blender Foundation, CC BY 3.0; it comes with the demo extra and no
release was trained on it) with Gaussian noise of sigma 25, or coded by x264, and after each
release beside it, of which ``restore-tiny`` is the usual one; of several, the clean picture comes
last.
"""

import argparse
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from pipelines.demo import sample_folder
from vgen.enhance.enhancer import Enhancer
from vgen.training.codec import Clip, Encoding, code_clip
from vgen.training.damages import to_tchw, to_thwc
from vgen.training.validation import roughness

FIRST, FRAMES, CROP = 60, 7, (slice(120, 480), slice(430, 910))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("releases", nargs="*")
    parser.add_argument("--crf", type=int, help="code it by x264, and add no noise")
    options = parser.parse_args()
    target, releases = options.target, options.releases
    with av.open(str(sample_folder() / "bigbuckbunny.mp4")) as container:
        shown = islice(container.decode(video=0), FIRST, FIRST + FRAMES)
        clean = np.stack([np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for f in shown])
    damaged = noisy(clean) if options.crf is None else coded(clean, options.crf)
    columns: dict[str, Clip] = {"before": damaged}
    for release in releases or ["restore-tiny"]:
        columns[release] = restored(damaged, release)
    middle = FRAMES // 2
    for name, frames in columns.items():
        error = np.mean((frames[middle].astype(float) - clean[middle]) ** 2)
        detail = roughness(to_tchw(frames)[middle][None]) / roughness(to_tchw(clean)[middle][None])
        print(f"{name}: {10 * np.log10(255**2 / error):.2f} dB RGB, detail {detail:.2f}")
    if len(releases) > 1:
        columns["clean"] = clean
    shown_side_by_side = np.hstack([frames[middle][CROP] for frames in columns.values()])
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 82]
    cv2.imwrite(target, shown_side_by_side[..., ::-1], quality)


def noisy(clean_thwc: Clip) -> Clip:
    noise = np.random.default_rng(0).normal(0, 25, clean_thwc.shape)
    return np.clip(np.round(clean_thwc + noise), 0, 255).astype(np.uint8)


def coded(clean_thwc: Clip, crf: int) -> Clip:
    return code_clip(clean_thwc, Encoding(codec="libx264", quality=crf, preset="medium"))


def restored(damaged_thwc: Clip, release: str) -> Clip:
    """Restore a clip; 8 bits in and out."""
    return to_thwc(Enhancer.load(release, device="cpu").restore(to_tchw(damaged_thwc)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
