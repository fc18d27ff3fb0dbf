"""The network a run begins with: random weights, or those of a release.

A release holds folded convolutions; here they are unfolded again, to branches that add up to
them, so that training goes on from the very function the release computes. A release of a smaller
network, or one with latents at fewer levels, is grown first, which does not change that function.
"""

import tempfile
from pathlib import Path

from vgen import storage
from vgen.errors import ReleaseError
from vgen.models.generator import TemporalUNet, unfolded
from vgen.models.grow import fits_into, grown
from vgen.models.ladder import LadderVae, Vae, climbed, climbs_to
from vgen.models.registry import MAX_RELEASE_BYTES
from vgen.models.release import ReleaseHeader, bundled_releases, load_network, read_header
from vgen.models.spec import TEMPORAL_UNET, UNCONDITIONAL_VAE
from vgen.models.unet_settings import UNetSettings
from vgen.models.vae_settings import VaeSettings
from vgen.training.checkpoints import new_network
from vgen.training.distributed import Group
from vgen.training.settings import TrainSettings
from vgen.training.state import Network


def initial_network(settings: TrainSettings, group: Group, *, is_single_frame: bool) -> Network:
    """Build what training starts from; random weights follow torch's seed.

    Args:
        settings: The recipe.
        group: Its first process reads the release and tells the others.
        is_single_frame: Whether single frames are learned first.

    Raises:
        ReleaseError: the release cannot be read, is larger anywhere, or of another scale.
    """
    network = new_network(settings, window=1 if is_single_frame else None)
    if not settings.start_from:
        return network
    content = group.by_first(lambda: _content(settings.start_from))
    with tempfile.TemporaryDirectory(prefix="vgen-start-") as folder:
        path = Path(folder) / "release.safetensors"
        path.write_bytes(content)
        header, released = load_network(path)
    _check_fits(settings, header, network)
    if isinstance(network, LadderVae):
        assert isinstance(released, LadderVae)
        return climbed(released, network)
    if isinstance(network, Vae):
        network.load_state_dict(released.state_dict())
        return network
    assert isinstance(released, TemporalUNet)
    return unfolded(grown(released, network.folded()), network)


def check_start(settings: TrainSettings) -> None:
    """Refuse a release that training cannot start from, before anything is started.

    Raises:
        ReleaseError: it cannot be read, is larger anywhere, or of another scale.
    """
    if not settings.start_from:
        return
    with tempfile.TemporaryDirectory(prefix="vgen-start-") as folder:
        path = Path(folder) / "release.safetensors"
        path.write_bytes(_content(settings.start_from))
        _check_fits(settings, read_header(path), new_network(settings))


def _content(asked: str) -> bytes:
    bundled = bundled_releases()
    uri = str(bundled[asked]) if asked in bundled else storage.normalize_uri(asked)
    if not storage.exists(uri):
        raise ReleaseError(
            f"no release {asked!r} to start from; name a file, or one of {', '.join(bundled)}"
        )
    if storage.stat(uri).size_bytes > MAX_RELEASE_BYTES:
        raise ReleaseError(f"{asked!r} is larger than a release may be")
    return storage.read_bytes(uri)


def _check_fits(settings: TrainSettings, header: ReleaseHeader, network: Network) -> None:
    needed = network.settings.to_mapping()
    fits = header.settings == needed
    if isinstance(network, TemporalUNet) and header.spec.architecture == TEMPORAL_UNET:
        fits = fits_into(UNetSettings.from_mapping(header.settings), network.settings)
    if isinstance(network, LadderVae) and header.spec.architecture == UNCONDITIONAL_VAE:
        fits = climbs_to(VaeSettings.from_mapping(header.settings), network.settings)
    if not fits:
        raise ReleaseError(
            f"release {settings.start_from!r} cannot be started from: it has {header.settings}, "
            f"and size {settings.size!r} at scale {settings.scale} needs {needed}, or less of each"
        )
