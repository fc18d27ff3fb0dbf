import math

import cv2
import numpy as np
import pytest
import torch

from tests.vgen.training.toys import material, settings, unet
from vgen.models.ladder import new_vae
from vgen.models.vae_settings import VaeSettings
from vgen.training.checkpoints import new_network
from vgen.training.clips import Material
from vgen.training.metrics import psnr_luma_db
from vgen.training.pool import Example, make_example
from vgen.training.promote import PromotionRules
from vgen.training.scores import CEILING_DB
from vgen.training.validation import _STREAM, HOLD_BACK_EVERY, Validation, roughness, split_material


def numbered(stills, runs=0):
    def clips(count, *shape):
        return tuple(np.full(shape, number, np.uint8) for number in range(count))

    return Material(clips(stills, 4, 4, 3), clips(runs, 2, 4, 4, 3))


def numbers(clips):
    return [int(clip.flat[0]) for clip in clips]


@pytest.mark.parametrize(("stills", "runs"), [(40, 33), (2, 0), (0, 3), (1, 1), (5, 20)])
def test_every_clip_is_on_one_side_and_both_sides_have_some(stills, runs):
    learned, held = split_material(numbered(stills, runs))
    for kind, count in (("stills", stills), ("runs", runs)):
        sides = numbers(getattr(learned, kind)), numbers(getattr(held, kind))
        assert sorted(sides[0] + sides[1]) == list(range(count))
        assert len(sides[1]) <= max(1, count // HOLD_BACK_EVERY)
    assert len(learned.stills) + len(learned.runs) > 0
    assert len(held.stills) + len(held.runs) > 0


def test_one_clip_serves_for_both_and_that_is_said(caplog):
    only = numbered(1)
    assert split_material(only) == (only, only)
    assert "one clip alone" in caplog.text


def test_a_part_can_be_sliced():
    learned, _ = split_material(numbered(6))
    assert numbers(learned.stills[1:4]) == [1, 2, 3]


def test_scores_are_those_of_the_restored_middle_frames():
    chosen = settings(validation_clips=3)
    network = unet()
    score = Validation(material(), chosen).score(network)
    expected = []
    for index in range(3):
        example = make_example(material(), chosen.pool, seed=_STREAM, index=index)
        degraded, clean = (
            torch.from_numpy(clip).permute(0, 3, 1, 2).float() / 255
            for clip in (example.degraded_thwc, example.clean_thwc)
        )
        with torch.no_grad():
            made = network(degraded[None, 1:4])
        expected.append(psnr_luma_db(made, clean[2][None]))
    assert score.luma_db == pytest.approx(np.mean(expected), abs=1e-4)
    assert score.score == score.luma_db
    assert score.bits is None


def of_ramps(*pairs):
    """Return a validation whose examples are ramps of the given steps and errors in levels."""
    chosen = settings(validation_clips=1)
    validation = Validation(material(), chosen)
    ramp = np.broadcast_to(np.arange(32)[:, None, None], (5, 32, 32, 3)) % 2
    validation._examples = [
        Example((step * ramp + 50 + error).astype(np.uint8), (step * ramp + 50).astype(np.uint8))
        for step, error in pairs
    ]
    return validation, new_network(chosen)  # which begins as the identity


def test_clips_that_were_clean_anyway_do_not_rule_the_score():
    validation, network = of_ramps((0, 0), (0, 20))
    score = validation.score(network)
    damaged_db = 10 * math.log10(255**2 / (20 * 219 / 255) ** 2)
    assert score.luma_db == pytest.approx((100 + damaged_db) / 2, abs=0.01)
    assert score.score == pytest.approx((CEILING_DB + damaged_db) / 2, abs=0.01)


def test_the_ceiling_of_scores_is_that_of_promotion():
    assert PromotionRules().ceiling_db == CEILING_DB


def test_a_score_that_is_no_number_stays_none():
    validation, network = of_ramps((0, 0), (0, 20))
    for value in network.parameters():
        value.data.fill_(math.nan)
    assert math.isnan(validation.score(network).score)


def test_detail_is_that_of_all_clips_together():
    """A flat clip with a little noise left has many times its own detail."""
    validation, network = of_ramps((1, 0), (60, 0))
    noisy = validation._examples[0]
    validation._examples[0] = Example(5 * (noisy.degraded_thwc - 50) + 50, noisy.clean_thwc)
    assert validation.score(network).detail == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("is_conditional", [True, False])
def test_an_autoencoder_is_scored_by_its_bound(is_conditional):
    torch.manual_seed(0)
    network = new_vae(VaeSettings(widths=(8,), latents=2, is_conditional=is_conditional))
    score = Validation(material(), settings(size="vae-tiny")).score(network)
    assert score.score == -score.bits
    assert 0 < score.bits < 30


def test_the_picture_shows_examples_below_each_other():
    png = Validation(material(), settings()).picture(unet())
    sheet = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert sheet.shape == (2 * 32, 3 * 32, 3)


def test_roughness_is_the_variance_of_the_laplacian():
    frame = np.random.default_rng(0).random((12, 14), np.float32)
    expected = cv2.Laplacian(frame, cv2.CV_32F)[1:-1, 1:-1].var(ddof=1)
    made = roughness(torch.from_numpy(frame).expand(1, 3, 12, 14))
    assert made == pytest.approx(float(expected), rel=1e-4)
