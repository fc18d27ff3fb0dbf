"""A page that shows what each kind of damage looks like: clean, damaged, difference, with labels.

Differences are enlarged around grey, so that what the eye would miss is seen.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vgen.errors import ConfigError, VgenError
from vgen.training.clips import Material, draw_clip, load_material
from vgen.training.codec import Clip, to_bytes
from vgen.training.degrade import KINDS, shrink_clip

log = logging.getLogger(__name__)

FRAMES = 5
DIFFERENCE_GAIN = 4
LABEL_PX = 22
GAP_PX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The middle frame of one clip before and after one kind of damage."""

    kind: str
    clean_hwc: Clip
    degraded_hwc: Clip
    """Of the same size; enlarged without interpolation where the task is to enlarge it."""


def draw_samples(
    material: Material, *, seed: int, scale: int, side_px: int, columns: int
) -> Iterator[Sample]:
    """Yield ``columns`` samples of every kind of damage, the same for the same seed."""
    for number, (kind, damage) in enumerate(KINDS.items()):
        for column in range(columns):
            rng = np.random.default_rng((seed, number, column))
            clean = draw_clip(material, frames=FRAMES, side=side_px, rng=rng)
            degraded = damage(shrink_clip(clean, scale), rng)[FRAMES // 2]
            large = degraded.repeat(scale, axis=0).repeat(scale, axis=1)
            yield Sample(kind=kind, clean_hwc=clean[FRAMES // 2], degraded_hwc=large)


def draw_sheet(samples: Sequence[Sample], *, columns: int) -> Clip:
    """Lay out ``columns`` samples a row; returns uint8 RGB ``[H, W, 3]``."""
    rows = []
    for start in range(0, len(samples), columns):
        tiles = [_tile(sample) for sample in samples[start : start + columns]]
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows)


def difference(sample: Sample) -> Clip:
    """Return what the damage changed, enlarged, around grey."""
    change = sample.degraded_hwc.astype(np.float32) - sample.clean_hwc
    return to_bytes(128 + DIFFERENCE_GAIN * change)


def _tile(sample: Sample) -> Clip:
    pictures = (sample.clean_hwc, sample.degraded_hwc, difference(sample))
    gap = np.full((sample.clean_hwc.shape[0], GAP_PX, 3), 255, np.uint8)
    row = np.concatenate([part for picture in pictures for part in (picture, gap)], axis=1)
    label = np.full((LABEL_PX, row.shape[1], 3), 255, np.uint8)
    change = sample.degraded_hwc.astype(float) - sample.clean_hwc
    text = f"{sample.kind}: clean, damaged (rms {np.sqrt(np.mean(change**2)):.1f}), difference"
    place = (2, LABEL_PX - 7)
    cv2.putText(label, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate((label, row))


def main(arguments: list[str] | None = None) -> int:
    """Run from a shell; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vgen.training.sheet", description=__doc__)
    parser.add_argument("data", help="a dataset (folder or URI), or a folder of material")
    parser.add_argument("page", type=Path, help="PNG to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=int, default=1, choices=(1, 2, 4))
    parser.add_argument("--side", type=int, default=192, help="pixels of a clean picture")
    parser.add_argument("--columns", type=int, default=2, help="samples of each kind")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    cv2.setNumThreads(1)
    try:
        if given.columns < 1 or given.side % (4 * given.scale):
            raise ConfigError("--columns starts at 1 and --side is a multiple of 4 times --scale")
        samples = draw_samples(
            load_material(given.data),
            seed=given.seed,
            scale=given.scale,
            side_px=given.side,
            columns=given.columns,
        )
        sheet = draw_sheet(list(samples), columns=given.columns)
        if not cv2.imwrite(str(given.page), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise ConfigError(f"cannot write {str(given.page)!r}")
    except (VgenError, cv2.error) as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
