"""Sharpen where there is room: contrast-adaptive, on luma alone.

The detail of a pixel against its neighbourhood is added back, by less the more contrast is there
already and the nearer black or white is, and the result stays within a little of the range the
neighbourhood spans, so that edges get no halo and noise in flat parts is not lifted to the full.

Axes: t time, c channel, h height, w width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vgen.post.stats import LUMA
from vgen.post_options import SharpenOptions

OVERSHOOT = 0.1
"""How far beyond its neighbours a pixel may go, as a share of their contrast."""
STRONGEST = 2.0
"""Factor on the detail at amount 1, where contrast is low."""


class Sharpen:
    """Needs nothing but the frame."""

    lead = tail = 0

    def __init__(self, options: SharpenOptions) -> None:
        """``options`` as the person gave them."""
        self._amount = options.amount

    def apply(self, frames_tchw: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return the sharpened frames; ``numbers`` make no difference."""
        if self._amount == 0:
            return frames_tchw
        weights = frames_tchw.new_tensor(LUMA)[None, :, None, None]
        luma_t1hw = (frames_tchw * weights).sum(dim=1, keepdim=True)
        around_t1hw = F.pad(luma_t1hw, (1, 1, 1, 1), mode="replicate")
        highest = lowest = soft = around_t1hw
        # Along one side and then the other: a tenth of the time of pooling and convolution.
        for dim in (-2, -1):
            before, here, after = _neighbours(highest, dim)
            highest = torch.maximum(torch.maximum(before, here), after)
            before, here, after = _neighbours(lowest, dim)
            lowest = torch.minimum(torch.minimum(before, here), after)
            before, here, after = _neighbours(soft, dim)
            soft = (before + after + 2 * here) / 4
        detail = luma_t1hw - soft
        contrast = highest - lowest
        room = torch.minimum(lowest, 1 - highest).clamp_min(0) / highest.clamp_min(1e-4)
        strength = self._amount * STRONGEST * (1 - contrast).clamp_min(0) * room.clamp_max(1).sqrt()
        margin = OVERSHOOT * contrast
        wanted = luma_t1hw + strength * detail
        sharp = torch.maximum(torch.minimum(wanted, highest + margin), lowest - margin)
        return frames_tchw + (sharp - luma_t1hw)


def _neighbours(plane: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the plane shifted by -1, 0 and 1 along ``dim``, shorter by both edges."""
    length = plane.shape[dim] - 2
    return (
        plane.narrow(dim, 0, length),
        plane.narrow(dim, 1, length),
        plane.narrow(dim, 2, length),
    )
