import json

import pytest
import torch

from pipelines.cli import main
from tests.pipelines.shelves import make_dream, make_stills, make_toy
from tests.vgen.training.materials import write_still
from vgen.models import registry
from vgen.models.release import release_digest
from vgen.training.scores import Evaluation

QUICK = ("--damages", "noise 25", "--device", "cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return str(make_stills(tmp_path_factory.mktemp("clean") / "stills"))


def test_scores_go_to_stdout_a_file_and_a_table(clips, tmp_path, capfd):
    target = tmp_path / "scores" / "toy.json"
    toy = make_toy(tmp_path / "toy.safetensors")
    arguments = ["evaluate", str(toy), clips, *QUICK, "--json", "-o", str(target)]
    assert main(arguments) == 0
    captured = capfd.readouterr()
    found = Evaluation.model_validate_json(captured.out)
    assert Evaluation.model_validate_json(target.read_bytes()) == found
    assert found.release_digest == release_digest(toy)
    assert found.subjects == ("0.png", "1.png")
    (score,) = found.scores
    assert score.after == score.before  # a fresh network adds nothing
    assert score.baseline.psnr_rgb_db > score.before.psnr_rgb_db + 2
    assert "| noise 25 | still | 2 |" in captured.err
    assert "scoring still 0.png" in captured.err
    assert main(arguments) == 0
    again = json.loads(capfd.readouterr().out)
    assert again["scores"] == json.loads(found.model_dump_json())["scores"]


def test_a_registered_name_is_scored(clips, tmp_path, capsys):
    shelf = str(tmp_path / "registry")
    toy = make_toy(tmp_path / "toy.safetensors", noise=0.1)
    _, sha256 = registry.publish(shelf, "mine", toy)
    registry.promote(shelf, "mine", sha256=sha256, replacing=None)
    arguments = ["evaluate", "mine", clips, *QUICK, "--no-baseline", "--registry", shelf, "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["release_digest"] == sha256


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--damages", "rain"], "no class of damage 'rain'; there are"),
        (["--limit", "0"], "limit"),
        (["--only", "*.mp4"], "nothing to score in"),
        (["--device", "gpu"], "a device is cpu, cuda, cuda:N or auto, got 'gpu'"),
        pytest.param(
            ["--device", "cuda"],
            "torch finds no CUDA device so named",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_wrong_settings_of_scores_are_refused(clips, capsys, flags, says):
    assert main(["evaluate", "identity", clips, *flags]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err


def test_what_makes_clips_up_is_scored_by_its_bound(tmp_path, capfd):
    folder = tmp_path / "stills"
    folder.mkdir()
    write_still(folder / "0.png", 0, height=160, width=176)
    dream = make_dream(tmp_path / "dream.safetensors")
    assert main(["evaluate", str(dream), str(folder), "--device", "cpu", "--json"]) == 0
    captured = capfd.readouterr()
    (score,) = Evaluation.model_validate_json(captured.out).vae
    assert (score.damage, score.subjects) == (None, 1)
    assert score.bits_per_dimension > score.gaussian_bits > 4  # an untrained network
    assert "bits a dimension (fitted normal distribution" in captured.err


def test_a_place_for_the_scores_is_tried_before_anything_is_scored(clips, tmp_path, capsys):
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "scores.json"
    assert main(["evaluate", "identity", clips, *QUICK, "-o", str(target)]) == 2
    said = capsys.readouterr().err
    assert "scoring" not in said
    assert "cannot write" in said


def test_what_cannot_be_scored_is_refused(clips, tmp_path, capsys):
    dream = make_dream(tmp_path / "dream.safetensors")
    assert main(["evaluate", str(dream), clips, "--device", "cpu"]) == 2
    assert "no clip in" in capsys.readouterr().err  # they have 80x64 pixels
    assert main(["evaluate", "identity", str(tmp_path / "gone"), *QUICK]) == 2
    assert "nothing lies at" in capsys.readouterr().err
    for flags, says in (
        (("--damages", "noise 25"), "scored on clean clips, so leave --damages out"),
        (("--device", "gpu"), "a device is cpu, cuda, cuda:N or auto, got 'gpu'"),
    ):
        assert main(["evaluate", str(dream), clips, *flags]) == 2
        assert says in capsys.readouterr().err
