"""Clips that an unconditional autoencoder makes up: its decoder applied to draws from its prior.

Axes: n batch, t time, c channel (RGB), h height, w width.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vgen.models.causal import Cache
from vgen.models.vae import VideoVae

CHUNK_LATENTS = 4
"""Latent frames that are decoded together, whatever the length of the clip."""


@torch.inference_mode()
def sample_clip(
    network: VideoVae, *, frames: int, height: int, width: int, seed: int, index: int
) -> Iterator[Tensor]:
    """Yield the frames of one clip in pieces ``[t, 3, H, W]``, float32, not clipped.

    The same arguments give the same clip; every ``index`` is a draw of its own. The network's
    multiples are met by making more and cutting off what is over, at the right, the bottom and
    the end. Noise of the whole clip and one piece of frames are held.

    Args:
        network: Unconditional, on any device.
        frames: Length of the clip.
        height: Of a frame, in pixels.
        width: Of a frame, in pixels.
        seed: Names a set of clips.
        index: Number of the clip in it.
    """
    stride, side = network.settings.temporal_stride, network.settings.latent_side
    shape = (1, _up(frames, stride), 3, _up(height, side), _up(width, side))
    prior = network.prior(None, shape)
    # On the CPU, so that every device gets the same draws.
    (number,) = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(number))
    noise = torch.randn(prior.mean.shape, generator=generator).to(prior.mean)
    cache: Cache = {}
    left = frames
    z_ntchw = prior.sample(noise)
    for start in range(0, z_ntchw.shape[1], CHUNK_LATENTS):
        piece_ntchw = z_ntchw[:, start : start + CHUNK_LATENTS]
        made_tchw = network.decode(piece_ntchw, None, cache)[0, :left, :, :height, :width]
        left -= len(made_tchw)
        yield made_tchw.float()


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
