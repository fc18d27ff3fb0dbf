"""How far restored frames are from the clean ones.

Axes: t time, c channel (RGB), h height, w width. Clips are float, nominally in [0, 1]; they
are clipped and rounded to 8 bits before anything is measured, because that is what a viewer
gets. PSNR is taken per frame and averaged over frames, in decibels.
"""

import torch
from torch import Tensor

IDENTICAL_DB = 100.0
"""Stands for the infinite PSNR of equal frames, so that means stay finite."""

# Luma in 8-bit levels of R'G'B' in [0, 1], offset 16 left out: it cancels in every difference.
_BT601 = (65.481, 128.553, 24.966)


def psnr_rgb_db(restored_tchw: Tensor, clean_tchw: Tensor) -> float:
    """PSNR over the three channels together."""
    difference = _levels(restored_tchw) - _levels(clean_tchw)
    return _psnr_db(difference.square().mean((1, 2, 3)))


def psnr_luma_db(restored_tchw: Tensor, clean_tchw: Tensor) -> float:
    """PSNR of BT.601 luma, Y = 16 + 65.481 R + 128.553 G + 24.966 B, peak 255."""
    difference = _luma(restored_tchw) - _luma(clean_tchw)
    return _psnr_db(difference.square().mean((1, 2)))


def temporal_difference(restored_tchw: Tensor, clean_tchw: Tensor) -> float:
    """RMSE between the frame-to-frame changes of both, in 8-bit levels; 0 for one frame.

    Flicker that a per-frame measure cannot see raises it, and motion alone does not.
    """
    if len(clean_tchw) < 2:
        return 0.0
    change = _levels(restored_tchw).diff(dim=0) - _levels(clean_tchw).diff(dim=0)
    return float(change.square().mean().sqrt())


def _levels(clip_tchw: Tensor) -> Tensor:
    return (clip_tchw.double() * 255).round().clamp(0, 255)


def _luma(clip_tchw: Tensor) -> Tensor:
    weights = torch.tensor(_BT601, dtype=torch.double, device=clip_tchw.device) / 255
    return torch.einsum("tchw,c->thw", _levels(clip_tchw), weights)


def _psnr_db(errors_t: Tensor) -> float:
    decibels = 10 * torch.log10(255**2 / errors_t)
    return float(decibels.clamp(max=IDENTICAL_DB).mean())
