import pytest
import torch

from vgen.training.guard import (
    ACCURACY_RANGE,
    HISTORY,
    MAX_SKIPPED_IN_A_ROW,
    MIN_HISTORY,
    SPIKE,
    DivergedError,
    check_progress,
    check_score,
    judge_accuracy,
    judge_norm,
    new_monitors,
)


@pytest.fixture
def monitors():
    return new_monitors(torch.device("cpu"))


def judge(monitors, norm):
    return bool(judge_norm(monitors, torch.tensor(norm)).item())


@pytest.mark.parametrize("norm", [float("nan"), float("inf")])
def test_a_norm_that_is_not_finite_is_left_out_from_the_first_step_on(monitors, norm):
    assert judge(monitors, norm)
    assert not judge(monitors, 1.0)
    assert monitors["skipped"] == 1
    assert monitors["skipped_in_a_row"] == 0


def test_a_spike_is_told_from_the_median_once_that_is_known(monitors):
    assert not any(judge(monitors, 1.0 if n % 2 else 1000.0) for n in range(MIN_HISTORY))
    for _ in range(HISTORY):
        judge(monitors, 1.0)
    assert not judge(monitors, SPIKE * 0.99)
    assert judge(monitors, SPIKE * 1.01)
    assert not judge(monitors, 1.0)


def test_norms_that_grow_for_good_are_taken_as_usual_in_the_end(monitors):
    for _ in range(HISTORY):
        judge(monitors, 1.0)
    left_out = [judge(monitors, SPIKE * 2) for _ in range(HISTORY)]
    assert left_out[0]
    assert not left_out[-1]
    assert sum(left_out) < MAX_SKIPPED_IN_A_ROW


def test_training_has_failed_when_step_after_step_is_left_out(monitors):
    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        judge(monitors, float("nan"))
    check_progress(monitors, step=70)
    judge(monitors, float("nan"))
    with pytest.raises(DivergedError, match="diverged by step 71: the last 50 steps"):
        check_progress(monitors, step=71)


def test_a_critic_far_ahead_waits_until_it_is_not(monitors):
    running = monitors["image_accuracy"]
    waits = [bool(judge_accuracy(running, torch.tensor(1.0))) for _ in range(400)]
    assert not waits[0]
    assert waits[-1]
    assert running.item() > ACCURACY_RANGE[1]
    back = [bool(judge_accuracy(running, torch.tensor(0.6))) for _ in range(100)]
    assert back[0]
    assert not back[-1]


def test_a_score_far_below_the_pixel_stages_ends_training():
    with pytest.raises(DivergedError, match=r"by step 9: validation fell from 30.00 to 28.40"):
        check_score(28.4, 30.0, max_loss_db=1.5, step=9)
    check_score(28.6, 30.0, max_loss_db=1.5, step=9)
    check_score(3.0, None, max_loss_db=1.5, step=9)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_ends_training(score):
    with pytest.raises(DivergedError, match="diverged by step 9: validation gave"):
        check_score(score, None, max_loss_db=1.5, step=9)
