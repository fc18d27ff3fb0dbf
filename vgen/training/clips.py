"""Clean material to learn from: stills set in motion, and real clips made smaller.

It comes from a dataset that ``vgen dataset`` made, or from a plain folder that is laid out as the
project's own material. There files are chosen by pattern, and only those whose ``MANIFEST.csv``
states a licence that allows training. Some are held out for evaluation by a rule that looks at the
name alone, so that no two programs can disagree about it.

Clips are uint8 RGB arrays ``[T, H, W, 3]``.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vgen.errors import ConfigError
from vgen.storage import normalize_uri
from vgen.training.codec import Clip
from vgen.training.dataset import Dataset, is_dataset, open_dataset
from vgen.training.licences import allows_training, licences_of
from vgen.training.selection import HELD_OUT_NAMES

log = logging.getLogger(__name__)

STILLS = ("bsds400_jpg/*.jpg",)
CLIPS = ("clips/intel_*", "clips/opencv_*")

# Runs of frames kept of each real clip: enough variety, bounded memory.
RUNS_PER_CLIP = 6
FRAMES_PER_RUN = 9

# Clips at least this large on the short side are halved, which removes most of what their own
# compression did to them.
HALVE_FROM_PX = 360


@dataclass(frozen=True, slots=True)
class Material:
    """Clean pictures, read only; of a dataset they are read when they are asked for."""

    stills: Sequence[Clip]
    """Each ``[H, W, 3]``."""
    runs: Sequence[Clip]
    """Consecutive frames of real clips, each ``[T, H, W, 3]``."""
    licences: tuple[str, ...] = ()
    """What the manifests state about these files, without repetition."""


def is_held_out(name: str, patterns: Sequence[str] = HELD_OUT_NAMES) -> bool:
    """Whether a file is kept for evaluation: its name matches one of the shell patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def find_files(folder: Path, patterns: tuple[str, ...], *, held_out: bool) -> list[Path]:
    """Return the usable files of one side of the split, sorted by name.

    Raises:
        ConfigError: no file is left.
    """
    paths = sorted({path.absolute() for pattern in patterns for path in folder.glob(pattern)})
    stated = licences_of(str(path) for path in paths)
    found = []
    for path in paths:
        licence = stated[str(path)]
        if not allows_training(licence):
            log.warning("left out %s: licence %r", path.name, licence)
        elif is_held_out(path.name) == held_out:
            found.append(path)
    if not found:
        raise ConfigError(
            f"no usable file matches {', '.join(patterns)} under {str(folder)!r}; make a dataset "
            "of other material with vgen dataset"
        )
    return found


def load_material(place: str | Path, *, frames: int = 1) -> Material:
    """Return everything training may use of a dataset, or of a plain folder.

    Of a dataset (folder or URI) clips are read when asked for, and the latest are kept. A plain
    folder is decoded at once: about half a gigabyte for 400 stills.

    Args:
        place: The dataset or folder.
        frames: That every run must have, so that an example can be cut out of it.

    Raises:
        ConfigError: stills or clips are missing; or a dataset holds nothing to train on, or clips
            of fewer frames.
        StorageError: it cannot be reached.
    """
    uri = normalize_uri(str(place))
    if is_dataset(uri):
        return _from_dataset(uri, frames)
    folder = Path(place)
    pictures = find_files(folder, STILLS, held_out=False)
    clips = find_files(folder, CLIPS, held_out=False)
    stills = tuple(read_still(path) for path in pictures)
    runs = tuple(run for path in clips for run in _long_runs(path, max(FRAMES_PER_RUN, frames)))
    log.info("%d stills and %d runs of %d clips", len(stills), len(runs), len(clips))
    stated = licences_of(str(path) for path in (*pictures, *clips))
    return Material(stills, runs, tuple(sorted(set(stated.values()))))


def check_material(uri: str, *, frames: int) -> None:
    """Refuse what ``load_material`` would refuse, and decode nothing.

    Raises:
        ConfigError: as there.
        StorageError: as there.
    """
    if is_dataset(uri):
        _checked_dataset(uri, frames)
        return
    for patterns in (STILLS, CLIPS):
        find_files(Path(uri), patterns, held_out=False)


def _checked_dataset(uri: str, frames: int) -> Dataset:
    dataset = open_dataset(uri)
    if not dataset.clips("still") and not dataset.clips("video"):
        raise ConfigError(f"the dataset {uri!r} holds nothing to train on: all of it is held out")
    shortest = dataset.shortest_run()
    if shortest is not None and shortest < frames:
        raise ConfigError(
            f"the dataset {uri!r} has clips of {shortest} frames, and examples need {frames}; "
            "lower pool.frames, or make it anew with vgen dataset and more frames"
        )
    return dataset


def _from_dataset(uri: str, frames: int) -> Material:
    dataset = _checked_dataset(uri, frames)
    stills, runs = dataset.clips("still"), dataset.clips("video")
    log.info("%d stills and %d runs of the dataset %s", len(stills), len(runs), uri)
    return Material(stills, runs, dataset.licences())


def _long_runs(path: Path, frames: int) -> list[Clip]:
    runs = read_runs(path, frames=frames)
    if not runs:
        log.warning("left out %s: fewer than %d frames", path.name, frames)
    return runs


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
        clip = crop_run(_one_of(material.runs, rng), frames, side, rng)
    else:
        clip = move_still(_one_of(material.stills, rng), frames, side, rng)
        if rng.random() < 0.25:
            clip = _occlude(clip, move_still(_one_of(material.stills, rng), frames, side, rng), rng)
    return clip


def _one_of(clips: Sequence[Clip], rng: Generator) -> Clip:
    return clips[int(rng.integers(len(clips)))]


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
