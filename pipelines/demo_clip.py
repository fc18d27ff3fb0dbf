"""A clip spoilt on purpose, and figures of what is wrong with a clip.

The demo corrects a clip that shakes, has a cast and is noisy; what was done to it is known, and
what is measured of it is measured of the result in the same way.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from vgen.enhance.shots import Thumbnail, is_cut, thumbnail
from vgen.enhance.small import small_size
from vgen.media.simd import steady_options
from vgen.media.source import open_source
from vgen.post.stabilize import camera_path
from vgen.post.stats import Observer
from vgen.records import Record

NUM_FRAMES = 75
MARGIN_PX = 24
"""Cut off on every side: the camera shakes within it."""
SHAKE_PX = 3.0
"""Standard deviation of each step of the camera, across and down; it drifts back to the middle."""
CAST = (1.14, 1.0, 0.84)
"""Factors on red, green and blue."""
NOISE_LEVELS = 5.0
SEED = 12


class Faults(Record):
    """What is wrong with a clip, as measured."""

    shake_px: float
    """Mean second difference of the camera's path, pixels of the clip."""
    cast: float
    """Median over frames of the larger deviation of red or blue from green, as a share."""


def spoil(source: Path, path: Path) -> None:
    """Write the first frames of ``source`` to ``path``: shaken, with a cast, and noisy."""
    rng = np.random.default_rng(SEED)
    options = steady_options("libx264", {"crf": "12", "threads": "1"})
    with open_source(str(source)) as container, av.open(str(path), "w") as output:
        stream = None
        place = np.zeros(2)
        for frame in islice(container.decode(video=0), NUM_FRAMES):
            rgb_hwc = frame.to_ndarray(format="rgb24")
            height, width = (size - 2 * MARGIN_PX for size in rgb_hwc.shape[:2])
            if stream is None:
                stream = output.add_stream("libx264", rate=25, options=options)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.time_base = Fraction(1, 25)
            place = (0.8 * place + rng.normal(0, SHAKE_PX, 2)).clip(1 - MARGIN_PX, MARGIN_PX - 1)
            centre = place + ((rgb_hwc.shape[1] - 1) / 2, (rgb_hwc.shape[0] - 1) / 2)
            shaken_hwc = cv2.getRectSubPix(rgb_hwc, (width, height), centre.tolist())
            noise_hwc = rng.normal(0, NOISE_LEVELS, shaken_hwc.shape)
            spoilt_hwc = (shaken_hwc * np.array(CAST) + noise_hwc).clip(0, 255).astype(np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(spoilt_hwc, format="rgb24")))
        assert stream is not None, f"no frame in {source}"
        output.mux(stream.encode(None))


def measure_faults(path: Path) -> Faults:
    """Measure a clip as the analysis does; at a cut the camera goes on as before."""
    observer, stats = Observer(with_motion=True), []
    previous: Thumbnail | None = None
    for number, small in enumerate(_small(path)):
        current = thumbnail(small[..., 1], 8)
        starts_shot = previous is not None and is_cut(previous, current)
        stats.append(observer.see(number, small, starts_shot=starts_shot))
        previous = current
    camera = camera_path(stats)
    with open_source(str(path)) as container:
        width = container.streams.video[0].width
    seconds_px = np.abs(np.diff(camera[:, :2], 2, axis=0)).sum(axis=1) * width
    lights = np.array([row.illuminant for row in stats if row.illuminant is not None])
    against_green = np.abs(lights[:, [0, 2]] - lights[:, [1]]).max(axis=1)
    return Faults(
        shake_px=round(float(seconds_px.mean()), 3),
        cast=round(float(np.expm1(np.median(against_green))), 4),
    )


def _small(path: Path) -> Iterator[NDArray[np.uint8]]:
    with open_source(str(path)) as container:
        for frame in container.decode(video=0):
            rgb_hwc = frame.to_ndarray(format="rgb24")
            size = small_size(frame.height, frame.width)
            small = cv2.resize(rgb_hwc, size, interpolation=cv2.INTER_AREA)
            yield np.asarray(small, np.uint8)
