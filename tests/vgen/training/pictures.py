"""Pictures and measures that tests of damage share."""

import numpy as np


def textured_clip(frames=5, side=48, seed=0):
    rng = np.random.default_rng(seed)
    # Nearly grey: 4:2:0 alone would ruin such blocks in colour.
    grey = rng.integers(30, 220, (side // 4, side // 4, 1)) + np.array([0, 3, 6])
    frame = np.kron(grey, np.ones((4, 4, 1)))
    return np.repeat(frame[None].astype(np.uint8), frames, axis=0)


def rms(a, b):
    return np.sqrt(np.mean((a.astype(float) - b) ** 2))
