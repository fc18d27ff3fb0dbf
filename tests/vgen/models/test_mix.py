import pytest
import safetensors
import torch

from vgen.errors import ReleaseError
from vgen.models.generator import TemporalUNet
from vgen.models.mix import mix_releases
from vgen.models.release import load_network, release_digest, save_release
from vgen.models.unet_settings import UNetSettings, unet_spec

SETTINGS = UNetSettings(window=1, channels=4, encoder=(0, 0, 0), decoder=(0, 0))


def make(path, seed, settings=SETTINGS, is_half=False):
    network = TemporalUNet(settings, is_folded=True)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    save_release(
        path,
        name=path.stem,
        network=network,
        spec=unet_spec(settings),
        settings=settings.to_mapping(),
        provenance={"seed": seed},
        is_half=is_half,
    )
    return path


@pytest.fixture
def pair(tmp_path):
    return make(tmp_path / "faithful.safetensors", 1), make(tmp_path / "vivid.safetensors", 2)


def weights(path):
    return load_network(path)[1].state_dict()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_weight_lies_between_the_two(pair, tmp_path, share):
    made = tmp_path / "between.safetensors"
    mix_releases(*pair, share=share, path=made, name="between")
    first, second, mixed = map(weights, (*pair, made))
    for key, value in mixed.items():
        expected = (1 - share) * first[key].double() + share * second[key].double()
        assert torch.allclose(value.double(), expected, atol=1e-6), key
    assert any((first[key] != second[key]).any() for key in first)


def test_a_mix_says_what_it_is_made_of(pair, tmp_path):
    made = tmp_path / "between.safetensors"
    mix_releases(*pair, share=0.25, path=made, name="between")
    header, _ = load_network(made)
    assert header.name == "between"
    parts = header.provenance["mix"]
    assert [(one["release"], one["share"]) for one in parts] == [
        ("faithful", 0.75),
        ("vivid", 0.25),
    ]
    assert [one["sha256"] for one in parts] == [release_digest(path) for path in pair]
    assert parts[1]["provenance"] == {"seed": 2}


@pytest.mark.parametrize(("halves", "dtype"), [((True, True), "F16"), ((True, False), "F32")])
def test_a_mix_is_stored_at_half_size_where_both_are(tmp_path, halves, dtype):
    pair = [
        make(tmp_path / f"{number}.safetensors", number, is_half=is_half)
        for number, is_half in enumerate(halves)
    ]
    made = tmp_path / "between.safetensors"
    mix_releases(*pair, share=0.5, path=made, name="between")
    with safetensors.safe_open(made, framework="pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {dtype}  # noqa: SIM118


def test_releases_that_do_not_fit_are_not_mixed(pair, tmp_path):
    wider = UNetSettings(window=1, channels=8, encoder=(0, 0, 0), decoder=(0, 0))
    longer = UNetSettings(window=3, channels=4, encoder=(0, 0, 0), decoder=(0, 0))
    made = tmp_path / "between.safetensors"
    for settings, says in ((wider, "their settings differ"), (longer, "their spec differ")):
        other = make(tmp_path / "other.safetensors", 3, settings)
        with pytest.raises(ReleaseError, match=f"'faithful' and 'other' cannot be mixed: {says}"):
            mix_releases(pair[0], other, share=0.5, path=made, name="between")
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ReleaseError, match="the share of a mix must be 0 to 1"):
            mix_releases(*pair, share=share, path=made, name="between")
    assert not made.exists()
