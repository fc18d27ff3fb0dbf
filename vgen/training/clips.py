"""Clean material to learn from: stills set in motion, and real clips made smaller.

Files are chosen by pattern, and only those whose ``MANIFEST.csv`` states a licence that allows
training. Some are held out for evaluation by a rule that looks at the name alone, so that no
two programs can disagree about it.

Clips are uint8 RGB arrays ``[T, H, W, 3]``.
"""

import csv
import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vgen.errors import ConfigError
from vgen.training.codec import Clip

log = logging.getLogger(__name__)

STILLS = ("bsds400_jpg/*.jpg",)
CLIPS = ("clips/intel_*", "clips/opencv_*")
HELD_OUT_CLIPS = frozenset({"intel_asl_yes", "intel_asl_night", "opencv_cup", "intel_asl_milk"})

_ALLOWED = re.compile(r"\b(CC0|CC BY \d|Apache|MIT|BSD|BSDS)\b")
_REFUSED = re.compile(r"not stated|no licence in repo", re.IGNORECASE)

# Runs of frames kept of each real clip: enough variety, bounded memory.
RUNS_PER_CLIP = 6
FRAMES_PER_RUN = 9

# Clips at least this large on the short side are halved, which removes most of what their own
# compression did to them.
HALVE_FROM_PX = 360


@dataclass(frozen=True, slots=True)
class Material:
    """Decoded clean pictures, read only."""

    stills: tuple[Clip, ...]
    """Each ``[H, W, 3]``."""
    runs: tuple[Clip, ...]
    """Consecutive frames of real clips, each ``[T, H, W, 3]``."""
    licences: tuple[str, ...] = ()
    """What the manifests state about these files, without repetition."""


def is_held_out(path: Path) -> bool:
    """Say whether a file is kept for evaluation: stills ending in 0, and four named clips."""
    return path.stem in HELD_OUT_CLIPS or (path.suffix == ".jpg" and path.stem.endswith("0"))


def find_files(folder: Path, patterns: tuple[str, ...], *, held_out: bool) -> list[Path]:
    """Return the usable files of one side of the split, sorted by name.

    Raises:
        ConfigError: no file is left.
    """
    stated = dict(_licences(folder))
    found = []
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        licence = _licence(path, stated)
        if not _ALLOWED.search(licence) or _REFUSED.search(licence):
            log.warning("left out %s: licence %r", path.name, licence)
        elif is_held_out(path) == held_out:
            found.append(path)
    if not found:
        raise ConfigError(f"no usable file matches {', '.join(patterns)} under {str(folder)!r}")
    return found


def load_material(folder: Path) -> Material:
    """Decode everything training may use under ``folder``; about half a gigabyte for 400 stills.

    Raises:
        ConfigError: stills or clips are missing.
    """
    pictures = find_files(folder, STILLS, held_out=False)
    clips = find_files(folder, CLIPS, held_out=False)
    stills = tuple(read_still(path) for path in pictures)
    runs = tuple(run for path in clips for run in read_runs(path))
    log.info("%d stills and %d runs of %d clips", len(stills), len(runs), len(clips))
    stated = dict(_licences(folder))
    licences = sorted({_licence(path, stated) for path in (*pictures, *clips)})
    return Material(stills, runs, tuple(licences))


def read_still(path: Path) -> Clip:
    """Read one picture as ``[H, W, 3]``.

    Raises:
        ConfigError: it is none.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ConfigError(f"cannot read {str(path)!r} as a picture")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def read_runs(path: Path, *, runs: int = RUNS_PER_CLIP, frames: int = FRAMES_PER_RUN) -> list[Clip]:
    """Return evenly spread runs of consecutive frames, halved where the clip is large."""
    kept: list[Clip] = []
    with av.open(str(path)) as container:
        num_frames = sum(1 for packet in container.demux(video=0) if packet.size)
    starts = {round(k * max(0, num_frames - frames) / max(1, runs - 1)) for k in range(runs)}
    with av.open(str(path)) as container:
        held: list[Clip] = []
        for number, frame in enumerate(container.decode(video=0)):
            held = [*held, _halved(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))][
                -frames:
            ]
            if number - frames + 1 in starts and len(held) == frames:
                kept.append(np.stack(held))
    return kept


def draw_clip(material: Material, *, frames: int, side: int, rng: Generator) -> Clip:
    """Draw ``[frames, side, side, 3]`` of clean video, half synthetic and half real."""
    if material.runs and (not material.stills or rng.random() < 0.4):
        clip = crop_run(material.runs[rng.integers(len(material.runs))], frames, side, rng)
    else:
        clip = move_still(material.stills[rng.integers(len(material.stills))], frames, side, rng)
        if rng.random() < 0.25:
            other = material.stills[rng.integers(len(material.stills))]
            clip = _occlude(clip, move_still(other, frames, side, rng), rng)
    return clip


def crop_run(run_thwc: Clip, frames: int, side: int, rng: Generator) -> Clip:
    """Cut a random box out of real frames, enlarging none: small runs are mirrored outwards."""
    start = int(rng.integers(run_thwc.shape[0] - frames + 1))
    height, width = run_thwc.shape[1:3]
    missing = (max(0, side - height), max(0, side - width))
    if any(missing):
        padding = ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0))
        run_thwc = np.pad(run_thwc, padding, mode="symmetric")
    top = int(rng.integers(run_thwc.shape[1] - side + 1))
    left = int(rng.integers(run_thwc.shape[2] - side + 1))
    return run_thwc[start : start + frames, top : top + side, left : left + side]


def move_still(still_hwc: Clip, frames: int, side: int, rng: Generator) -> Clip:
    """Film a still with a camera that drifts, turns and zooms a little, or stands still."""
    height, width = still_hwc.shape[:2]
    top = int(rng.integers(max(1, height - side + 1)))
    left = int(rng.integers(max(1, width - side + 1)))
    if rng.random() < 0.25 and min(height, width) >= side:
        return np.repeat(still_hwc[None, top : top + side, left : left + side], frames, axis=0)
    velocity = np.clip(rng.normal(0, 2, size=2), -6, 6)
    turn_rad = math.radians(rng.normal(0, 0.3))
    zoom = rng.normal(0, 0.004)
    moved = []
    for number in range(frames):
        t = number - frames // 2
        offset = np.array([left, top]) + t * velocity + rng.normal(0, 0.3, size=2)
        moved.append(_view(still_hwc, offset, turn_rad * t, 1 + zoom * t, side))
    return np.stack(moved)


def _view(
    still_hwc: Clip, offset: NDArray[np.float64], turn_rad: float, zoom: float, side: int
) -> Clip:
    cosine, sine = math.cos(turn_rad) * zoom, math.sin(turn_rad) * zoom
    turn = np.array([[cosine, -sine], [sine, cosine]])
    middle = np.full(2, side / 2)
    matrix = np.column_stack((turn, offset + middle - turn @ middle))
    # The matrix maps output to input, so that no inverse is computed.
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(
        still_hwc, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(view, np.uint8)


def _occlude(back_thwc: Clip, front_thwc: Clip, rng: Generator) -> Clip:
    """Let an ellipse of another clip pass in front; its edge is where motion breaks."""
    frames, side = back_thwc.shape[:2]
    centre, velocity = rng.uniform(0, side, size=2), rng.normal(0, 3, size=2)
    axes = tuple(int(value) for value in rng.uniform(0.1, 0.35, size=2) * side)
    angle_deg = float(rng.uniform(0, 180))
    mixed = back_thwc.copy()
    for number in range(frames):
        place = tuple(int(value) for value in centre + velocity * number)
        mask = np.zeros((side, side), np.uint8)
        cv2.ellipse(mask, place, axes, angle_deg, 0, 360, 255, thickness=-1)
        share = cv2.GaussianBlur(mask, (0, 0), 0.7)[..., None].astype(np.float32) / 255
        blend = share * front_thwc[number] + (1 - share) * back_thwc[number]
        mixed[number] = np.rint(blend).astype(np.uint8)
    return mixed


def _halved(frame_hwc: NDArray[np.uint8]) -> Clip:
    height, width = frame_hwc.shape[:2]
    if min(height, width) < HALVE_FROM_PX:
        return frame_hwc
    smaller = (width // 2, height // 2)
    return np.asarray(cv2.resize(frame_hwc, smaller, interpolation=cv2.INTER_AREA), np.uint8)


def _licence(path: Path, stated: Mapping[Path, str]) -> str:
    """What is stated about a file, else about its folder, else nothing."""
    return stated.get(path) or stated.get(path.parent, "")


def _licences(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield what every ``MANIFEST.csv`` states, by the file or folder it speaks of."""
    for manifest in sorted(folder.rglob("MANIFEST.csv")):
        with manifest.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                name = row.get("name") or Path(row.get("dir", "")).name
                yield manifest.parent / name, row.get("licence", "")
