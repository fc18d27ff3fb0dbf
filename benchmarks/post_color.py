"""How far known casts are taken out, and good clips left alone, against ffmpeg's filters.

``python -m benchmarks.post_color``. Errors are means of absolute differences to the original in
levels, a clip each, of which the median is shown; 20 of the training clips are of one room, so
the median over scenes stands beside it, in which those count once.

``python -m benchmarks.post_color further`` looks at vgen alone on more scenes and on stills.
"""

import itertools
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.post_clips import (
    Clip,
    clip_paths,
    filtered,
    read_clip,
    read_still,
    stills,
    training_clips,
)
from vgen.post.color import plan_color
from vgen.post.grading import Color
from vgen.post.stats import LUMA, Observer
from vgen.post_options import ColorOptions

GAINS = list(itertools.product((0.8, 1.0, 1.25), repeat=2))[::2]
POWERS = (0.7, 0.85, 1.2, 1.4)


def scaled(clip: Clip, gains: tuple[float, float, float]) -> Clip:
    """Multiply the channels."""
    return rounded(clip / 255 * np.array(gains))


def bent(clip: Clip, power: float) -> Clip:
    """Raise the code values to a power."""
    return rounded((clip / 255) ** power)


def rounded(shares: NDArray[np.float64]) -> Clip:
    """Return 8-bit levels."""
    return (shares * 255).round().clip(0, 255).astype(np.uint8)


CASTS: dict[str, list[Callable[[Clip], Clip]]] = {
    "none": [lambda clip: clip],
    "white balance, code values": [
        partial(scaled, gains=(r, 1.0, b)) for r, b in GAINS if (r, b) != (1, 1)
    ],
    "white balance, linear light": [
        partial(scaled, gains=(r ** (1 / 2.2), 1.0, b ** (1 / 2.2)))
        for r, b in GAINS
        if (r, b) != (1, 1)
    ],
    "exposure": [partial(bent, power=power) for power in POWERS],
}
METHODS: dict[str, Callable[[Clip], Clip]] = {
    "left alone": lambda clip: clip,
    "vgen": lambda clip: corrected(clip),
    "grayworld": lambda clip: filtered(clip, "grayworld"),
    "greyedge": lambda clip: filtered(clip, "greyedge=difford=1:minknorm=5:sigma=2"),
    "normalize": lambda clip: filtered(clip, "normalize=smoothing=50"),
}
NOT_SEEN = ("corrupt", "derived", "hdr", "hlg", "screen", "text", "nasa", "pgs", "two_hevc", "4k60")
"""Parts of names of further clips that are broken, copies, HDR, drawn, or shorter than a second."""
EVERY_STILL = 4


def main(is_further: bool) -> None:
    """Print a table of medians over clips, and over scenes."""
    torch.set_num_threads(1)
    names = training_clips()
    more = [name for name in clip_paths() if not any(part in name for part in NOT_SEEN)]
    clips = {name: seen(name) for name in (more if is_further else names)}
    print("cast | method | median error, levels | over scenes | flicker added, levels")
    show(clips, ("left alone", "vgen") if is_further else tuple(METHODS))
    if is_further:
        print(f"every {EVERY_STILL}th still:")
        chosen = stills()[::EVERY_STILL]
        show({path.name: read_still(path, height=120) for path in chosen}, ("left alone", "vgen"))


def seen(name: str) -> Clip:
    return read_clip(name, num_frames=6, height=120, every_s=1.0)


def show(clips: dict[str, Clip], methods: tuple[str, ...]) -> None:
    """Print a line for each cast and method."""
    for cast, makers in CASTS.items():
        for method in methods:
            errors = {name: judged(clip, makers, METHODS[method]) for name, clip in clips.items()}
            rooms = [e for name, error in errors.items() if "_asl_" in name for e in error[0]]
            scene_errors = [np.median(e[0]) for name, e in errors.items() if "_asl_" not in name]
            scene_errors += [np.median(rooms)] if rooms else []
            over_clips = np.median([e for error in errors.values() for e in error[0]])
            flicker = np.median([error[1] for error in errors.values()])
            over = f"{over_clips:.2f} | {np.median(scene_errors):.2f}"
            print(f"{cast} | {method} | {over} | {flicker:.2f}", flush=True)


def judged(
    clip: Clip, makers: list[Callable[[Clip], Clip]], work: Callable[[Clip], Clip]
) -> tuple[list[float], float]:
    """Return the error under each cast, and how unsteady the change of mean luma is."""
    errors, unsteady = [], []
    for maker in makers:
        given = maker(clip)
        made = work(given)
        errors.append(float(np.abs(made.astype(float) - clip).mean()))
        before, after = ((c @ np.array(LUMA)).mean(axis=(1, 2)) for c in (given, made))
        ratio = after / np.maximum(before, 1)
        unsteady.append(float(np.std(ratio - ratio.mean()) * before.mean()))
    return errors, float(np.mean(unsteady))


def corrected(clip: Clip) -> Clip:
    """Measure, plan and grade a clip."""
    observer = Observer(with_motion=False)
    options = ColorOptions()
    plan = plan_color([observer.see(t, f) for t, f in enumerate(clip)], [], options)
    tensor = torch.from_numpy(clip.copy()).permute(0, 3, 1, 2).float() / 255
    out = Color(plan, options).apply(tensor, range(len(clip)))
    return (out * 255).round().byte().permute(0, 2, 3, 1).numpy()


if __name__ == "__main__":
    main(is_further=sys.argv[1:] == ["further"])
