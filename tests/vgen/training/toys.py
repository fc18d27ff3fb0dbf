"""The smallest material, recipe and networks that everything in training works with."""

import cv2
import numpy as np
import torch

from vgen.models.generator import TemporalUNet
from vgen.models.unet_settings import UNetSettings
from vgen.training.choices import PoolSettings
from vgen.training.clips import Material
from vgen.training.distributed import Group
from vgen.training.settings import AdversarialSettings, TrainSettings
from vgen.training.step import Step

UNET = UNetSettings(window=3, channels=4, encoder=(1, 1, 1), decoder=(1, 1))
POOL = PoolSettings(size=8, frames=5, side_px=32)


def material(stills=6):
    """Smooth colourful stills, as no noise could be told from noise on noise."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (stills, 8, 10, 3)).astype(np.uint8)
    made = tuple(cv2.resize(one, (80, 64), interpolation=cv2.INTER_CUBIC) for one in small)
    return Material(made, (), ("CC0",))


def settings(**changes):
    """Return a recipe of eight steps; ``changes`` replace fields."""
    chosen = {
        "name": "trial",
        "steps": 8,
        "batch": 2,
        "patch_px": 16,
        "warmup_steps": 2,
        "validation_clips": 2,
        "single_frame_share": 0.5,
        "pool": POOL,
    }
    return TrainSettings(**(chosen | changes))


def adversarial(**changes):
    chosen = {"share": 0.5, "channels": 4, "warmup_steps": 0}
    return AdversarialSettings(**(chosen | changes))


def unet():
    torch.manual_seed(0)
    network = TemporalUNet(UNET)
    with torch.no_grad():  # its zero start would hide most gradients
        for value in network.parameters():
            value.add_(0.02 * torch.randn_like(value))
    return network


def step_of(chosen, *, learning_rate=1e-3, group=None, lanes=None):
    return Step(
        settings=chosen,
        group=group or Group(),
        lanes=lanes if lanes is not None else range(chosen.batch),
        learning_rate=learning_rate,
    )


def pairs(count, frames, *, outputs=1, seed=0, side=16):
    """Return noisy and clean frames, ``[count, frames, 3, side, side]`` and the middle ones."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(count, 1, 3, 1, 1, generator=generator).expand(count, frames, 3, side, side)
    noise = torch.randn(count, frames, 3, side, side, generator=generator) * 0.1
    start = (frames - outputs) // 2
    return clean + noise, clean[:, start : start + outputs].contiguous()


def weights_of(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def is_same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
