import json
import pickle
import resource
import struct

import pytest
import safetensors.torch
import torch

from tests.vgen.training.toys import adversarial, is_same, pairs, settings, step_of, weights_of
from vgen import storage
from vgen.errors import ReleaseError, StorageError
from vgen.training.checkpoint_files import (
    CheckpointRef,
    check_run,
    list_checkpoints,
    superfluous,
)
from vgen.training.checkpoints import from_bytes, new_network, save_checkpoint, to_bytes
from vgen.training.duel import adversarial_step, critics_of
from vgen.training.state import TrainState
from vgen.training.step import pixel_step, vae_step

CPU = torch.device("cpu")
GAN = settings(adversarial=adversarial())


def fresh(chosen, stage="window"):
    torch.manual_seed(0)
    return TrainState.fresh(new_network(chosen), stage)


def gan_state():
    state = fresh(GAN)
    state.begin_adversarial(GAN.adversarial.channels, critics_of(GAN.adversarial))
    state.reference_db = 31.5
    return state


def vae_state(chosen):
    return fresh(chosen, "vae")


def advance(state, chosen, seeds):
    for seed in seeds:
        step = step_of(chosen)
        if state.stage == "adversarial":
            adversarial_step(state, *pairs(2, 5, outputs=3, seed=seed), step)
        elif state.stage == "vae":
            vae_step(state, *pairs(2, 2, outputs=2, seed=seed), step)
        else:
            pixel_step(state, *pairs(2, 3, seed=seed), step)
        state.step += 1
        state.stage_step += 1


def reloaded(state, chosen):
    return from_bytes(to_bytes(state, chosen), chosen, name="x", device=CPU)


@pytest.mark.parametrize("kind", ["pixel", "adversarial", "vae"])
def test_a_checkpoint_goes_on_as_if_it_had_never_stopped(kind):
    chosen = {"pixel": settings(), "adversarial": GAN, "vae": settings(size="vae-tiny")}[kind]
    state = (
        gan_state()
        if kind == "adversarial"
        else fresh(chosen, "vae" if kind == "vae" else "window")
    )
    advance(state, chosen, range(2))
    state.elapsed_s = 12.5
    loaded = reloaded(state, chosen)
    assert (loaded.step, loaded.stage_step, loaded.elapsed_s) == (2, 2, 12.5)
    assert (loaded.stage, loaded.reference_db) == (state.stage, state.reference_db)
    for running in (state, loaded):
        advance(running, chosen, range(2, 4))
    theirs = dict(state.tensors())
    ours = dict(loaded.tensors())
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name].nan_to_num(-1), value.nan_to_num(-1)), name


def test_a_widened_state_restores_as_before():
    chosen = settings()
    torch.manual_seed(0)
    state = TrainState.fresh(new_network(chosen, window=1), "single")
    for seed in range(2):
        pixel_step(state, *pairs(2, 1, seed=seed), step_of(chosen))
    before, average = state.network, state.average
    window = torch.rand(2, 3, 3, 16, 16)
    expected = before(window[:, 1:2]), average(window[:, 1:2])
    state.widen(3)
    torch.testing.assert_close((state.network(window), state.average(window)), expected)
    assert (state.stage, state.stage_step) == ("window", 0)
    pixel_step(state, *pairs(2, 3), step_of(chosen))
    assert state.network.fusion.weight.abs().sum() > 0
    assert reloaded(state, chosen).network.settings.window == 3


def test_the_adversarial_stage_begins_with_the_average_and_keeps_it():
    chosen = settings()
    state = fresh(chosen)
    advance(state, chosen, range(3))
    average = weights_of(state.average)
    assert not is_same(weights_of(state.network), average)
    state.begin_adversarial(4, ["image"])
    for network in (state.network, state.average, state.reference):
        assert is_same(weights_of(network), average)
    assert all(value.requires_grad for value in state.network.parameters())
    assert not any(value.requires_grad for value in state.reference.parameters())


def refs(*scores):
    return [CheckpointRef(uri=str(n), step=n, score=score) for n, score in enumerate(scores)]


def test_the_newest_two_and_the_best_are_kept():
    found = refs(30.0, 33.0, 32.0, 31.0, 29.0, 28.0)
    assert {ref.step for ref in superfluous(found, keep_best=2)} == {0, 3}
    assert superfluous(found[:2], keep_best=1) == []


def test_saving_lists_sorts_and_prunes(tmp_path):
    chosen = settings(keep_best=1)
    state = fresh(chosen)
    for step, score in ((1, 10.0), (2, -3.5), (10, 5.0), (20, 4.0)):
        state.step = step
        save_checkpoint(str(tmp_path), state, chosen, score=score)
    (tmp_path / "notes.txt").touch()
    found = list_checkpoints(str(tmp_path))
    assert [(ref.step, ref.score) for ref in found] == [(1, 10.0), (10, 5.0), (20, 4.0)]
    assert len(list(tmp_path.iterdir())) == 4, "something half-written was left"


def test_a_bucket_keeps_checkpoints_like_a_folder(s3):
    chosen = settings(keep_best=1)
    state = fresh(chosen)
    folder_uri = f"{s3.bucket}/run/checkpoints"
    for step in (1, 2, 3, 4):
        state.step = step
        save_checkpoint(folder_uri, state, chosen, score=float(step))
    found = list_checkpoints(folder_uri)
    assert [ref.step for ref in found] == [3, 4]
    content = storage.read_bytes(found[-1].uri)
    assert from_bytes(content, chosen, name="x", device=CPU).step == 4


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path):
    chosen = settings()
    state = fresh(chosen)
    state.step = 1
    good = save_checkpoint(str(tmp_path), state, chosen, score=1.0)
    content = storage.read_bytes(good.uri)
    state.step = 2
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*step-00000002"):
            save_checkpoint(str(tmp_path), state, chosen, score=2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [storage.name_of(good.uri)]
    assert storage.read_bytes(good.uri) == content


def test_a_bucket_that_refuses_is_said_and_nothing_is_lost(s3):
    with pytest.raises(StorageError, match="nosuch"):
        save_checkpoint("s3://nosuch/run", fresh(settings()), settings(), score=1.0)


def test_another_recipe_is_refused_by_the_field_that_differs():
    content = to_bytes(fresh(settings()), settings())
    for change, says in (
        ({"size": "small"}, "made with size 'tiny', not 'small'"),
        ({"adversarial": adversarial(channels=8)}, r"adversarial\.channels 16, not 8"),
        ({"steps": None, "seconds": 5.0}, "seconds None, not 5.0"),
    ):
        with pytest.raises(ReleaseError, match=f"checkpoint step-1 .*{says}"):
            from_bytes(content, settings(**change), name="step-1", device=CPU)


def test_a_run_is_checked_by_its_newest_header_alone(s3):
    run_uri = f"{s3.bucket}/checked"
    check_run(run_uri, settings())
    state = fresh(settings())
    for state.step in (1, 2):
        good = save_checkpoint(f"{run_uri}/checkpoints", state, settings(), score=1.0)
    check_run(run_uri, settings())
    with pytest.raises(ReleaseError, match=r"step-00000002\S* was made with steps 8, not 9"):
        check_run(run_uri, settings(steps=9))
    content = storage.read_bytes(good.uri)
    storage.write_bytes(good.uri, content[: 8 + int.from_bytes(content[:8], "little")])
    check_run(run_uri, settings())  # nothing behind the header is asked for
    for wrong in (content[:20], b"", b"\xff" * 64):
        storage.write_bytes(good.uri, wrong)
        with pytest.raises(ReleaseError, match=r"step-00000002\S* is damaged; delete it"):
            check_run(run_uri, settings())


def test_housekeeping_may_change_between_two_runs():
    content = to_bytes(fresh(settings()), settings())
    other = settings(checkpoint_every_s=5.0, keep_best=7)
    assert from_bytes(content, other, name="x", device=CPU).step == 0


def changed(content, change):
    """Return the file with its description passed through ``change``."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    document = json.loads(header["__metadata__"]["vgen-checkpoint"])
    change(document)
    tensors = safetensors.torch.load(content)
    return safetensors.torch.save(tensors, metadata={"vgen-checkpoint": json.dumps(document)})


def test_a_field_that_a_checkpoint_does_not_know_stands_at_its_default():
    content = to_bytes(fresh(settings()), settings())
    older = changed(content, lambda document: document["recipe"].pop("start_from"))
    assert from_bytes(older, settings(), name="x", device=CPU).step == 0
    with pytest.raises(ReleaseError, match="made with start_from '', not 'restore-tiny'"):
        from_bytes(older, settings(start_from="restore-tiny"), name="x", device=CPU)


def test_a_checkpoint_of_another_version_is_refused():
    content = changed(to_bytes(fresh(settings()), settings()), lambda d: d.update(format=99))
    with pytest.raises(ReleaseError, match="has format 99, not 3; finish the run with the version"):
        from_bytes(content, settings(), name="x", device=CPU)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(window=5),
        lambda document: document.update(window="3"),
        lambda document: document.update(stage="adversarial", critics=["image"]),
        lambda document: document.update(stage="adversarial", critics=["martian"]),
        lambda document: document.pop("step"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused(change):
    content = changed(to_bytes(fresh(settings()), settings()), change)
    with pytest.raises(ReleaseError, match="checkpoint x does not fit its architecture"):
        from_bytes(content, settings(), name="x", device=CPU)


class Payload:
    def __reduce__(self):
        return print, ("executed",)


def test_a_checkpoint_executes_nothing(capsys, tmp_path):
    pickled = tmp_path / "pickled"
    torch.save({"format": 2, "network": Payload()}, pickled)
    for content in (pickle.dumps(Payload()), pickled.read_bytes()):
        with pytest.raises(ReleaseError, match="checkpoint x is damaged; delete it"):
            from_bytes(content, settings(), name="x", device=CPU)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kept", [0, 4, 100, 5000])
def test_a_checkpoint_cut_short_is_refused(kept):
    content = to_bytes(fresh(settings()), settings())[:kept]
    with pytest.raises(ReleaseError, match="is damaged; delete it to go on from the one before"):
        from_bytes(content, settings(), name="x", device=CPU)
