"""Steady the camera of each shot: one path, one zoom, one resampling.

A shot is left alone where its camera stands still or its motion cannot be trusted; where it can
be trusted in part, the measured path is smoothed by a Gaussian in place of the steadiest path.
Black bars stay where they are: what lies between them is steadied as a picture of its own.

Axes: t time, c channel, h height, w width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vgen.post.bars import WHOLE, Sides, are_changing, common_bars
from vgen.post.path import (
    IDENTITY,
    Maps,
    accumulate,
    aspect_of,
    gaussian,
    in_windows,
    inverse,
    largest_crop,
    place_of,
    seen_from,
)
from vgen.post.shots import shot_of, split_shots
from vgen.post.stats import FrameStats
from vgen.post.steadiest import Weights, steadiest
from vgen.post.warp import warped
from vgen.post_options import StabilizeOptions
from vgen.records import Record

MIN_QUALITY = 0.15
"""Share of corners that must agree for a frame's motion to be trusted."""
STEADIEST_FROM, SMOOTH_FROM = 0.8, 0.5
"""Shares of trusted frames from which on a shot gets the steadiest, or at least a smoothed path."""
STILL_CORNERS, STILL_FRAMES = 0.4, 0.95
"""A camera stands still where so many corners do, whoever moves through the picture, in so many
of the shot's frames."""
MIN_FRAMES = 8
"""Shorter shots have no path to speak of."""
USUAL_RATE = 27.5
"""Frames a second that all frames below are meant at; other rates stretch them alike."""
WAVE_FRAMES = 50.0
"""Frames a wave at which the trend cuts motion off, for smoothness 1: 1.8 seconds.
Hands and steps shake at half a second to one and a half; a pan that starts and stops takes longer
than two."""
SPEED, BEND, MIDDLE = 8.0, 10.0, 0.05
"""Weights beside the shake that is left: of the path's first difference, which counts as much at 18
frames a wave, of its second, as much at 11, and of the window's distance from the middle, so that
slow motion stays as it was where there is room, half of it at 97 frames a wave."""
TRIPOD_SPEED, TRIPOD_MIDDLE = 1e3, 1e-6
"""For a tripod: no motion is intended, and the window need not come back."""
SPARE, QUIET = 0.02, 1e-9
"""Shake that may be added to crop less: a share of the least, and as much a frame as a slow wave of
a fiftieth of a pixel in 640."""
CROPS = 4
"""Times that the crop is halved in between; each costs one solution of the whole shot."""
MOST_FRAMES, SHARED_FRAMES = 20_000, 2_000
"""Frames that are solved at once, which takes 10 KB each, and of two neighbouring windows: several
of the longest waves."""
GAUSSIAN_FRAMES = 15.0
"""Radius (sigma) of the smoothing where motion is trusted in part."""


class ShotPath(Record):
    """How to steady one shot; every number for pictures of width 1 and the origin in the middle."""

    start: int
    """Number of its first frame."""
    zoom: float
    """Side of the part that is shown, as a share of the inside's, in (0, 1]."""
    inside: Sides = WHOLE
    """Left, top, right, bottom of what lies between black bars, as shares of the frame's sides."""
    maps: tuple[tuple[float, float, float, float], ...]
    """dx, dy, a, b of each frame: where in the frame a point of the stable picture is found."""


class StabilizePlan(Record):
    """The paths of all shots that are moved."""

    aspect: float
    """Width by height of the shown picture."""
    paths: tuple[ShotPath, ...] = ()
    notes: tuple[str, ...] = ()
    """Why shots were smoothed only, or left alone."""


def plan_stabilize(
    stats: Sequence[FrameStats],
    cuts: Sequence[int],
    options: StabilizeOptions,
    *,
    aspect: float,
    rate: float,
) -> StabilizePlan:
    """Choose the path of each shot.

    Args:
        stats: A row a frame with its motion, in order and without a gap.
        cuts: Numbers of the frames that start a shot.
        options: What the person asked for.
        aspect: Width by height of the shown picture.
        rate: Frames a second, on average: shake is told from intended motion by its time.
    """
    # A person's hands do not shake more slowly for being filmed at more frames a second.
    stretch = min(max(rate, 5.0), 300.0) / USUAL_RATE
    options = options.model_copy(update={"smoothness": options.smoothness * stretch})
    paths: list[ShotPath] = []
    notes: list[str] = []
    for shot in split_shots(stats, cuts):
        trusted = _trusted(shot)
        if len(shot) < MIN_FRAMES or _is_still(shot):
            continue
        share, first, last = float(trusted.mean()), shot[0].frame, shot[-1].frame
        if share < SMOOTH_FROM:
            notes.append(f"frames {first} to {last} are not stabilized: their motion is unclear")
            continue
        if are_changing([row.bars for row in shot]):
            notes.append(f"frames {first} to {last} are not stabilized: their black bars change")
            continue
        path, doubt = _planned(shot, trusted, options, aspect, is_trusted=share >= STEADIEST_FROM)
        if doubt:
            notes.append(f"frames {first} to {last} are smoothed only: {doubt}")
        paths.append(path)
    return StabilizePlan(aspect=aspect, paths=tuple(paths), notes=tuple(notes))


def _planned(
    shot: Sequence[FrameStats],
    trusted: np.ndarray[tuple[int], np.dtype[np.bool_]],
    options: StabilizeOptions,
    aspect: float,
    *,
    is_trusted: bool,
) -> tuple[ShotPath, str]:
    """Return the path of a shot, and why it is not the steadiest; empty where it is."""
    inside = common_bars(row.bars for row in shot).inside
    steps, start = _steps(shot, trusted), shot[0].frame
    if inside == WHOLE:
        maps, zoom, doubt = _chosen(steps, options, aspect, is_trusted=is_trusted)
        return _path(start, maps, zoom, inside), doubt
    place, own_aspect = place_of(inside, aspect), aspect_of(inside, aspect)
    steps = seen_from(place, steps)
    maps, zoom, doubt = _chosen(steps, options, own_aspect, is_trusted=is_trusted)
    return _path(start, seen_from(inverse(place), maps), zoom, inside), doubt


class Stabilize:
    """Shows every frame along its shot's path."""

    lead = tail = 0

    def __init__(self, plan: StabilizePlan) -> None:
        """``plan`` holds the paths of the whole video, or of the shots that will be seen."""
        self._plan = plan
        self._starts = [path.start for path in plan.paths]

    def apply(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return the frames as the steady camera sees them; the same tensor where none is moved."""
        paths = [self._path(number) for number in numbers]
        if all(path is None for path in paths):
            return frames_tchw
        return torch.cat(
            [
                frame if path is None else self._shown(frame, path, number)
                for frame, path, number in zip(frames_tchw[:, None], paths, numbers, strict=True)
            ]
        )

    def _path(self, number: int) -> ShotPath | None:
        if not self._starts:
            return None
        path = self._plan.paths[shot_of(self._starts, number)]
        return path if path.start <= number < path.start + len(path.maps) else None

    def _shown(self, frame_1chw: Tensor, path: ShotPath, number: int) -> Tensor:
        row = np.array(path.maps[number - path.start])
        return warped(frame_1chw, row, zoom=path.zoom, inside=path.inside, aspect=self._plan.aspect)


def camera_path(shot: Sequence[FrameStats]) -> Maps:
    """Return the maps from each frame of a shot to its first, as far as motion is trusted."""
    trusted = _trusted(shot)
    if not trusted.any():
        return np.tile(IDENTITY, (len(shot), 1))
    steps = _steps(shot, trusted)
    return accumulate(np.concatenate([IDENTITY[None], steps[1:]]))


def _trusted(shot: Sequence[FrameStats]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return for each frame but the first whether its motion is trusted."""
    return np.array(
        [row.motion is not None and row.motion.quality >= MIN_QUALITY for row in shot[1:]]
    )


def _is_still(shot: Sequence[FrameStats]) -> bool:
    still = [row.motion is None or row.motion.still >= STILL_CORNERS for row in shot[1:]]
    return float(np.mean(still)) >= STILL_FRAMES


def _steps(shot: Sequence[FrameStats], trusted: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Maps:
    """Return the maps from each frame to the one before; the camera goes on where it is unclear."""
    measured = np.tile(IDENTITY, (len(shot), 1))
    for t, row in enumerate(shot[1:], start=1):
        if row.motion is not None:
            moved = row.motion.similarity
            measured[t] = moved.dx, moved.dy, moved.a, moved.b
    known = np.flatnonzero(trusted) + 1
    filled = [np.interp(np.arange(len(shot)), known, column[known]) for column in measured.T]
    return inverse(np.stack(filled, axis=1))


def _chosen(
    steps: Maps, options: StabilizeOptions, aspect: float, *, is_trusted: bool
) -> tuple[Maps, float, str]:
    """Return the maps, the zoom, and why the path is not the steadiest; empty where it is."""
    if not is_trusted:
        return *_smoothed(steps, options, aspect), "their motion is unclear"
    try:
        return *_steadied(steps, options, aspect), ""
    except ArithmeticError as error:
        # One shot that a solver gives up on should not stop an archive.
        return *_smoothed(steps, options, aspect), str(error)


def _steadied(steps: Maps, options: StabilizeOptions, aspect: float) -> tuple[Maps, float]:
    """Return the steadiest maps, and the zoom of the least crop that keeps them as steady."""
    maps = in_windows(
        steps,
        lambda window: _least_cropped(window, options, aspect),
        most_frames=MOST_FRAMES,
        shared_frames=SHARED_FRAMES,
    )
    return maps, largest_crop(maps, aspect=aspect)


def _least_cropped(steps: Maps, options: StabilizeOptions, aspect: float) -> Maps:
    weights = _weights(options)
    best = steadiest(steps, scale=1 - options.max_crop, aspect=aspect, weights=weights)
    bearable = (1 + SPARE) * best.shake + QUIET * len(steps)
    too_little, enough = 0.0, 1 - largest_crop(best.maps, aspect=aspect)
    for _ in range(CROPS):
        crop = (too_little + enough) / 2
        tried = steadiest(steps, scale=1 - crop, aspect=aspect, weights=weights)
        if tried.shake <= bearable:
            best, enough = tried, crop
        else:
            too_little = crop
    return best.maps


def _weights(options: StabilizeOptions) -> Weights:
    longer = options.smoothness
    # The first difference of a wave shrinks with its length, the second with the square of it.
    trend, bend = (longer * WAVE_FRAMES / (2 * np.pi)) ** 6, BEND * longer**4
    if options.tripod:
        return Weights(trend=trend, speed=TRIPOD_SPEED * longer**2, bend=bend, middle=TRIPOD_MIDDLE)
    return Weights(trend=trend, speed=SPEED * longer**2, bend=bend, middle=MIDDLE)


def _smoothed(steps: Maps, options: StabilizeOptions, aspect: float) -> tuple[Maps, float]:
    """Smooth as much as the crop permits: halve the correction until it does."""
    full = gaussian(steps, sigma=GAUSSIAN_FRAMES * options.smoothness)
    for halving in range(8):
        maps = IDENTITY + (full - IDENTITY) / 2**halving
        zoom = largest_crop(maps, aspect=aspect)
        if zoom >= 1 - options.max_crop:
            return maps, zoom
    return np.tile(IDENTITY, (len(steps), 1)), 1.0


def _path(start: int, maps: Maps, zoom: float, inside: Sides) -> ShotPath:
    rows = tuple(
        (round(x, 8), round(y, 8), round(a, 8), round(b, 8)) for x, y, a, b in maps.tolist()
    )
    return ShotPath(start=start, zoom=round(zoom, 6), inside=inside, maps=rows)
