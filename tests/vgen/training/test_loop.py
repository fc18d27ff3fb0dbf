import numpy as np
import pytest
import torch
from pydantic import ValidationError

from vgen.errors import ConfigError
from vgen.models.release import load_network, read_header
from vgen.training import loop
from vgen.training.clips import load_material
from vgen.training.loop import TrainSettings, learning_rate, train
from vgen.training.pool import PoolSettings

TINY_POOL = PoolSettings(size=8, frames=3, side_px=32)


def settings(**changes):
    arguments = {
        "name": "trial",
        "steps": 8,
        "batch": 2,
        "patch_px": 16,
        "warmup_steps": 2,
        "single_frame_share": 0.5,
        "pool": TINY_POOL,
    }
    return TrainSettings(**(arguments | changes))


@pytest.fixture(scope="module")
def material(data_path):
    return load_material(data_path)


class Ticks:
    """A clock that moves one second each time it is read."""

    def __init__(self, stop_at=None):
        self.now = 0.0
        self.stop_at = stop_at

    def __call__(self):
        self.now += 1.0
        if self.now == self.stop_at:
            raise KeyboardInterrupt
        return self.now


def test_a_run_ends_in_a_release_that_says_how_it_was_made(material, tmp_path):
    path = train(material, settings(), tmp_path)
    header, network = load_network(path)
    assert path == tmp_path / "trial.safetensors"
    assert header.name == "trial"
    assert header.spec.lead == header.spec.tail == 1
    assert header.provenance["steps"] == 8
    assert len(header.provenance["licences"]) == 2
    assert header.provenance["recipe"]["seed"] == 0
    assert network.fusion.weight.abs().sum() > 0


def test_the_same_seed_gives_the_same_release(material, tmp_path):
    one = train(material, settings(), tmp_path / "one", clock=Ticks())
    two = train(material, settings(), tmp_path / "two", clock=Ticks())
    other = train(material, settings(seed=1), tmp_path / "other", clock=Ticks())
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("stop_at", [5, 9])
def test_an_interrupted_run_goes_on_to_the_same_weights(material, tmp_path, stop_at):
    whole = train(material, settings(), tmp_path / "whole")
    every = settings(checkpoint_every_s=0.5)
    with pytest.raises(KeyboardInterrupt):
        train(material, every, tmp_path / "cut", clock=Ticks(stop_at))
    cut = train(material, every, tmp_path / "cut", clock=Ticks())
    weights = [load_network(path)[1].state_dict() for path in (whole, cut)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert read_header(cut).provenance["steps"] == 8


def test_a_finished_run_is_not_trained_again(material, tmp_path):
    first = train(material, settings(), tmp_path).read_bytes()
    assert train(material, settings(), tmp_path).read_bytes() == first


def test_a_checkpoint_of_another_size_is_refused(material, tmp_path):
    train(material, settings(), tmp_path)
    with pytest.raises(ConfigError, match="is not of size 'small'; choose another folder"):
        train(material, settings(size="small"), tmp_path)


def test_a_budget_in_seconds_counts_the_time_before_a_resumption(material, tmp_path):
    timed = settings(steps=None, seconds=6.0, checkpoint_every_s=0.5)
    with pytest.raises(KeyboardInterrupt):
        train(material, timed, tmp_path, clock=Ticks(stop_at=5))
    train(material, timed, tmp_path, clock=Ticks())
    assert read_header(tmp_path / "trial.safetensors").provenance["steps"] == 6


def test_the_learning_rate_warms_up_then_falls_to_its_floor():
    chosen = settings(warmup_steps=10, learning_rate=1e-3)
    rates = [learning_rate(chosen, step / 100, step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4, rel=0.01)
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert rates.index(max(rates)) == 9
    assert np.all(np.diff(rates[10:]) < 0)
    assert learning_rate(chosen, 1.0, 100) == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 5.0}, "either in steps or in seconds"),
        ({"steps": None}, "either in steps or in seconds"),
        ({"size": "huge"}, "'huge' is not one of tiny"),
        ({"patch_px": 40}, "must fit into"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        settings(**change)


def test_the_command_refuses_in_one_sentence(tmp_path, caplog):
    assert loop.main([str(tmp_path), str(tmp_path / "run"), "--steps", "1"]) == 2
    assert "no usable file matches" in caplog.text
