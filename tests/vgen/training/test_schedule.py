import numpy as np
import pytest

from tests.vgen.training.toys import adversarial, settings
from vgen.training.schedule import kl_weight, learning_rate, stage_at


def stages(chosen):
    return [stage_at(chosen, step / 100) for step in range(100)]


def test_the_pixel_stage_widens_its_window_and_gives_way_to_the_adversarial_one():
    found = stages(settings(single_frame_share=0.25, adversarial=adversarial(share=0.2)))
    assert found == ["single"] * 20 + ["window"] * 60 + ["adversarial"] * 20


def test_stages_that_have_no_share_are_left_out():
    assert stages(settings(single_frame_share=0)) == ["window"] * 100
    assert stages(settings(single_frame_share=1)) == ["single"] * 100
    assert stages(settings(size="vae-tiny")) == ["vae"] * 100


def test_the_learning_rate_warms_up_then_falls_to_its_floor():
    chosen = settings(warmup_steps=10, learning_rate=1e-3, single_frame_share=0)
    rates = [learning_rate(chosen, step / 100, step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4, rel=0.01)
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert rates.index(max(rates)) == 9
    assert np.all(np.diff(rates[10:]) < 0)
    assert learning_rate(chosen, 1.0, 100) == pytest.approx(1e-5)


def test_the_adversarial_stage_anneals_on_its_own():
    chosen = settings(
        learning_rate=1e-3,
        warmup_steps=1,
        adversarial=adversarial(share=0.5, learning_rate=1e-4),
    )
    assert learning_rate(chosen, 0.499999, 10) == pytest.approx(1e-5, rel=0.01)
    assert learning_rate(chosen, 0.5, 10) == pytest.approx(1e-4)
    assert learning_rate(chosen, 1.0, 10) == pytest.approx(1e-6)


def test_the_weight_of_kl_rises_to_one_and_stays():
    chosen = settings(size="vae-tiny", vae={"kl_warmup_share": 0.2})
    assert [kl_weight(chosen, spent) for spent in (0, 0.1, 0.2, 0.7)] == [0, 0.5, 1, 1]
    assert kl_weight(settings(size="vae-tiny", vae={"kl_warmup_share": 0}), 0) == 1
