import json

import pytest
import torch

from tests.vgen.training.toys import adversarial, material, settings
from vgen.errors import ReleaseError
from vgen.models.release import load_network, read_header
from vgen.training import loop
from vgen.training.checkpoint_files import list_checkpoints
from vgen.training.choices import LossWeights, PoolSettings
from vgen.training.guard import DivergedError
from vgen.training.journal import read_curves
from vgen.training.loop import Place, train
from vgen.training.news import Begun, Progress, Score
from vgen.training.settings import StructureWeights


@pytest.fixture(scope="module")
def stills():
    return material()


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


def run(stills, folder, *, clock=None, tell=lambda news: None, log_every_s=1e9, **changes):
    place = Place(run_uri=str(folder), log_every_s=log_every_s)
    train(stills, settings(**changes), place, tell=tell, clock=clock or Ticks())
    return folder / "trial.safetensors"


def weights(path):
    return load_network(path)[1].state_dict()


def are_equal(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


GAN = {"steps": 10, "adversarial": adversarial(warmup_steps=1)}


def test_a_run_ends_in_a_release_that_says_how_it_was_made(stills, tmp_path):
    path = run(stills, tmp_path)
    header, network = load_network(path)
    assert header.name == "trial"
    assert header.spec.lead == header.spec.tail == 1
    assert header.provenance["steps"] == 8
    assert header.provenance["licences"] == ["CC0"]
    assert header.provenance["recipe"]["seed"] == 0
    assert network.fusion.weight.abs().sum() > 0


def test_a_release_tells_what_it_started_from_and_not_where_that_lay(stills, tmp_path):
    first = run(stills, tmp_path / "private")
    second = run(stills, tmp_path / "again", start_from=str(first))
    assert read_header(second).provenance["recipe"]["start_from"] == "trial.safetensors"
    assert b"private" not in second.read_bytes()


def test_both_stages_leave_a_release_each(stills, tmp_path):
    fidelity = run(stills, tmp_path, **GAN)
    perceptual = tmp_path / "trial-perceptual.safetensors"
    assert read_header(fidelity).provenance["stage"] == "window"
    assert read_header(fidelity).provenance["steps"] == 5
    assert read_header(perceptual).provenance["stage"] == "adversarial"
    assert not are_equal(weights(fidelity), weights(perceptual))


def test_a_vae_is_trained_to_a_release(stills, tmp_path):
    told = []
    path = run(stills, tmp_path, size="vae-tiny", steps=4, tell=told.append)
    assert read_header(path).spec.architecture == "conditional_vae"
    (score,) = [news for news in told if isinstance(news, Score)]
    assert score.score == -score.bits
    assert "bits a dimension" in score.line()


def test_an_unconditional_vae_takes_whole_groups_of_frames(stills, tmp_path):
    pool = PoolSettings(size=4, frames=5, side_px=32)
    path = run(stills, tmp_path, size="generate-tiny", steps=2, batch=1, pool=pool, patch_px=32)
    assert read_header(path).spec.temporal_stride == 2


def test_the_same_seed_gives_the_same_release(stills, tmp_path):
    one, two = (run(stills, tmp_path / name) for name in ("one", "two"))
    other = run(stills, tmp_path / "other", seed=1)
    assert one.read_bytes() == two.read_bytes()
    assert not are_equal(weights(one), weights(other))


@pytest.mark.parametrize("stop_at", [5, 11])
def test_an_interrupted_run_goes_on_to_the_same_weights(stills, tmp_path, stop_at):
    """Bit for bit, in one process; both stages, and before and after a window was widened."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(stills, whole, **GAN)
    every = GAN | {"checkpoint_every_s": 0.5}
    with pytest.raises(KeyboardInterrupt):
        run(stills, cut, clock=Ticks(stop_at), **every)
    reached = list_checkpoints(str(cut / "checkpoints"))[-1].step
    assert 0 < reached < 10
    told = []
    run(stills, cut, tell=told.append, **every)
    assert told[0] == Begun(step=reached, workers=1, device="cpu")
    for name in ("trial.safetensors", "trial-perceptual.safetensors"):
        assert are_equal(weights(whole / name), weights(cut / name))


def test_a_finished_run_is_not_trained_again(stills, tmp_path):
    first = run(stills, tmp_path).read_bytes()
    told = []
    assert run(stills, tmp_path, tell=told.append).read_bytes() == first
    assert told == [Begun(step=8, workers=1, device="cpu")]
    (tmp_path / "trial.safetensors").unlink()
    assert run(stills, tmp_path).read_bytes() == first


def test_a_checkpoint_of_another_size_is_refused_and_kept(stills, tmp_path):
    run(stills, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ReleaseError, match="made with size 'tiny', not 'small'"):
        run(stills, tmp_path, size="small")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint_is_named(stills, tmp_path):
    run(stills, tmp_path)
    (found,) = (tmp_path / "checkpoints").iterdir()
    found.write_bytes(found.read_bytes()[:1000])
    with pytest.raises(ReleaseError, match=f"{found.name} is damaged; delete it"):
        run(stills, tmp_path)


def test_a_budget_in_seconds_counts_the_time_before_a_resumption(stills, tmp_path):
    timed = {"steps": None, "seconds": 6.0, "checkpoint_every_s": 0.5}
    with pytest.raises(KeyboardInterrupt):
        run(stills, tmp_path, clock=Ticks(stop_at=5), **timed)
    path = run(stills, tmp_path, **timed)
    assert read_header(path).provenance["steps"] == 6


def test_gradients_that_stay_broken_end_training_and_keep_the_last_checkpoint(stills, tmp_path):
    broken = {"steps": 80, "loss": LossWeights(relative=3e38), "checkpoint_every_s": 20.0}
    broken |= {"single_frame_share": 0.0}
    with pytest.raises(DivergedError, match="diverged by step 60: the last 60 steps"):
        run(stills, tmp_path, **broken)
    kept = list_checkpoints(str(tmp_path / "checkpoints"))
    assert [ref.step for ref in kept] == [20, 40]


def test_weights_that_blow_up_are_never_saved(stills, tmp_path):
    with pytest.raises(DivergedError, match=r"diverged by step \d+: validation gave nan"):
        run(stills, tmp_path, steps=40, learning_rate=1e30, checkpoint_every_s=1.0)
    for ref in list_checkpoints(str(tmp_path / "checkpoints")):
        assert ref.score > 0


def test_an_adversarial_stage_that_ruins_the_picture_ends(stills, tmp_path):
    ruin = adversarial(
        warmup_steps=0, learning_rate=0.3, max_loss_db=0.5, structure=StructureWeights()
    )
    chosen = {"steps": 40, "adversarial": ruin, "warmup_steps": 1, "checkpoint_every_s": 5.0}
    with pytest.raises(DivergedError, match="the adversarial stage diverged"):
        run(stills, tmp_path, **chosen)
    assert all(ref.step <= 30 for ref in list_checkpoints(str(tmp_path / "checkpoints")))
    assert read_header(tmp_path / "trial.safetensors").provenance["stage"] == "window"


def test_progress_is_told_and_taken_down(stills, tmp_path):
    told = []
    run(stills, tmp_path, tell=told.append, log_every_s=0.5, **GAN)
    reports = [news for news in told if isinstance(news, Progress)]
    assert [one.step for one in reports] == list(range(1, 11))
    assert [one.spent for one in reports] == pytest.approx([n / 10 for n in range(1, 11)])
    assert reports[3].samples_per_s == pytest.approx(2.0)
    assert reports[3].left_s == pytest.approx(6.0)
    assert 0 <= reports[3].wait_share <= 1
    assert "dB" in reports[0].line()
    assert "image critic right in" in reports[-1].line()
    rows = read_curves(str(tmp_path))
    assert [row["step"] for row in rows if "loss/psnr_db" in row][:5] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in rows if "validation/luma_db" in row] == [5, 10]


def test_the_command_trains_and_refuses_in_one_sentence(data_path, tmp_path, caplog):
    assert loop.main([str(tmp_path), str(tmp_path / "run"), "--steps", "1"]) == 2
    assert "no usable file matches" in caplog.text
    recipe = tmp_path / "recipe.toml"
    chosen = json.loads(settings(steps=2, validation_clips=1).model_dump_json(exclude_none=True))
    lines = [f"{key} = {json.dumps(chosen[key])}" for key in ("batch", "patch_px")]
    recipe.write_text("\n".join([*lines, "[pool]", "size = 4", "side_px = 32", "frames = 3"]))
    arguments = ["--recipe", str(recipe), "--steps", "2", "--name", "one"]
    assert loop.main([str(data_path), str(tmp_path / "run"), *arguments]) == 0
    assert read_header(tmp_path / "run" / "one.safetensors").provenance["steps"] == 2
