"""How far restored frames are from the clean ones.

Axes: t time, c channel (RGB), h height, w width. Clips are float, nominally in [0, 1]; they
are clipped and rounded to 8 bits before anything is measured, because that is what a viewer
gets. PSNR and SSIM are taken per frame and averaged over frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgen.training.scores import Measures

Plane = NDArray[np.float64]

IDENTICAL_DB = 100.0
"""Stands for the infinite PSNR of equal frames, so that means stay finite."""
SSIM_SIDE_PX = 11
"""Side of the window of SSIM, and the smallest side a frame may have."""

# Luma in 8-bit levels of R'G'B' in [0, 1] (ITU-R BT.601), to which an offset of 16 comes.
_BT601 = (65.481, 128.553, 24.966)
_SSIM_SIGMA_PX = 1.5
_SSIM_K = (0.01, 0.03)


def measure(
    restored_tchw: Tensor, clean_tchw: Tensor, motion: "Motion", *, border_px: int = 0
) -> Measures:
    """Take all measures; ``border_px`` of each edge do not count, except in the warping error."""
    inner = (..., *(slice(border_px, -border_px or None),) * 2)
    restored_inner, clean_inner = restored_tchw[inner], clean_tchw[inner]
    return Measures(
        psnr_rgb_db=psnr_rgb_db(restored_inner, clean_inner),
        psnr_luma_db=psnr_luma_db(restored_inner, clean_inner),
        ssim_luma=ssim_luma(restored_inner, clean_inner),
        temporal_difference=temporal_difference(restored_inner, clean_inner),
        warping_error=warping_error(restored_tchw, motion),
    )


def mean_measures(measured: Sequence[Measures]) -> Measures:
    """Return the mean of each measure.

    Raises:
        ValueError: there are none.
    """
    if not measured:
        raise ValueError("the mean of no measures was asked for")
    rows = [one.model_dump() for one in measured]
    return Measures(**{name: float(np.mean([row[name] for row in rows])) for name in rows[0]})


def psnr_rgb_db(restored_tchw: Tensor, clean_tchw: Tensor) -> float:
    """PSNR over the three channels together, in decibels."""
    difference = _levels(restored_tchw) - _levels(clean_tchw)
    return _psnr_db(difference.square().mean((1, 2, 3)))


def psnr_luma_db(restored_tchw: Tensor, clean_tchw: Tensor) -> float:
    """PSNR of BT.601 luma, Y = 16 + 65.481 R + 128.553 G + 24.966 B, peak 255."""
    difference = _luma(restored_tchw) - _luma(clean_tchw)
    return _psnr_db(difference.square().mean((1, 2)))


def ssim_luma(restored_tchw: Tensor, clean_tchw: Tensor) -> float:
    """SSIM of the same luma, 1 for equal frames.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to
    structural similarity" (2004): Gaussian window of 11x11 and sigma 1.5, K of 0.01 and 0.03,
    range 255, over the positions where the window lies inside the frame.

    Raises:
        ValueError: frames are smaller than the window.
    """
    if min(clean_tchw.shape[-2:]) < SSIM_SIDE_PX:
        raise ValueError(f"frames of {tuple(clean_tchw.shape[-2:])} are smaller than SSIM's window")
    pairs = zip(_planes(restored_tchw), _planes(clean_tchw), strict=True)
    return float(np.mean([_ssim(x, y) for x, y in pairs]))


def _ssim(x: Plane, y: Plane) -> float:
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x = _blurred(x * x) - mean_x**2
    variance_y = _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = ((k * 255) ** 2 for k in _SSIM_K)
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(
        (likeness / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean()
    )


def temporal_difference(restored_tchw: Tensor, clean_tchw: Tensor) -> float:
    """RMSE between the frame-to-frame changes of both, in 8-bit levels; 0 for one frame.

    Flicker that a per-frame measure cannot see raises it, and motion alone does not.
    """
    if len(clean_tchw) < 2:
        return 0.0
    change = _levels(restored_tchw).diff(dim=0) - _levels(clean_tchw).diff(dim=0)
    return float(change.square().mean().sqrt())


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Where the pixels of each clean frame but the first were one frame before."""

    came_from: tuple[NDArray[np.float32], ...]
    """Column and row in the frame before, ``[H, W, 2]``, for each pair of frames."""
    is_seen: tuple[NDArray[np.bool_], ...]
    """``[H, W]``: the pixel is visible in both frames."""


def motion_of(clean_tchw: Tensor) -> Motion:
    """Estimate the motion of a clean clip, by dense inverse search on 8-bit luma.

    DIS, preset medium (Kroeger et al., 2016). A pixel counts as hidden where going back and
    forth does not return to it (the bound of Sundaram, Brox and Keutzer, 2010), or comes from
    outside the frame.
    """
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    lumas = _planes(clean_tchw).round().astype(np.uint8)
    height, width = lumas.shape[1:]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    came_from, is_seen = [], []
    for before, current in pairwise(lumas):
        back = search.calc(current, before, None)
        forth = search.calc(before, current, None)
        places = grid + back
        returned = cv2.remap(forth, places[..., 0], places[..., 1], cv2.INTER_LINEAR)
        error = np.square(back + returned).sum(-1)
        bound = 0.01 * (np.square(back).sum(-1) + np.square(returned).sum(-1)) + 0.5
        is_inside = ((places >= 0) & (places <= (width - 1, height - 1))).all(-1)
        came_from.append(places)
        is_seen.append(is_inside & (error <= bound))
    return Motion(came_from=tuple(came_from), is_seen=tuple(is_seen))


def warping_error(clip_tchw: Tensor, motion: Motion) -> float:
    """Mean square of the change along ``motion``, RGB in [0, 1], where both frames show a pixel.

    E_warp of Lai et al., "Learning blind video temporal consistency" (2018), with another
    estimate of motion: compare it with other values of this function only. 0 for one frame.
    """
    frames = np.asarray(_levels(clip_tchw).float().cpu().movedim(1, -1)) / np.float32(255)
    total, count = 0.0, 0
    for number, (places, is_seen) in enumerate(
        zip(motion.came_from, motion.is_seen, strict=True), start=1
    ):
        moved = cv2.remap(frames[number - 1], places[..., 0], places[..., 1], cv2.INTER_LINEAR)
        change = np.square(frames[number] - moved)[is_seen]
        total, count = total + float(change.sum(dtype=np.float64)), count + change.size
    return total / count if count else 0.0


def _levels(clip_tchw: Tensor) -> Tensor:
    return (clip_tchw.double() * 255).round().clamp(0, 255)


def _luma(clip_tchw: Tensor) -> Tensor:
    weights = torch.tensor(_BT601, dtype=torch.double, device=clip_tchw.device) / 255
    return 16 + torch.einsum("tchw,c->thw", _levels(clip_tchw), weights)


def _psnr_db(errors_t: Tensor) -> float:
    decibels = 10 * torch.log10(255**2 / errors_t)
    return float(decibels.clamp(max=IDENTICAL_DB).mean())


def _planes(clip_tchw: Tensor) -> NDArray[np.float64]:
    return np.asarray(_luma(clip_tchw).cpu(), np.float64)


def _blurred(plane_hw: Plane) -> Plane:
    """Average with SSIM's window, where it lies inside."""
    window, edge = (SSIM_SIDE_PX, SSIM_SIDE_PX), SSIM_SIDE_PX // 2
    averaged = cv2.GaussianBlur(plane_hw, window, _SSIM_SIGMA_PX)
    return np.asarray(averaged[edge:-edge, edge:-edge], np.float64)
