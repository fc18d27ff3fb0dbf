"""Scores of a release on held-out material, through the same ``Enhancer`` that ``enhance`` uses.

Every held-out still is shown as a short video and every held-out clip gives one run of frames;
each is damaged in each of a few fixed ways, restored, and compared before and after. The same
seed gives the same damage.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from vgen.enhance.enhancer import Enhancer
from vgen.errors import VgenError
from vgen.training.clips import CLIPS, STILLS, find_files, move_still, read_runs, read_still
from vgen.training.codec import Clip, Encoding, code_clip
from vgen.training.degrade import add_noise
from vgen.training.metrics import psnr_luma_db, psnr_rgb_db, temporal_difference

log = logging.getLogger(__name__)

FRAMES = 7
STILL_SIDE_PX = 256

Damage = Callable[[Clip, Generator], Clip]
Restore = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Means over the subjects of one kind under one damage, before and after restoration."""

    damage: str
    kind: str
    """``stills`` or ``clips``."""
    subjects: int
    rgb_before_db: float
    rgb_after_db: float
    luma_before_db: float
    luma_after_db: float
    flicker_before: float
    """``temporal_difference``, in 8-bit levels."""
    flicker_after: float


def noisy(clip_thwc: Clip, rng: Generator, *, sigma: float) -> Clip:
    """Gaussian noise, clipped to 8 bits."""
    return add_noise(clip_thwc, sigma=sigma, rng=rng)


def coded(clip_thwc: Clip, rng: Generator, *, codec: str, quality: int, sigma: float = 0) -> Clip:
    """A codec at fixed quality, after light noise if ``sigma`` says so."""
    encoding = Encoding(codec=codec, quality=quality, preset="medium", keyframe_every=250)
    return code_clip(add_noise(clip_thwc, sigma=sigma, rng=rng), encoding)


def untouched(clip_thwc: Clip, rng: Generator) -> Clip:
    """Nothing at all: what a restored picture must not lose."""
    return clip_thwc


DAMAGES: Mapping[str, Damage] = {
    "noise 15": partial(noisy, sigma=15),
    "noise 25": partial(noisy, sigma=25),
    "noise 50": partial(noisy, sigma=50),
    "x264 crf 28": partial(coded, codec="libx264", quality=28),
    "x264 crf 35": partial(coded, codec="libx264", quality=35),
    "noise 10, x264 crf 28": partial(coded, codec="libx264", quality=28, sigma=10),
    "mpeg2 q 12": partial(coded, codec="mpeg2video", quality=12),
    "x264 crf 15": partial(coded, codec="libx264", quality=15),
    "none": untouched,
}


def held_out_clips(folder: Path, *, limit: int | None, seed: int) -> Iterator[tuple[str, Clip]]:
    """Yield the kind and frames of every held-out subject, ``limit`` of each kind at most."""
    for number, path in enumerate(find_files(folder, STILLS, held_out=True)[:limit]):
        still = read_still(path)
        side = min(STILL_SIDE_PX, *(size // 8 * 8 for size in still.shape[:2]))
        rng = np.random.default_rng((seed, number))
        yield "stills", move_still(still, FRAMES, side, rng)
    for path in find_files(folder, CLIPS, held_out=True)[:limit]:
        for run_thwc in read_runs(path, runs=1, frames=FRAMES):
            yield "clips", run_thwc


def evaluate(
    restore: Restore,
    subjects: Iterable[tuple[str, Clip]],
    *,
    seed: int,
    damages: Mapping[str, Damage] = DAMAGES,
) -> list[Score]:
    """Score ``restore``, which maps ``[T, 3, H, W]`` in [0, 1] to the same, under each damage."""
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for number, (kind, clip_thwc) in enumerate(subjects):
        clean = _to_tchw(clip_thwc)
        for damage_number, (name, damage) in enumerate(damages.items()):
            rng = np.random.default_rng((seed, number, damage_number))
            before = _to_tchw(damage(clip_thwc, rng))
            after = restore(before)
            rows.setdefault((name, kind), []).append(
                tuple(
                    measure(clip, clean)
                    for measure in (psnr_rgb_db, psnr_luma_db, temporal_difference)
                    for clip in (before, after)
                )
            )
    return [_mean(name, kind, measured) for (name, kind), measured in sorted(rows.items())]


def as_table(scores: Iterable[Score]) -> str:
    """Lay scores out as a Markdown table."""
    measures = ("RGB dB", "restored", "gain", "Y dB", "restored", "gain", "flicker", "restored")
    columns = ("damage", "on", "n", *measures)
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for s in scores:
        rgb_gain, luma_gain = s.rgb_after_db - s.rgb_before_db, s.luma_after_db - s.luma_before_db
        lines.append(
            f"| {s.damage} | {s.kind} | {s.subjects} "
            f"| {s.rgb_before_db:.2f} | {s.rgb_after_db:.2f} | {rgb_gain:+.2f} "
            f"| {s.luma_before_db:.2f} | {s.luma_after_db:.2f} | {luma_gain:+.2f} "
            f"| {s.flicker_before:.2f} | {s.flicker_after:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _mean(name: str, kind: str, measured: list[tuple[float, ...]]) -> Score:
    names = [field.name for field in fields(Score)][3:]
    means = dict(zip(names, np.mean(measured, axis=0).tolist(), strict=True))
    return Score(damage=name, kind=kind, subjects=len(measured), **means)


def _to_tchw(clip_thwc: Clip) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(clip_thwc)).movedim(-1, 1).float() / 255


def main(arguments: list[str] | None = None) -> int:
    """Run from a shell; the table goes to stdout. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vgen.training.evaluate", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with bsds400_jpg/ and clips/")
    parser.add_argument("release", help="name of a bundled release, or a file")
    parser.add_argument("--limit", type=int, help="subjects of each kind at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(given.threads)
    try:
        enhancer = Enhancer.load(given.release, device=given.device)
        subjects = held_out_clips(given.data, limit=given.limit, seed=given.seed)
        scores = evaluate(enhancer.restore, subjects, seed=given.seed)
    except VgenError as error:
        log.error("%s", error)
        return 2
    rows = [asdict(score) for score in scores]
    sys.stdout.write(f"{json.dumps(rows, indent=2)}\n" if given.json else as_table(scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
