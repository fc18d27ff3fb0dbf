import math

import pytest
import torch

from tests.vgen.training.toys import (
    is_same,
    pairs,
    settings,
    step_of,
    unet,
    weights_of,
)
from vgen.models.ladder import new_vae
from vgen.models.vae import VideoVae
from vgen.models.vae_settings import VaeSettings
from vgen.training.choices import LossWeights
from vgen.training.settings import StructureWeights
from vgen.training.state import TrainState
from vgen.training.step import (
    MAX_GRADIENT_NORM,
    autocast,
    latent_noise,
    pixel_step,
    psnr_db,
    restored,
    vae_step,
)

SETTINGS = settings(batch=4)


@pytest.fixture
def state():
    return TrainState.fresh(unet(), "window")


def take(state, seed=0, **options):
    made = pixel_step(state, *pairs(4, 3, seed=seed), step_of(SETTINGS, **options))
    state.step += 1
    return made


def test_steps_lower_the_loss(state):
    losses = [take(state, seed, learning_rate=5e-3)["pixel"].item() for seed in range(150)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert state.monitors["skipped"] == 0


def test_the_average_follows_the_network_slowly(state):
    start = weights_of(state.network)["tail.weight"]
    for seed in range(30):
        take(state, seed)
    moved = (state.network.tail.weight - start).norm()
    behind = (state.network.tail.weight - state.average.tail.weight).norm()
    assert 0 < behind < moved


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_no_weight_and_is_counted(state, poison):
    take(state)
    before = weights_of(state.network)
    moments = state.optimizer.state_dict()["state"][0]["exp_avg"].clone()
    degraded, clean = pairs(4, 3)
    degraded[0, 0, 0, 0, 0] = poison
    pixel_step(state, degraded, clean, step_of(SETTINGS))
    assert is_same(weights_of(state.network), before)
    assert torch.equal(state.optimizer.state_dict()["state"][0]["exp_avg"], moments)
    assert state.monitors["skipped"] == 1
    take(state)
    assert not is_same(weights_of(state.network), before)
    assert state.monitors["skipped"] == 1


def test_gradients_are_clipped(state):
    huge = settings(batch=4, loss=LossWeights(pixel=1e6))
    losses = pixel_step(state, *pairs(4, 3), step_of(huge, learning_rate=0))
    clipped = torch.stack([p.grad.norm() for p in state.network.parameters()]).norm()
    assert losses["norm"] > MAX_GRADIENT_NORM
    assert clipped.item() == pytest.approx(MAX_GRADIENT_NORM, rel=1e-3)


def test_several_outputs_are_those_of_one_window_after_another():
    network = unet()
    degraded, _ = pairs(2, 5)
    together = restored(network, degraded, outputs=3)
    apart = torch.stack([network(degraded[:, k : k + 3]) for k in range(3)], 1)
    torch.testing.assert_close(together, apart)


def test_a_clip_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="3 outputs of a window of 3 need other than 4 frames"):
        restored(unet(), pairs(1, 4)[0], outputs=3)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_a_network_on_a_cpu_computes_in_the_precision_of_the_recipe(state, precision, dtype):
    seen = []
    hook = state.network.tail.register_forward_hook(lambda _, __, made: seen.append(made.dtype))
    losses = pixel_step(state, *pairs(4, 3), step_of(settings(batch=4, precision=precision)))
    hook.remove()
    assert seen == [dtype]
    assert losses["pixel"].dtype == torch.float32
    assert {value.dtype for value in state.network.parameters()} == {torch.float32}


def test_frames_made_up_in_bfloat16_keep_their_levels():
    torch.manual_seed(0)
    chosen = VaeSettings(widths=(4,), latents=2, temporal_stride=2, is_conditional=False)
    network = new_vae(chosen)
    with torch.no_grad(), autocast(torch.device("cpu"), settings(precision="bfloat16")):
        frames = network(torch.rand(1, 4, 3, 32, 32), None, None).frames_ntchw
    assert frames.dtype == torch.float32
    bright = frames[(frames >= 0.5) & (frames < 1)]
    assert bright.mul(256).frac().any()  # a sum in bfloat16 leaves multiples of 1 / 256


def test_structure_terms_count_with_their_weights(state):
    chosen = settings(
        batch=4, structure=StructureWeights(fft=0.5, sobel=0.25, temporal=2.0, low_pass=4.0)
    )
    degraded, clean = pairs(4, 5, outputs=3)
    losses = pixel_step(state, degraded, clean, step_of(chosen, learning_rate=0))
    weights = {"pixel": 1, "luma": 1, "relative": 0.1, "fft": 0.5, "sobel": 0.25, "temporal": 2.0}
    expected = sum(weight * losses[name] for name, weight in weights.items())
    assert losses["total"].item() == pytest.approx(
        (expected + 4.0 * losses["low_pass"]).item(), rel=1e-5
    )


def test_psnr_is_that_of_its_definition():
    clean = torch.full((2, 3, 4, 4), 0.5)
    made = clean + torch.tensor([0.1, 0.01])[:, None, None, None]
    expected = (-20 * math.log10(0.1) - 20 * math.log10(0.01)) / 2
    assert psnr_db(made, clean).item() == pytest.approx(expected, abs=1e-3)


def test_a_vae_learns_and_reports_its_bound():
    torch.manual_seed(0)
    vae = VideoVae(VaeSettings(widths=(8,), blocks=1, latents=2))
    state = TrainState.fresh(vae, "vae")
    chosen = settings(size="vae-tiny", batch=2)
    bits = []
    for seed in range(40):
        degraded, clean = pairs(2, 3, outputs=3, seed=seed)
        losses = vae_step(state, degraded, clean, step_of(chosen, learning_rate=5e-3))
        state.step += 1
        bits.append(losses["bits"].item())
        nats = losses["reconstruction"] + losses["kl"]
        assert bits[-1] == pytest.approx((nats / (3 * math.log(2))).item(), rel=1e-5)
    assert sum(bits[-5:]) < sum(bits[:5]) - 1


def test_latent_noise_is_each_lanes_own_and_repeatable():
    shapes = [(2, 2, 3), (2, 4, 3)]
    both = latent_noise(shapes, 7, 5, range(2))
    assert [level.shape for level in both] == shapes
    second = latent_noise(shapes, 7, 5, range(1, 2))
    assert all(torch.equal(one, two[1:]) for one, two in zip(second, both, strict=True))
    for other in (latent_noise(shapes, 8, 5, range(2)), latent_noise(shapes, 7, 6, range(2))):
        assert not any(torch.isclose(*pair).any() for pair in zip(other, both, strict=True))
    assert not torch.isclose(both[0][0], both[0][1]).any()
    (many,) = latent_noise([(1, 100_000)], 0, 0, range(1))
    assert many.mean().item() == pytest.approx(0, abs=0.02)
    assert many.std().item() == pytest.approx(1, abs=0.02)
