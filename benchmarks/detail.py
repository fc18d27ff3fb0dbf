"""How much fine detail releases leave: ``python -m benchmarks.detail FOLDER RELEASE ...``.

Detail is the variance of the Laplacian of luma as a share of the clean picture's. FOLDER holds
stills; those whose names end in 0 are used, at most eight, a part of each.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.post_clips import picture
from vgen.enhance.enhancer import Enhancer
from vgen.training.codec import Clip, Encoding, code_clip
from vgen.training.damages import to_tchw
from vgen.training.degrade_noise import add_noise
from vgen.training.metrics import psnr_rgb_db
from vgen.training.validation import roughness

MOST, HEIGHT, WIDTH, FRAMES = 8, 160, 240, 3


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read the corner of a picture, RGB."""
    return np.ascontiguousarray(picture(path)[:HEIGHT, :WIDTH, ::-1])


def main() -> None:
    """Print medians: in a flat picture a little is much, and a mean would tell of that alone."""
    torch.set_num_threads(1)
    folder, *names = sys.argv[1:]
    found = sorted(Path(folder).glob("*0.jpg"))
    paths = found[:: max(1, len(found) // MOST)][:MOST]
    releases = {name: Enhancer.load(name, device="cpu") for name in names}
    print("input | release | RGB dB | detail")
    for damage in ("noise 25", "x264 crf 28", "x264 crf 35"):
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in ("input", *names)}
        for number, path in enumerate(paths):
            corner = read_picture(path)
            clean = np.stack([corner] * FRAMES)
            given = to_tchw(damaged(clean, damage, number))
            made = {"input": given} | {n: one.restore(given) for n, one in releases.items()}
            middle = to_tchw(clean)[FRAMES // 2][None]
            for name, frames in made.items():
                frame = frames[FRAMES // 2][None].clamp(0, 1)
                detail = roughness(frame) / roughness(middle)
                rows[name].append((psnr_rgb_db(frame, middle), detail))
        for name, values in rows.items():
            psnr_db, detail = np.median(values, axis=0)
            print(f"{damage} | {name} | {psnr_db:.2f} | {detail:.2f}", flush=True)


def damaged(clip: Clip, damage: str, seed: int) -> Clip:
    """Return a clip with noise, or coded."""
    if damage.startswith("noise"):
        return add_noise(clip, sigma=25, rng=np.random.default_rng(seed))
    crf = int(damage.rpartition(" ")[2])
    encoding = Encoding(codec="libx264", quality=crf, preset="medium", keyframe_every=250)
    return code_clip(clip, encoding)


if __name__ == "__main__":
    main()
