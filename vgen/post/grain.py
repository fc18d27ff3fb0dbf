"""Lay film grain over the picture, the same for a frame however its span was cut.

One patch of filtered Gaussian noise that wraps around is made once; each frame takes it from a
place that its number decides, as in AV1's film grain (Norkin and Birkbeck, DCC 2018). Grain is
strongest in mid tones and none in black and white.

Axes: t time, c channel, h height, w width.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from vgen.post.stats import LUMA
from vgen.post_options import GrainOptions

PATCH = 1024
"""Side of the patch; larger pictures repeat it, which nobody sees in moving grain."""


class Grain:
    """Needs nothing but the frame and its number."""

    lead = tail = 0

    def __init__(self, options: GrainOptions) -> None:
        """Make the patch; takes about a tenth of a second."""
        self._options = options
        rng = np.random.default_rng(options.seed)
        noise = rng.standard_normal((4, PATCH, PATCH), np.float32)
        radius = options.size_px
        soft = np.stack([ndimage.gaussian_filter(n, radius, mode="wrap") for n in noise])
        soft /= soft.std(axis=(1, 2), keepdims=True)
        # One layer that all channels share, and one of each channel's own.
        shared, own = soft[:1], soft[1:]
        mixed = (1 - options.color) * shared + options.color * own
        mixed /= mixed.std(axis=(1, 2), keepdims=True)
        self._patch_chw = torch.from_numpy(mixed * np.float32(options.sigma / 255))

    def apply(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return the frames with the grain of their numbers."""
        if self._options.sigma == 0:
            return frames_tchw
        self._patch_chw = self._patch_chw.to(frames_tchw)
        height, width = frames_tchw.shape[-2:]
        grain_tchw = torch.stack([self._grain(number, height, width) for number in numbers])
        weights = frames_tchw.new_tensor(LUMA)[None, :, None, None]
        luma_t1hw = (frames_tchw * weights).sum(dim=1, keepdim=True).clamp(0, 1)
        return frames_tchw + grain_tchw * 4 * luma_t1hw * (1 - luma_t1hw)

    def _grain(self, number: int, height: int, width: int) -> Tensor:
        digest = hashlib.sha256(f"{self._options.seed}/{number}".encode()).digest()
        top, left = (int.from_bytes(digest[i : i + 4], "big") for i in (0, 4))
        device = self._patch_chw.device
        rows = (torch.arange(height, device=device) + top % PATCH) % PATCH
        columns = (torch.arange(width, device=device) + left % PATCH) % PATCH
        return self._patch_chw[:, rows[:, None], columns]
