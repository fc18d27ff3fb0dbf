import dataclasses
import json

import numpy as np
import pytest
import torch

from tests.vgen.training.materials import (
    evaluation,
    measures,
    score,
    subject,
    write_still,
    write_video,
)
from vgen.enhance.enhancer import Enhancer
from vgen.errors import ConfigError, ReleaseError
from vgen.models.release import ReleaseHeader
from vgen.models.vae import VAE_SIZES, vae_spec
from vgen.training import evaluate as module
from vgen.training.damages import UNCHANGED_SIZE, classes_for, enlarge
from vgen.training.evaluate import evaluate, evaluate_release
from vgen.training.scores import EvaluationSettings, LeftOut, as_table

NOISE = classes_for(1, ("noise 25",))
CODEC = classes_for(1, ("x264 crf 35",))


def nothing(clip_tchw):
    return clip_tchw


def halves_noise(clip_tchw):
    return clip_tchw.mean(dim=(2, 3), keepdim=True) * 0.5 + clip_tchw * 0.5


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_doing_nothing_gains_nothing():
    subjects = [subject(), subject("film", "video")]
    scores = evaluate(nothing, subjects, classes=UNCHANGED_SIZE, has_baseline=False)
    shown = [(one.name, kind) for one in UNCHANGED_SIZE for kind in one.kinds]
    assert [(one.damage, one.kind) for one in scores] == shown
    for one in scores:
        assert one.before == one.after
        assert one.subjects == 1
        assert (one.baseline, one.baseline_name) == (None, None)


def test_halving_the_noise_gains_six_decibels():
    (one,) = evaluate(halves_noise, [subject()], classes=NOISE, has_baseline=False)
    assert one.after.psnr_rgb_db - one.before.psnr_rgb_db == pytest.approx(6.02, abs=0.1)
    flicker = one.before.temporal_difference
    assert one.after.temporal_difference == pytest.approx(flicker / 2, rel=0.05)
    assert one.after.warping_error == pytest.approx(one.before.warping_error / 4, rel=0.1)
    assert one.clean_warping_error == 0


def test_unclipped_noise_is_shown_on_the_whole_still_alone():
    seen = []

    def watch(clip_tchw):
        seen.append(clip_tchw.shape)
        return clip_tchw

    classes = classes_for(1, ("noise 25 unclipped",))
    subjects = [subject(), subject("film", "video")]
    (one,) = evaluate(watch, subjects, classes=classes, has_baseline=False)
    assert seen == [(1, 3, 64, 64)]
    assert one.kind == "still"
    # Clipped and rounded before it is measured, as every picture is.
    assert one.before.psnr_rgb_db == pytest.approx(20 * np.log10(255 / 25), abs=0.15)


def test_classes_for_what_is_not_there_are_refused(tmp_path):
    write_video(tmp_path / "film.mp4", 1)
    settings = EvaluationSettings(damages=("noise 25 unclipped",), device="cpu")
    with pytest.raises(ConfigError, match="is of a kind that these classes of damage are for"):
        evaluate_release(Enhancer.load("restore-tiny", device="cpu"), str(tmp_path), settings)


def test_a_clip_is_damaged_alike_whatever_else_is_scored():
    subjects = [subject("one"), subject("two")]
    both = evaluate(nothing, subjects, classes=[*CODEC, *NOISE], has_baseline=False)
    alone = [
        evaluate(nothing, [one], classes=NOISE, has_baseline=False)[0].before.psnr_rgb_db
        for one in subjects
    ]
    assert both[1].before.psnr_rgb_db == pytest.approx(np.mean(alone))
    assert alone[0] != alone[1]


def test_another_seed_gives_another_draw():
    one, again, other = (
        evaluate(nothing, [subject()], classes=NOISE, seed=seed, has_baseline=False)
        for seed in (0, 0, 1)
    )
    assert one == again
    assert one != other


def test_the_best_classical_filter_stands_beside_the_release():
    (one,) = evaluate(nothing, [subject()], classes=NOISE)
    assert one.baseline_name in {str(tried) for tried in NOISE[0].filters}
    gains = {}
    for tried in NOISE[0].filters:
        lonely = module.DamageClass(name="noise 25", apply=NOISE[0].apply, filters=(tried,))
        (found,) = evaluate(nothing, [subject()], classes=[lonely])
        gains[found.baseline_name] = found.baseline.psnr_rgb_db
    assert gains[one.baseline_name] == max(gains.values()) == one.baseline.psnr_rgb_db
    assert one.baseline.psnr_rgb_db > one.before.psnr_rgb_db + 5


@pytest.mark.parametrize("scale", [2, 4])
def test_what_enlarges_is_held_against_bicubic_enlargement(scale):
    seen = []

    def bicubic(clip_tchw):
        seen.append(clip_tchw.shape[-2:])
        return enlarge(clip_tchw, scale)

    rng = np.random.default_rng(1)
    clip = rng.integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    grainy = module.Subject(name="grain", kind="video", clip_thwc=clip, still_hwc=None)
    plain, coded = evaluate(bicubic, [grainy], classes=classes_for(scale), scale=scale)
    assert set(seen) == {(64 // scale, 64 // scale)}
    assert plain.before == plain.after == plain.baseline
    assert plain.baseline_name == coded.baseline_name == "bicubic"
    assert coded.before.psnr_rgb_db < plain.before.psnr_rgb_db


def test_what_is_too_small_for_a_measure_is_left_out_by_name(tmp_path, monkeypatch):
    found = [subject("small", "video", side=16), subject("fine", "video", side=32)]
    monkeypatch.setattr(module, "load_subjects", lambda *_: iter(found))
    four = Enhancer.load("identity", device="cpu")
    four.header = dataclasses.replace(four.header, spec=dataclasses.replace(four.spec, scale=4))
    monkeypatch.setattr(four, "restore", lambda clip_tchw: enlarge(clip_tchw, 4))
    made = evaluate_release(four, str(tmp_path), EvaluationSettings(baseline=False))
    assert made.subjects == ("fine",)
    assert made.left_out == (LeftOut(reason="of under 19 pixels a side", names=("small",)),)


def test_what_makes_clips_up_is_refused():
    spec = vae_spec(VAE_SIZES["generate-tiny"])
    header = ReleaseHeader(name="dream", spec=spec, settings={}, provenance={})
    enhancer = Enhancer(header=header, digest="0", network=None, device=torch.device("cpu"))
    with pytest.raises(ReleaseError, match="'dream' makes clips up and cannot restore any"):
        evaluate_release(enhancer, "/clips", EvaluationSettings())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    write_still(folder / "still.png", 1)
    write_video(folder / "film.mp4", 2)
    (folder / "torn.jpg").write_bytes(b"torn")
    return folder


@pytest.mark.parametrize("release", ["identity", "restore-tiny"])
def test_the_bare_command_writes_a_table_or_json(folder, capsys, release):
    arguments = [release, str(folder), "--device", "cpu", "--no-baseline"]
    arguments += ["--damages", "noise 25", "--damages", "x264 crf 28"]
    assert module.main(arguments) == 0
    table = capsys.readouterr().out
    assert module.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["subjects"] == ["still.png", "film.mp4"]
    assert found["num_left_out"] == 1
    assert found["left_out"][0]["names"] == ["torn.jpg"]
    assert found["speed"]["frames"] == 2 * 2 * 7
    per_second = found["speed"]["frames_per_second"]
    assert found["speed"]["ms_per_frame"] == pytest.approx(1000 / per_second)
    assert "torn.jpg" in table
    noise = found["scores"][0]
    gain = noise["after"]["psnr_rgb_db"] - noise["before"]["psnr_rgb_db"]
    assert gain == 0 if release == "identity" else gain > 3
    before = f"| noise 25 | still | 1 | {noise['before']['psnr_rgb_db']:.2f} |"
    assert before in table


def test_the_bare_command_names_a_missing_release(folder, caplog):
    assert module.main(["gone", str(folder)]) == 2
    assert "no release 'gone'" in caplog.text


def test_the_table_tells_everything_the_scores_hold():
    one = score("rain", 20, 25.5, flicker=(7, 3.25)).model_copy(
        update={"baseline": measures(24.25), "baseline_name": "nlmeans=s=3"}
    )
    groups = (LeftOut(reason="dark", names=tuple("abcdefg")),)
    text = as_table(evaluation(one, left_out=groups, num_left_out=7))
    cells = [cell.strip() for cell in text.splitlines()[2].split("|")]
    assert cells[1:7] == ["rain", "video", "3", "20.00", "25.50", "24.25"]
    assert cells[7:10] == ["22.00", "27.50", "26.25"]
    assert cells[13:15] == ["7.00", "3.25"]
    assert "classical: rain on clips nlmeans=s=3" in text
    assert "2.00 frames/s, 500.0 ms a frame of 0.100 megapixels, toy, cpu" in text
    assert "left out, dark: 7 (a, b, c, d, e and 2 more)" in text
