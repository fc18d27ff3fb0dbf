import pytest

from tests.vgen.training.materials import evaluation, score
from vgen.errors import ReleaseError
from vgen.training.promote import PromotionRules, decide
from vgen.training.scores import EvaluationSettings

RULES = PromotionRules()
IN_FORCE = {"digest": "b" * 64}


def verdict(candidate, incumbent=None, rules=RULES):
    return decide("toy", candidate, incumbent, rules)


def test_the_first_release_of_a_name_is_held_against_the_input():
    found = verdict(evaluation(score("rain", 25, 27), score("fog", 30, 31)))
    assert found.is_promoted
    assert found.against == "the input"
    assert found.mean_gain_db == pytest.approx(1.5)
    assert found.reasons == (
        "gains +1.50 dB in the mean of 2 classes over the input, +1.00 dB in the worst",
    )


def test_a_better_candidate_replaces_the_release_in_force():
    incumbent = evaluation(score("rain", 25, 27), score("fog", 30, 31), **IN_FORCE)
    found = verdict(evaluation(score("rain", 25, 27.3), score("fog", 30, 30.9)), incumbent)
    assert found.is_promoted
    assert found.against == f"toy {'b' * 16}"
    assert found.mean_gain_db == pytest.approx(0.1)


@pytest.mark.parametrize(("gain_db", "is_enough"), [(0.04, False), (0.06, True)])
def test_the_mean_gain_must_be_reached(gain_db, is_enough):
    incumbent = evaluation(score("rain", 25, 27), **IN_FORCE)
    found = verdict(evaluation(score("rain", 25, 27 + gain_db)), incumbent)
    assert found.is_promoted == is_enough
    if not is_enough:
        assert found.reasons == ("gains +0.04 dB in the mean, +0.05 are needed",)


@pytest.mark.parametrize(("loss_db", "is_allowed"), [(0.19, True), (0.21, False)])
def test_no_class_may_lose_much_whatever_the_others_gain(loss_db, is_allowed):
    incumbent = evaluation(score("rain", 25, 27), score("fog", 30, 31), **IN_FORCE)
    candidate = evaluation(score("rain", 25, 29), score("fog", 30, 31 - loss_db))
    found = verdict(candidate, incumbent)
    assert found.is_promoted == is_allowed
    if not is_allowed:
        assert found.reasons == (
            "loses 0.21 dB under fog on clips (31.00 to 30.79), 0.20 are allowed",
        )


def test_what_nobody_sees_is_not_lost():
    """A clean clip comes in at 100 dB and goes out at 46: both are beyond the ceiling."""
    candidate = evaluation(score("none", 100, 46), score("rain", 25, 27))
    assert verdict(candidate).is_promoted
    strict = PromotionRules(ceiling_db=50)
    assert "loses 4.00 dB under none on clips (50.00 to 46.00)" in " ".join(
        verdict(candidate, rules=strict).reasons
    )


@pytest.mark.parametrize(
    ("before", "after", "is_allowed"),
    [(0.0, 1.9, True), (0.0, 2.1, False), (5.0, 5.4, True), (5.0, 5.6, False)],
)
def test_flicker_must_not_rise_where_it_is_seen(before, after, is_allowed):
    found = verdict(evaluation(score("rain", 25, 27, flicker=(before, after))))
    assert found.is_promoted == is_allowed
    if not is_allowed:
        assert f"flickers more under rain on clips: {after:.2f} levels" in found.reasons[0]


def test_every_fault_is_a_reason():
    candidate = evaluation(score("rain", 25, 24), score("fog", 30, 29, flicker=(1, 9)))
    assert len(verdict(candidate).reasons) == 4


def test_a_decision_holds_what_it_stands_on_and_survives_json():
    incumbent = evaluation(score("rain", 25, 27), **IN_FORCE)
    found = verdict(evaluation(score("rain", 25, 28)), incumbent)
    again = type(found).model_validate_json(found.model_dump_json())
    assert again == found
    assert (again.candidate.release_digest, again.incumbent) == ("a" * 64, incumbent)
    assert again.rules == RULES


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scale": 2}, "their scale differ, 1 and 2"),
        ({"settings": EvaluationSettings(seed=3)}, "their seed differ, 0 and 3"),
        ({"subjects": ("one",)}, "their subjects differ"),
        ({"scores": (score("hail", 25, 27),)}, "their classes differ"),
        ({"digest": "a" * 64}, "the candidate is the release in force already, aaaa"),
    ],
)
def test_what_was_not_scored_alike_is_not_compared(changes, says):
    candidate = evaluation(score("rain", 25, 28))
    values = IN_FORCE | changes
    scores = values.pop("scores", (score("rain", 25, 27),))
    with pytest.raises(ReleaseError, match=says):
        verdict(candidate, evaluation(*scores, **values))
