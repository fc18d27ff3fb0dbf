"""Moving pictures whose motion and light are known exactly."""

import cv2
import numpy as np

from vgen.post.bars import NO_BARS
from vgen.post.motion import IDENTITY, Motion, Similarity
from vgen.post.stats import FrameStats

RNG_SEED = 7


def scene(height: int, width: int) -> np.ndarray:
    """A still full of texture, uint8 RGB."""
    rng = np.random.default_rng(RNG_SEED)
    coarse = rng.uniform(60, 190, (height // 8, width // 8, 3)).astype(np.float32)
    return (
        cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        .clip(0, 255)
        .astype(np.uint8)
    )


def shown_from(still: np.ndarray, x: float, y: float, size: tuple[int, int]) -> np.ndarray:
    """What a camera sees whose top left corner is at ``x``, ``y``."""
    height, width = size
    centre = (x + (width - 1) / 2, y + (height - 1) / 2)
    planes = [cv2.getRectSubPix(still[..., c], (width, height), centre) for c in range(3)]
    return np.stack(planes, axis=-1)


def row(frame: int, **changes: object) -> FrameStats:
    """An unremarkable frame's figures, with changes."""
    figures: dict[str, object] = {
        "frame": frame,
        "bars": NO_BARS,
        "luma": (0.02, 0.1, 0.3, 0.53, 0.7, 0.9, 0.97),
        "detail": 0.4,
        "illuminant": (0.0, 0.0, 0.0),
        "mean_ycc": (0.535, 0.0, 0.0),
        "spread_ycc": (0.2, 0.05, 0.05),
        "log_gain": 0.0,
        "sigma": 4.0,
        "motion": Motion(similarity=IDENTITY, quality=0.9, still=1.0),
    }
    return FrameStats(**{**figures, **changes})


def moved(dx: float, dy: float, *, b: float = 0.0, quality: float = 0.9) -> Motion:
    """A camera's motion."""
    return Motion(similarity=Similarity(dx=dx, dy=dy, a=1.0, b=b), quality=quality)


def rows_along(path: np.ndarray, *, first: int = 0) -> list[FrameStats]:
    """Figures of a camera whose content lies at ``path`` ``[T, 2]``."""
    steps = np.diff(path, axis=0, prepend=path[:1])
    return [row(first + t, motion=moved(*step)) for t, step in enumerate(steps.tolist())]


def shaken(num_frames: int, *, size: float = 0.004) -> np.ndarray:
    """Maps from each frame to the one before, of a camera that walks at random."""
    rng = np.random.default_rng(0)
    steps = np.tile([0.0, 0.0, 1.0, 0.0], (num_frames, 1))
    steps[1:, :2] += rng.normal(0, size, (num_frames - 1, 2))
    steps[1:, 3] = rng.normal(0, size / 4, num_frames - 1)
    return steps


def matrix(map_row: np.ndarray) -> np.ndarray:
    """The map dx, dy, a, b as a matrix."""
    dx, dy, a, b = map_row
    return np.array([[a, -b, dx], [b, a, dy], [0, 0, 1]])


def slow_crop(maps: np.ndarray, aspect: float) -> float:
    """Shrink the frame's corners step by step until all of them lie in every frame."""
    for share in np.arange(1, 0, -0.0005):
        corners = np.array([[x, y / aspect, 1] for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
        corners[:, :2] *= share
        places = np.concatenate([corners @ matrix(row).T for row in maps])
        if (np.abs(places[:, 0]) <= 0.5).all() and (np.abs(places[:, 1]) <= 0.5 / aspect).all():
            return float(share)
    return 0.0


def boxed(picture: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """The picture with so many of its rows and columns black."""
    height, width = picture.shape[:2]
    out = np.zeros_like(picture)
    inside = (slice(top, height - bottom), slice(left, width - right))
    out[inside] = picture[inside]
    return out
