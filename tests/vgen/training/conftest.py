"""A tiny folder of stills and clips with a manifest, in the layout training expects."""

import csv

import av
import cv2
import numpy as np
import pytest
import torch

# Threads of tiny convolutions wait for each other longer than they work.
torch.set_num_threads(1)

LICENCE = "CC BY 4.0 (repo LICENSE)"


def picture(seed, height=48, width=64):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def write_clip(path, frames=12, height=48, width=64, seed=0):
    wide = picture(seed, height, width + 4 * frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = 1
        for t in range(frames):
            view = np.ascontiguousarray(wide[:, 2 * t : 2 * t + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))


def write_manifest(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def data_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "bsds400_jpg").mkdir()
    (folder / "clips").mkdir()
    for number in (1001, 1002, 1003, 1010, 1020):
        cv2.imwrite(str(folder / "bsds400_jpg" / f"test_{number}.jpg"), picture(number))
    clips = {
        "intel_one.mkv": LICENCE,
        "intel_asl_yes.mkv": LICENCE,
        "intel_unclear.mkv": "MIT (repo; clip-level not stated)",
        "opencv_unlisted.mkv": "",
    }
    for seed, name in enumerate(clips):
        write_clip(folder / "clips" / name, seed=seed)
    listed = [{"name": name, "licence": text} for name, text in clips.items() if text]
    write_manifest(folder / "clips" / "MANIFEST.csv", listed)
    write_manifest(
        folder / "MANIFEST.csv",
        [{"dir": "some/where/bsds400_jpg", "licence": "BSDS: research (no licence text)"}],
    )
    return folder
