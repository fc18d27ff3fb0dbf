import pytest
import torch

from vgen.errors import ReleaseError
from vgen.models.generator import TemporalUNet, UNetSettings
from vgen.training.objective import LossWeights
from vgen.training.pool import Batch
from vgen.training.state import TrainState
from vgen.training.step import MAX_GRADIENT_NORM, train_step

SETTINGS = UNetSettings(window=1, channels=4, encoder=(1, 1, 1), decoder=(1, 1))


@pytest.fixture
def state():
    torch.manual_seed(0)
    return TrainState.fresh(TemporalUNet(SETTINGS))


def noisy_batch(seed=0, window=1):
    generator = torch.Generator().manual_seed(seed)
    clean_nchw = torch.rand(4, 3, 1, 1, generator=generator).expand(4, 3, 16, 16)
    noise = torch.randn(4, window, 3, 16, 16, generator=generator) * 0.1
    return Batch(clean_nchw[:, None] + noise, clean_nchw.contiguous())


def weights_of(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def is_same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_steps_lower_the_loss(state):
    losses = [
        train_step(state, noisy_batch(step), LossWeights(), learning_rate=5e-3)["pixel"].item()
        for step in range(150)
    ]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert state.step == 150
    assert state.skipped == 0


def test_the_average_follows_the_network_slowly(state):
    start = weights_of(state.network)["tail.weight"]
    for step in range(30):
        train_step(state, noisy_batch(step), LossWeights(), learning_rate=2e-3)
    moved = (state.network.tail.weight - start).norm()
    behind = (state.network.tail.weight - state.average.tail.weight).norm()
    assert 0 < behind < moved


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_no_weight_and_is_counted(state, poison):
    train_step(state, noisy_batch(), LossWeights(), learning_rate=1e-3)
    before = weights_of(state.network)
    moments = state.optimizer.state_dict()["state"][0]["exp_avg"].clone()
    broken = noisy_batch()
    broken.degraded_ntchw[0, 0, 0, 0, 0] = poison
    train_step(state, broken, LossWeights(), learning_rate=1e-3)
    assert is_same(weights_of(state.network), before)
    assert torch.equal(state.optimizer.state_dict()["state"][0]["exp_avg"], moments)
    assert state.skipped == 1
    train_step(state, noisy_batch(), LossWeights(), learning_rate=1e-3)
    assert not is_same(weights_of(state.network), before)
    assert state.skipped == 1


def test_gradients_are_clipped(state):
    huge = LossWeights(pixel=1e6)
    losses = train_step(state, noisy_batch(), huge, learning_rate=0)
    clipped = torch.stack([p.grad.norm() for p in state.network.parameters()]).norm()
    assert losses["norm"] > MAX_GRADIENT_NORM
    assert clipped.item() == pytest.approx(MAX_GRADIENT_NORM, rel=1e-3)


def test_a_widened_state_restores_as_before(state):
    for step in range(5):
        train_step(state, noisy_batch(step), LossWeights(), learning_rate=2e-3)
    wide = state.widened(3)
    window_ntchw = torch.rand(2, 3, 3, 16, 16)
    for old, new in ((state.network, wide.network), (state.average, wide.average)):
        torch.testing.assert_close(new(window_ntchw), old(window_ntchw[:, 1:2]))
    assert wide.step == state.step
    train_step(wide, noisy_batch(window=3), LossWeights(), learning_rate=2e-3)
    assert wide.network.fusion.weight.abs().sum() > 0


def test_a_checkpoint_goes_on_as_if_it_had_never_stopped(state, tmp_path):
    for step in range(3):
        train_step(state, noisy_batch(step), LossWeights(), learning_rate=1e-3)
    state.elapsed_s = 12.5
    state.save(tmp_path / "checkpoint.pt")
    loaded = TrainState.load(tmp_path / "checkpoint.pt")
    assert (loaded.step, loaded.elapsed_s) == (3, 12.5)
    for running in (state, loaded):
        for step in range(3, 6):
            train_step(running, noisy_batch(step), LossWeights(), learning_rate=1e-3)
    assert is_same(weights_of(loaded.network), weights_of(state.network))
    assert is_same(weights_of(loaded.average), weights_of(state.average))


def test_saving_leaves_no_partial_file(state, tmp_path):
    state.save(tmp_path / "checkpoint.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_of_another_format_is_refused(tmp_path):
    torch.save({"format": 99}, tmp_path / "checkpoint.pt")
    with pytest.raises(ReleaseError, match="checkpoint format 99 is not 1"):
        TrainState.load(tmp_path / "checkpoint.pt")


class Payload:
    def __reduce__(self):
        return print, ("executed",)


def test_a_checkpoint_executes_nothing(tmp_path, capsys):
    torch.save({"format": 1, "network": Payload()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ReleaseError, match=r"checkpoint\.pt' is damaged; delete it"):
        TrainState.load(tmp_path / "checkpoint.pt")
    assert capsys.readouterr().out == ""


def test_a_checkpoint_cut_short_is_refused(state, tmp_path):
    path = tmp_path / "checkpoint.pt"
    state.save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ReleaseError, match="is damaged"):
        TrainState.load(path)
