"""Two real processes over gloo, held against one that does the same alone."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.vgen.training.two_ranks import BATCH, gradients, whole_run
from vgen.models.release import load_network
from vgen.training.distributed import Group
from vgen.training.journal import read_curves
from vgen.training.step import MAX_GRADIENT_NORM


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "tests.vgen.training.two_ranks"]
    ranks = [
        subprocess.Popen([*command, str(rank), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        for rank in ranks:
            _, said = rank.communicate(timeout=500)
            assert rank.returncode == 0, said[-3000:]
    finally:
        for rank in ranks:
            rank.kill()
    return folder


@pytest.mark.parametrize("kind", ["pixel", "adversarial", "vae"])
def test_two_workers_use_the_gradients_of_one_with_all_samples(two, kind):
    """In float32: to 1e-5 of each tensor's largest gradient and 2e-6 of what all are clipped to.

    The latter is for what cancels: pairing leaves a critic's last bias no gradient but rounding.
    """
    alone = gradients(kind, Group())
    for rank in range(2):
        shared = load_file(two / f"{kind}-{rank}.safetensors")
        assert shared.keys() == alone.keys()
        for name, expected in alone.items():
            tolerance = 1e-5 * expected.abs().max().item() + 2e-6 * MAX_GRADIENT_NORM
            torch.testing.assert_close(shared[name], expected, rtol=0, atol=tolerance, msg=name)


def test_what_is_broken_in_one_worker_is_left_out_by_all(two):
    for rank in range(2):
        assert load_file(two / f"poisoned-{rank}.safetensors")["skipped"] == 1


def test_all_hear_what_the_first_one_says(two):
    for rank, kind in enumerate(("ConfigError", "ElsewhereError")):
        expected = ([1.5, 2.0], b"from the first", b"", f"{kind}: nothing to eat")
        assert (two / f"heard-{rank}.txt").read_text() == repr(expected)


def test_a_run_of_two_ends_where_a_run_of_one_does(two, tmp_path):
    """Rounding apart: to 2e-3 of each tensor's largest weight and 0.005 of one step's length.

    The latter is for the fusion, which starts at zero: Adam divides by the size of a gradient, so
    that rounding in a small one moves a weight by a share of the learning rate.
    """
    rate = whole_run(tmp_path, Group()).learning_rate
    for name in ("trial", "trial-perceptual"):
        ours = load_network(two / "run" / f"{name}.safetensors")[1].state_dict()
        theirs = load_network(tmp_path / f"{name}.safetensors")[1].state_dict()
        for key, expected in theirs.items():
            tolerance = 2e-3 * expected.abs().max().item() + 0.005 * rate
            torch.testing.assert_close(ours[key], expected, rtol=0, atol=tolerance, msg=key)
    assert {row["stage"] for row in read_curves(str(two / "run"))} >= {"window", "adversarial"}


def test_lanes_cover_all_samples_once():
    for size in range(1, 6):
        shares = [Group(rank=rank, size=size).lanes(5) for rank in range(size)]
        assert [lane for share in shares for lane in share] == list(range(5))
        assert min(map(len, shares)) >= 1


def test_more_workers_than_samples_are_refused():
    with pytest.raises(ValueError, match="3 samples a step cannot be shared by 4 workers"):
        Group(rank=0, size=4).lanes(BATCH)


def test_a_rank_outside_its_group_is_refused():
    with pytest.raises(ValueError, match="rank 2 is not one of 2"):
        Group(rank=2, size=2)
