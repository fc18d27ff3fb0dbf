import json

import numpy as np
import pytest
import torch

from vgen.training import evaluate as module
from vgen.training.evaluate import DAMAGES, as_table, evaluate, held_out_clips, untouched


def halves_noise(clip_tchw):
    return clip_tchw.mean(dim=(2, 3), keepdim=True) * 0.5 + clip_tchw * 0.5


@pytest.fixture
def flat():
    return [("stills", np.full((4, 32, 32, 3), 128, np.uint8))]


def test_subjects_are_the_held_out_files_alone(data_path):
    kinds = [kind for kind, _ in held_out_clips(data_path, limit=None, seed=0)]
    assert kinds == ["stills", "stills", "clips"]
    for _, clip in held_out_clips(data_path, limit=1, seed=0):
        assert len(clip) == module.FRAMES


def test_doing_nothing_gains_nothing(data_path):
    subjects = held_out_clips(data_path, limit=1, seed=0)
    scores = evaluate(lambda clip: clip, subjects, seed=0)
    assert {score.damage for score in scores} == set(DAMAGES)
    for score in scores:
        assert score.rgb_before_db == score.rgb_after_db
        assert score.flicker_before == score.flicker_after
        assert score.subjects == 1


def test_halving_the_noise_gains_six_decibels(flat):
    (score,) = evaluate(halves_noise, flat, seed=0, damages={"noise": DAMAGES["noise 25"]})
    assert score.rgb_after_db - score.rgb_before_db == pytest.approx(6.02, abs=0.1)
    assert score.flicker_after == pytest.approx(score.flicker_before / 2, rel=0.05)


def test_the_same_seed_gives_the_same_damage(flat):
    def scores(seed):
        return evaluate(lambda clip: clip, flat, seed=seed)

    assert scores(0) == scores(0)
    assert scores(0) != scores(1)


def test_damaging_a_good_picture_shows(flat):
    def dims(clip):
        return clip * 0.9

    (score,) = evaluate(dims, flat, seed=0, damages={"none": untouched})
    assert score.rgb_before_db == 100
    assert score.rgb_after_db == pytest.approx(20 * np.log10(255 / 13), abs=0.1)
    assert "| none | stills | 1 | 100.00 | 25.85 | -74.15 |" in as_table([score])


@pytest.mark.parametrize("release", ["identity", "restore-tiny"])
def test_the_command_writes_a_table_or_json(data_path, capsys, release):
    threads = torch.get_num_threads()
    try:
        arguments = [str(data_path), release, "--limit", "1", "--device", "cpu"]
        assert module.main(arguments) == 0
        table = capsys.readouterr().out
        assert module.main([*arguments, "--json"]) == 0
    finally:
        torch.set_num_threads(threads)
    rows = json.loads(capsys.readouterr().out)
    assert len(table.splitlines()) == len(rows) + 2 == 2 * len(DAMAGES) + 2
    noise = next(row for row in rows if row["damage"] == "noise 25")
    gain = noise["rgb_after_db"] - noise["rgb_before_db"]
    assert gain == 0 if release == "identity" else gain > 3


def test_the_command_names_a_missing_release(data_path, caplog):
    assert module.main([str(data_path), "gone"]) == 2
    assert "no release 'gone'" in caplog.text
