"""Clips that an autoencoder makes up: group after group of frames drawn from its prior.

Axes: n batch, t time, c channel (RGB), h height, w width.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vgen.models.causal import Cache
from vgen.models.ladder import LadderVae


@torch.inference_mode()
def sample_clip(
    network: LadderVae, *, frames: int, height: int, width: int, seed: int, index: int
) -> Iterator[Tensor]:
    """Yield the frames of one clip in pieces ``[t, 3, H, W]``, float32, not clipped.

    The same arguments give the same clip; every ``index`` is a draw of its own. The network's
    multiples are met by making more and cutting off what is over, at the right, the bottom and
    the end. One group of frames is held.

    Args:
        network: On any device.
        frames: Length of the clip.
        height: Of a frame, in pixels.
        width: Of a frame, in pixels.
        seed: Names a set of clips.
        index: Number of the clip in it.
    """
    stride, side = network.settings.temporal_stride, network.settings.latent_side
    shapes = network.latent_shapes((1, _up(frames, stride), 3, _up(height, side), _up(width, side)))
    # On the CPU, so that every device gets the same draws.
    (number,) = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(number))
    device = network.log_scale.device
    cache: Cache = {}
    for start in range(0, frames, stride):
        noise = [
            torch.randn((1, 1, *shape[2:]), generator=generator).to(device) for shape in shapes
        ]
        made_ntchw, _ = network.sample(noise, cache)
        yield made_ntchw[0, : frames - start, :, :height, :width].float()


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
