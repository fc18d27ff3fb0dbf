"""Tiny releases and clean material for tests of the commands about releases."""

import cv2
import numpy as np
import torch

from vgen.models.generator import TemporalUNet
from vgen.models.ladder import new_vae
from vgen.models.release import bundled_releases, load_network, save_release
from vgen.models.unet_settings import UNetSettings, unet_spec
from vgen.models.vae import VaeSettings, vae_spec

SETTINGS = UNetSettings(window=1, channels=4, encoder=(0, 0, 0), decoder=(0, 0))
DREAM = VaeSettings(
    widths=(8, 8), blocks=1, latents=4, latent_levels=2, temporal_stride=2, is_conditional=False
)


def make_toy(path, name="toy", noise=0.0):
    """A release that restores nothing: a fresh network adds zero, or ``noise`` if that is more."""
    torch.manual_seed(1)
    network = TemporalUNet(SETTINGS, is_folded=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape) * noise)
    save_release(
        path,
        name=name,
        network=network,
        spec=unet_spec(SETTINGS),
        settings=SETTINGS.to_mapping(),
        provenance={"noise": noise},
    )
    return path


def make_good(path, name="toy", changed=0.0):
    """The weights of restore-tiny under another name; ``changed`` makes them another file."""
    header, network = load_network(bundled_releases()["restore-tiny"])
    with torch.no_grad():
        next(iter(network.parameters())).add_(changed)
    save_release(
        path,
        name=name,
        network=network,
        spec=header.spec,
        settings=header.settings,
        provenance={"changed": changed},
    )
    return path


def make_dream(path, name="dream"):
    torch.manual_seed(2)
    save_release(
        path,
        name=name,
        network=new_vae(DREAM),
        spec=vae_spec(DREAM),
        settings=DREAM.to_mapping(),
        provenance={},
    )
    return path


def make_stills(folder):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        small = rng.integers(40, 220, (8, 10, 3)).astype(np.uint8)
        smooth = cv2.resize(small, (80, 64), interpolation=cv2.INTER_CUBIC).astype(float)
        grainy = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.png"), grainy)
    return folder
