"""From a training state to a release that says how it came to be."""

import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from vgen import storage
from vgen.models.ladder import Vae
from vgen.models.release import save_release
from vgen.models.unet_settings import unet_spec
from vgen.models.vae_settings import vae_spec
from vgen.training.settings import TrainSettings, release_uri
from vgen.training.state import TrainState


def export(
    state: TrainState, settings: TrainSettings, licences: Sequence[str], run_uri: str
) -> str:
    """Publish the averaged weights as a release; the same state gives the same bytes.

    Returns:
        The release's URI.

    Raises:
        ReleaseError: the weights are not finite.
        StorageError: it cannot be written.
    """
    uri = release_uri(run_uri, settings, is_perceptual=state.stage == "adversarial")
    network = state.average
    spec = vae_spec(network.settings) if isinstance(network, Vae) else unet_spec(network.settings)
    with tempfile.TemporaryDirectory(prefix="vgen-release-") as folder:
        path = Path(folder) / "release.safetensors"
        save_release(
            path,
            name=storage.name_of(uri).removesuffix(".safetensors"),
            network=network,
            spec=spec,
            settings=network.settings.to_mapping(),
            provenance={
                # A path would tell strangers of this machine.
                "recipe": settings.model_dump(mode="json")
                | {"start_from": storage.name_of(settings.start_from)},
                "stage": state.stage,
                "steps": state.step,
                "seconds": round(state.elapsed_s),
                "skipped_steps": int(state.monitors["skipped"].item()),
                "licences": list(licences),
                "machine": platform.machine(),
                "torch": torch.__version__,
                "vgen": version("vgen"),
            },
        )
        storage.publish(path, uri)
    return uri
