"""What a report tells of a chain's plan: one line a step, and the curves of a video."""

from collections.abc import Sequence

import numpy as np

from vgen.post.bars import WHOLE
from vgen.post.chain import ChainPlan
from vgen.post.color import ShotColor
from vgen.post.denoise import LEAST_SIGMA
from vgen.post.path import Maps, compose
from vgen.post.shots import split_shots
from vgen.post.stabilize import camera_path
from vgen.post.stats import FrameStats
from vgen.post_options import PostSettings
from vgen.records import Curves, PathPoint, point_stride

MAX_STABILIZE_NOTES = 5
"""Shots that are named one by one; of more only their number is told."""
_NEUTRAL = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def notes_of(settings: PostSettings, plan: ChainPlan, num_shots: int) -> tuple[str, ...]:
    """Say what each step that was planned from measures does, in the order of the steps."""
    told: list[str] = []
    for step in settings.steps:
        if step == "color" and plan.color.shots:
            changed = sum(map(_is_changed, plan.color.shots))
            told.append(f"color: corrected in {_of(changed, num_shots)}")
        if step == "denoise":
            noisy = [sigma for sigma in plan.denoise.sigmas if sigma >= LEAST_SIGMA]
            between = f", {min(noisy):.1f} to {max(noisy):.1f} levels" if noisy else ""
            told.append(f"denoise: noise taken out of {_of(len(noisy), num_shots)}{between}")
        if step == "deflicker" and plan.deflicker.gains:
            most = max(abs(gain - 1) for gain in plan.deflicker.gains)
            unclear = plan.deflicker.unclear
            told.append(f"deflicker: brightness of a frame changed by up to {most:.1%}")
            if unclear:
                told[-1] += f"; {unclear} frames do not compare with the one before"
        if step == "stabilize":
            told += _stabilize_notes(plan, num_shots)
    return tuple(told)


def curves_of(
    stats: Sequence[FrameStats], cuts: Sequence[int], plan: ChainPlan, num_frames: int
) -> Curves:
    """Return the shots and the camera's path before and after; luma is measured elsewhere."""
    shots = split_shots(stats, cuts)
    has_motion = any(row.motion is not None for row in stats)
    stride = point_stride(num_frames)
    moved = {path.start: np.array(path.maps) for path in plan.stabilize.paths}
    points: list[PathPoint] = []
    for shot in shots if has_motion else ():
        raw = camera_path(shot)
        steady = compose(raw, moved[shot[0].frame]) if shot[0].frame in moved else raw
        rows = np.concatenate([_pose(raw), _pose(steady)], axis=1).round(3).tolist()
        points += [
            (row.frame, *pose)
            for row, pose in zip(shot, rows, strict=True)
            if row.frame % stride == 0
        ]
    return Curves(shots=tuple(shot[0].frame for shot in shots), path=tuple(points))


def _pose(maps: Maps) -> Maps:
    dx, dy, a, b = maps.T
    return np.stack([100 * dx, 100 * dy, np.degrees(np.arctan2(b, a))], axis=1)


def _is_changed(shot: ShotColor) -> bool:
    return any(grade.matrix != _NEUTRAL or grade.power != 1 for grade in shot.grades)


def _stabilize_notes(plan: ChainPlan, num_shots: int) -> list[str]:
    paths, doubts = plan.stabilize.paths, plan.stabilize.notes
    crop = f"crop {min(path.zoom for path in paths):.2f} in " if paths else "nothing to steady in "
    told = [f"stabilize: {crop}{_of(len(paths), num_shots) if paths else _of(None, num_shots)}"]
    boxed = sum(path.inside != WHOLE for path in paths)
    if boxed:
        told[0] += f", between black bars in {boxed}"
    if len(doubts) > MAX_STABILIZE_NOTES:
        return [*told, f"stabilize: the motion or the bars of {len(doubts)} shots are unclear"]
    return [*told, *(f"stabilize: {doubt}" for doubt in doubts)]


def _of(count: int | None, num_shots: int) -> str:
    shots = "1 shot" if num_shots == 1 else f"{num_shots} shots"
    return shots if count is None else f"{count} of {shots}"
