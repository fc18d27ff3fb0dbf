"""From a release's header to a network: the one place that knows all architectures."""

from collections.abc import Mapping

import torch
from torch import nn

from vgen.errors import ReleaseError
from vgen.models.generator import TemporalUNet
from vgen.models.ladder import new_vae
from vgen.models.spec import CONDITIONAL_VAE, TEMPORAL_UNET, UNCONDITIONAL_VAE, ModelSpec
from vgen.models.unet_settings import UNetSettings, unet_spec
from vgen.models.vae_settings import VaeSettings, vae_spec


def build_network(
    architecture: str, settings: Mapping[str, object], *, device: torch.device
) -> tuple[nn.Module, ModelSpec]:
    """Return the network in its inference form, weights unset, and the spec its settings call for.

    Raises:
        ReleaseError: there is no such network, or the settings are not its own.
    """
    if architecture == TEMPORAL_UNET:
        unet_settings = UNetSettings.from_mapping(settings)
        with device:
            return TemporalUNet(unet_settings, is_folded=True), unet_spec(unet_settings)
    if architecture in {CONDITIONAL_VAE, UNCONDITIONAL_VAE}:
        vae_settings = VaeSettings.from_mapping(settings)
        with device:
            return new_vae(vae_settings), vae_spec(vae_settings)
    raise ReleaseError(f"architecture {architecture!r} has no network to load")
