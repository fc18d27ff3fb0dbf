from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from vgen.errors import ReleaseError
from vgen.models.generator import TemporalUNet, enlarge, restore_run, trainable, widen_window
from vgen.models.unet_settings import SIZES, UNetSettings, receptive_radius, unet_spec

SCALES = [1, 2, 4]


def randomised(network, seed=0, std=0.05):
    """Every weight random: a fresh network adds exactly nothing and would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return network.eval()


def small(scale=1, window=3, surroundings=0):
    return UNetSettings(
        window=window,
        channels=4,
        encoder=(1, 1, 1),
        decoder=(1, 1),
        scale=scale,
        surroundings=surroundings,
    )


def test_the_sizes_have_their_stated_parameters():
    counts = {name: trainable(TemporalUNet(s, is_folded=True)) for name, s in SIZES.items()}
    assert counts["tiny"] == 159_199
    assert counts["small"] == pytest.approx(448_000, rel=0.01)
    assert counts["base"] == pytest.approx(2_611_000, rel=0.01)
    assert counts["large"] == pytest.approx(8_029_000, rel=0.01)


@pytest.mark.parametrize("scale", SCALES)
def test_a_fresh_network_returns_its_base(scale):
    window_ntchw = torch.rand(2, 3, 3, 16, 24)
    restored = TemporalUNet(small(scale))(window_ntchw)
    assert restored.shape == (2, 3, 16 * scale, 24 * scale)
    assert torch.equal(restored, enlarge(window_ntchw[:, 1], scale))


def test_the_base_of_an_enlargement_is_torch_bicubic():
    frames_nchw = torch.rand(1, 3, 8, 8)
    expected = functional.interpolate(frames_nchw, size=(32, 32), mode="bicubic")
    torch.testing.assert_close(enlarge(frames_nchw, 4), expected)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("window", [1, 3, 5])
def test_folding_keeps_the_function(scale, window):
    network = randomised(TemporalUNet(small(scale, window)))
    window_ntchw = torch.rand(2, window, 3, 16, 24)
    torch.testing.assert_close(
        network.folded()(window_ntchw), network(window_ntchw), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("scale", SCALES)
def test_every_size_folds_at_every_scale(name, scale):
    settings = replace(SIZES[name], scale=scale)
    network = randomised(TemporalUNet(settings), std=0.02)
    window_ntchw = torch.rand(1, settings.window, 3, 8, 16)
    restored = network(window_ntchw)
    assert restored.shape == (1, 3, 8 * scale, 16 * scale)
    assert (restored - enlarge(window_ntchw[:, settings.window // 2], scale)).abs().max() > 1e-3
    torch.testing.assert_close(network.folded()(window_ntchw), restored, rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("window", "frames"), [(3, 5), (5, 7), (5, 5), (1, 3)])
def test_a_run_is_restored_as_each_of_its_windows(scale, window, frames):
    network = randomised(TemporalUNet(small(scale, window)))
    frames_ntchw = torch.rand(2, frames, 3, 16, 8)
    restored = restore_run(network, frames_ntchw, window=window)
    assert restored.shape == (2, frames - window + 1, 3, 16 * scale, 8 * scale)
    for start in range(frames - window + 1):
        alone = network(frames_ntchw[:, start : start + window])
        torch.testing.assert_close(restored[:, start], alone, rtol=0, atol=1e-5)


def test_every_frame_of_a_run_teaches_the_network():
    network = randomised(TemporalUNet(small()))
    frames_ntchw = torch.rand(1, 5, 3, 16, 16, requires_grad=True)
    restore_run(network, frames_ntchw, window=3).square().sum().backward()
    assert all(frame.abs().sum() > 0 for frame in frames_ntchw.grad[0])
    assert network.fusion.weight.grad.abs().sum() > 0


def test_a_folded_network_folds_into_itself():
    folded = randomised(TemporalUNet(small())).folded()
    again = folded.folded()
    assert all(
        torch.equal(a, b) for a, b in zip(folded.parameters(), again.parameters(), strict=True)
    )


@pytest.mark.parametrize("scale", SCALES)
def test_sliding_over_cached_features_equals_each_window_alone(scale):
    network = randomised(TemporalUNet(small(scale)).folded())
    frames_tchw = torch.rand(6, 3, 16, 16)
    features = torch.cat([network.embed(frame[None]) for frame in frames_tchw])
    for centre in range(1, 5):
        residual = network.residual(features[None, centre - 1 : centre + 2])
        slid = enlarge(frames_tchw[centre, None], scale) + residual
        alone = network(frames_tchw[None, centre - 1 : centre + 2])
        torch.testing.assert_close(slid, alone, rtol=0, atol=1e-5)


def test_batch_elements_do_not_influence_each_other():
    network = randomised(TemporalUNet(small()))
    window_ntchw = torch.rand(3, 3, 3, 16, 16)
    together = network(window_ntchw)
    alone = torch.cat([network(window[None]) for window in window_ntchw])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_channels_last_gives_the_same_picture():
    network = randomised(TemporalUNet(small()))
    frames_nchw = torch.rand(3, 3, 16, 16)
    expected = network.residual(network.embed(frames_nchw)[None])
    network = network.to(memory_format=torch.channels_last)
    features = network.embed(frames_nchw.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(network.residual(features[None]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [small(1), small(2), small(4), small(1, 5), small(1, 3, 11), small(2, 3, 11), SIZES["tiny"]],
)
def test_no_pixel_beyond_the_stated_radius_matters(settings):
    radius, multiple = receptive_radius(settings), unet_spec(settings).multiple_of
    side = 2 * (radius // multiple + 3) * multiple
    network = randomised(TemporalUNet(settings).double(), std=0.2)
    shape = (1, settings.window, 3, 8 * multiple, side)
    reached = 0
    for offset in range(multiple):
        window = torch.rand(shape, dtype=torch.double, requires_grad=True)
        centre = side // 2 + offset
        network(window)[..., centre * settings.scale].sum().backward()
        touched = window.grad.abs().sum((0, 1, 2, 3)).nonzero().flatten()
        reached = max(reached, centre - touched.min().item(), touched.max().item() - centre)
    assert reached <= radius
    assert reached >= radius - multiple  # and the bound is not idle


def test_a_widened_network_starts_equal_to_its_single_frame_origin():
    single = randomised(TemporalUNet(small(window=1)))
    frames_ntchw = torch.rand(2, 3, 3, 16, 16)
    wide = widen_window(single, 3)
    torch.testing.assert_close(wide(frames_ntchw), single(frames_ntchw[:, 1:2]), rtol=0, atol=1e-6)


def test_every_weight_learns_once_the_tail_is_not_zero():
    network = TemporalUNet(small(surroundings=3))
    for zeroed in (network.tail, network.fusion, network.judge.gain):
        nn.init.normal_(zeroed.weight, std=0.1)
    network(torch.rand(1, 3, 3, 16, 16)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad.abs().sum() == 0]
    assert silent == []


def test_a_window_of_the_wrong_length_is_refused():
    network = TemporalUNet(small())
    with pytest.raises(ValueError, match="expected 3 frames, got 2"):
        network.residual(network.embed(torch.rand(2, 3, 16, 16))[None])


def test_settings_survive_a_header():
    for settings in (*SIZES.values(), small()):
        assert UNetSettings.from_mapping(settings.to_mapping()) == settings
    assert "surroundings" not in small().to_mapping()  # as headers were before there were any


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 2}, "window 2 must be odd"),
        ({"channels": 0}, "channels 0 must be 1 to 256"),
        ({"channels": 10**9}, "channels 1000000000 must be"),
        ({"channels": True}, "channels is True, not an integer"),
        ({"encoder": [1, 1]}, "encoder is .* not 3 counts"),
        ({"encoder": [1, 1, "2"]}, "encoder is '2', not an integer"),
        ({"decoder": [1, 99]}, "blocks per level must be 0 to 64"),
        ({"scale": 3}, "scale 3 is not one of"),
        ({"extra": 1}, "'extra' is missing or unknown"),
        ({"surroundings": 4}, "surroundings 4 must be 0, or odd"),
        ({"surroundings": -1}, "surroundings -1 must be 0"),
        ({"surroundings": 257}, "surroundings 257 must be"),
        ({"surroundings": True}, "surroundings is True, not an integer"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ReleaseError, match=message):
        UNetSettings.from_mapping(SIZES["tiny"].to_mapping() | change)
