"""Take out noise where neighbouring frames and pixels agree.

Blocks of 8x8 pixels through the frames around one are transformed by the DCT in space and time;
coefficients too small to be told from noise are dropped, and the overlapping results averaged
(Yaroslavsky 1996; Yu and Sapiro, "DCT image denoising", IPOL 2011). What stands still ends up in
few coefficients and loses nearly all its noise; what moves spreads out in time and keeps its
picture: the filter adapts to motion without following it.

Axes: t time, n batch, c channel, h height, w width, k coefficient.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vgen.post.shots import shot_of, split_shots
from vgen.post.stats import FrameStats
from vgen.post_options import DENOISE_REACH, DenoiseOptions
from vgen.records import Record

BLOCK = 8
STRIDE = 3
"""Distance of blocks: smaller is better and costs more, by the square."""
THRESHOLD = 2.7
"""Coefficients smaller than so many standard deviations are dropped."""
_BAND = 32  # rows of blocks
LEAST_SIGMA = 0.5
"""Noise in 8-bit levels below which a frame is left as it is: rounding alone makes 0.3."""
# Orthonormal, so that white noise stays white: luma, red against blue, green against both.
_OPPONENT = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)


class DenoisePlan(Record):
    """The noise of each shot, and where shots are, so that frames never mix across a cut."""

    starts: tuple[int, ...] = ()
    """Number of each shot's first frame."""
    sigmas: tuple[float, ...] = ()
    """Standard deviation of what is taken out of each, 8-bit levels."""


def plan_denoise(
    stats: Sequence[FrameStats], cuts: Sequence[int], options: DenoiseOptions
) -> DenoisePlan:
    """Choose the strength for each shot: the median of its frames' noise, or what was given.

    A shot of which no frame was measured, as its first ones are missing, has the video's noise.

    Raises:
        ValueError: nothing was given, and no frame of the video was measured.
    """
    shots = split_shots(stats, cuts)
    sigmas = [options.strength * _sigma(shot, stats, options) for shot in shots]
    return DenoisePlan(
        starts=tuple(shot[0].frame for shot in shots),
        sigmas=tuple(round(sigma, 4) for sigma in sigmas),
    )


class Denoise:
    """Filters every frame with up to two neighbours on either side, within its shot."""

    lead = tail = DENOISE_REACH

    def __init__(self, plan: DenoisePlan) -> None:
        """``plan`` holds the noise of the whole video, or of the shots that will be seen."""
        self._plan = plan

    def apply(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return the filtered frames; right where the context is there, or the shot ends."""
        out = [self.apply_one(frames_tchw, numbers, at) for at in range(len(numbers))]
        return torch.stack(out) if out else frames_tchw

    def leaves(self, number: int) -> bool:
        """Whether that frame is too clean to be touched."""
        starts = self._plan.starts
        return not starts or self._plan.sigmas[shot_of(starts, number)] < LEAST_SIGMA

    def apply_one(self, frames_tchw: Tensor, numbers: Sequence[int], at: int) -> Tensor:
        """Return the filtered frame at position ``at``, ``[3, H, W]``."""
        if self.leaves(numbers[at]):
            return frames_tchw[at]
        shot = shot_of(self._plan.starts, numbers[at])
        sigma = self._plan.sigmas[shot]
        nearby = [
            i
            for i in range(max(at - DENOISE_REACH, 0), min(at + DENOISE_REACH + 1, len(numbers)))
            if shot_of(self._plan.starts, numbers[i]) == shot
        ]
        return _filtered(frames_tchw[nearby], nearby.index(at), sigma / 255)


def _sigma(
    shot: Sequence[FrameStats], video: Sequence[FrameStats], options: DenoiseOptions
) -> float:
    if options.sigma is not None:
        return options.sigma
    for rows in (shot, video):
        measured = [row.sigma for row in rows if row.sigma is not None]
        if measured:
            return float(np.median(measured))
    raise ValueError("no noise was measured in any frame, and none is given")


def _filtered(window_tchw: Tensor, centre: int, sigma: float) -> Tensor:
    """Return the frame at ``centre`` of the window, filtered; sigma in shares of the range."""
    opponent = window_tchw.new_tensor(_OPPONENT)
    height, width = window_tchw.shape[-2:]
    # Blocks start before the picture and end after it, so that every pixel is in as many.
    around = [BLOCK, BLOCK + (-width) % STRIDE, BLOCK, BLOCK + (-height) % STRIDE]
    mixed_tchw = torch.einsum("dc,tchw->tdhw", opponent, window_tchw)
    padded_tchw = F.pad(mixed_tchw, around, mode="replicate")
    channels = [_plane(padded_tchw[:, c : c + 1], centre, sigma) for c in range(3)]
    mixed_chw = torch.cat(channels)[:, BLOCK : BLOCK + height, BLOCK : BLOCK + width]
    return torch.einsum("dc,dhw->chw", opponent, mixed_chw)


def _plane(plane_t1hw: Tensor, centre: int, sigma: float) -> Tensor:
    """Filter one channel; bands of blocks bound the memory to about 30 MB at 1080p."""
    space_k1hw, time_tt = _bases(plane_t1hw)
    box_11hw = torch.ones_like(space_k1hw[:1])
    total_1hw, weight_1hw = torch.zeros_like(plane_t1hw[0]), torch.zeros_like(plane_t1hw[0])
    num_rows = (plane_t1hw.shape[-2] - BLOCK) // STRIDE + 1
    for first in range(0, num_rows, _BAND):
        rows = min(_BAND, num_rows - first)
        top, tall = first * STRIDE, (rows - 1) * STRIDE + BLOCK
        blocks_tkhw = F.conv2d(plane_t1hw[..., top : top + tall, :], space_k1hw, stride=STRIDE)
        both_tkhw = torch.einsum("st,tkhw->skhw", time_tt, blocks_tkhw)
        is_kept = both_tkhw.abs() >= THRESHOLD * sigma
        is_kept[0, 0] = True  # the mean, which is never noise alone
        # Sparse blocks are the better estimate.
        trust_1hw = 1.0 / is_kept.sum(dim=(0, 1), dtype=plane_t1hw.dtype)[None]
        back_khw = torch.einsum("s,skhw->khw", time_tt[:, centre], both_tkhw * is_kept)
        wide = (blocks_tkhw.shape[-1] - 1) * STRIDE + BLOCK
        part = (..., slice(top, top + tall), slice(0, wide))
        total_1hw[part] += F.conv_transpose2d(back_khw * trust_1hw, space_k1hw, stride=STRIDE)
        weight_1hw[part] += F.conv_transpose2d(trust_1hw, box_11hw, stride=STRIDE)
    return total_1hw / weight_1hw.clamp_min(1e-12)


def _bases(plane_t1hw: Tensor) -> tuple[Tensor, Tensor]:
    """Return the DCT of blocks as a convolution, and that of the window's frames as a matrix."""
    space = _dct(BLOCK)
    kernels = torch.einsum("ih,jw->ijhw", space, space).reshape(-1, 1, BLOCK, BLOCK)
    return kernels.to(plane_t1hw), _dct(len(plane_t1hw)).to(plane_t1hw)


def _dct(size: int) -> Tensor:
    """Return the orthonormal DCT-II, ``[frequency, position]``."""
    at = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi * (at + 0.5) * at[:, None] / size) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis
