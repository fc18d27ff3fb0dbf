import pytest
import torch

from tests.vgen.training.toys import settings
from vgen.errors import ReleaseError
from vgen.models.ladder import new_vae
from vgen.models.release import bundled_releases, load_network, save_release
from vgen.models.vae import VAE_SIZES, VideoVae, vae_spec
from vgen.training.choices import PoolSettings
from vgen.training.distributed import Group
from vgen.training.initial import check_start, initial_network
from vgen.training.schedule import stage_at


def made(chosen):
    torch.manual_seed(5)
    return initial_network(chosen, Group(), is_single_frame=False)


def test_training_starts_from_the_very_function_a_release_computes():
    network = made(settings(start_from="restore-tiny")).eval()
    _, released = load_network(bundled_releases()["restore-tiny"])
    window = torch.rand(1, 3, 3, 32, 40, generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        assert torch.allclose(network(window), released(window), atol=1e-5)
        changed = (network(window) - window[:, 1]).abs().max()
    assert changed > 0.01
    assert not network.is_folded
    assert all(value.requires_grad for value in network.parameters())


def test_training_of_a_larger_size_starts_from_what_a_smaller_release_computes():
    network = made(settings(start_from="restore-tiny", size="small")).eval()
    check_start(settings(start_from="restore-tiny", size="small"))
    _, released = load_network(bundled_releases()["restore-tiny"])
    window = torch.rand(1, 3, 3, 32, 40, generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        assert torch.allclose(network(window), released(window), atol=1e-5)
    assert network.settings.channels > released.settings.channels


def test_every_branch_of_what_was_unfolded_learns():
    network = made(settings(start_from="restore-tiny"))
    network(torch.rand(1, 3, 3, 32, 32)).square().mean().backward()
    names = [name for name, value in network.named_parameters() if not value.grad.abs().sum()]
    assert names == []


def save(path, autoencoder):
    save_release(
        path,
        name=path.stem,
        network=autoencoder,
        spec=vae_spec(autoencoder.settings),
        settings=autoencoder.settings.to_mapping(),
        provenance={},
    )


def test_an_autoencoder_goes_on_from_its_weights(tmp_path):
    torch.manual_seed(7)
    vae = VAE_SIZES["vae-tiny"]
    path = tmp_path / "vae.safetensors"
    network = VideoVae(vae)
    save(path, network)
    found = made(settings(size="vae-tiny", start_from=str(path))).state_dict()
    assert all(torch.equal(found[key], value) for key, value in network.state_dict().items())


def test_what_makes_clips_up_goes_on_with_finer_latents(tmp_path):
    torch.manual_seed(8)
    lower = VAE_SIZES["generate-tiny"]
    path, network = tmp_path / "g.safetensors", new_vae(lower)
    save(path, network)
    chosen = settings(
        size="generate-small", start_from=str(path), patch_px=32, pool=PoolSettings(side_px=32)
    )
    check_start(chosen)
    found = made(chosen).state_dict()
    assert all(torch.equal(found[key], value) for key, value in network.state_dict().items())
    assert len(found) > len(network.state_dict())


def test_single_frames_are_not_learned_again():
    assert stage_at(settings(), 0) == "single"
    assert stage_at(settings(start_from="restore-tiny"), 0) == "window"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"start_from": "gone"}, "no release 'gone' to start from"),
        ({"start_from": "upscale2x-tiny", "size": "small"}, "size 'small' at scale 1 needs"),
        (
            {"start_from": "restore-tiny", "scale": 2, "pool": PoolSettings(side_px=32, scale=2)},
            "size 'tiny' at scale 2 needs",
        ),
        ({"start_from": "restore-tiny", "size": "vae-tiny"}, "cannot be started from"),
    ],
)
def test_what_does_not_fit_is_refused(changes, says):
    with pytest.raises(ReleaseError, match=says):
        check_start(settings(**changes))
    with pytest.raises(ReleaseError, match=says):
        made(settings(**changes))
