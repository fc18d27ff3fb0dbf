"""Whether a candidate takes the place of the release in force, and why.

Both are scored on the same clips with the same seed. The first release of a name is held against
the damaged input itself. Scores above a ceiling count as the ceiling: beyond it nobody sees a
difference, and a clean clip that is returned unchanged would outweigh everything else.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vgen.errors import ReleaseError
from vgen.records import Record
from vgen.training.scores import CEILING_DB, ClassScore, Evaluation, Measures

UNSEEN_FLICKER = 2.0
"""Temporal difference in 8-bit levels that is let pass whatever the incumbent has."""


class PromotionRules(BaseModel):
    """What a candidate must reach. Gains are of RGB PSNR, in decibels, by class and kind."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    min_mean_gain_db: float = 0.05
    """Smallest gain in the mean over all classes."""
    max_class_loss_db: Annotated[float, Field(ge=0)] = 0.2
    """Largest loss in any class."""
    ceiling_db: Annotated[float, Field(gt=0)] = CEILING_DB
    """PSNR from which on more does not count."""
    max_flicker_rise: Annotated[float, Field(ge=0)] = 0.1
    """Largest rise of the temporal difference of clips in any class, as a share; below two
    levels it does not count."""


class ClassGain(Record):
    """What the candidate gains in one class."""

    name: str
    before_db: float
    """Of what it is held against, at most the ceiling."""
    after_db: float
    """Of the candidate, at most the ceiling."""
    gain_db: float
    flicker_before: float
    flicker_after: float


class Decision(Record):
    """Yes or no, the reasons, and everything they stand on."""

    format_version: Literal[1] = 1
    name: str
    is_promoted: bool
    reasons: tuple[str, ...]
    mean_gain_db: float
    gains: tuple[ClassGain, ...]
    against: str
    """Name and digest of the release in force, or ``the input``."""
    rules: PromotionRules
    candidate: Evaluation
    incumbent: Evaluation | None


def decide(
    name: str, candidate: Evaluation, incumbent: Evaluation | None, rules: PromotionRules
) -> Decision:
    """Compare two evaluations of one set of clips; without an incumbent, after with before.

    Raises:
        ReleaseError: the two were not scored alike, enlarge differently, or are one and the same.
    """
    if incumbent is not None:
        _check_alike(candidate, incumbent)
    gains = [_gain(score, _rival(score, incumbent), rules.ceiling_db) for score in candidate.scores]
    mean_gain_db = sum(gain.gain_db for gain in gains) / len(gains)
    against = "the input"
    if incumbent is not None:
        against = f"{incumbent.release} {incumbent.release_digest[:16]}"
    faults = _faults(gains, mean_gain_db, rules)
    worst_db = min(gain.gain_db for gain in gains)
    gained = f"gains {mean_gain_db:+.2f} dB in the mean of {len(gains)} classes over {against}"
    reasons = faults or (f"{gained}, {worst_db:+.2f} dB in the worst",)
    return Decision(
        name=name,
        is_promoted=not faults,
        reasons=reasons,
        mean_gain_db=mean_gain_db,
        gains=tuple(gains),
        against=against,
        rules=rules,
        candidate=candidate,
        incumbent=incumbent,
    )


def _check_alike(candidate: Evaluation, incumbent: Evaluation) -> None:
    if candidate.release_digest == incumbent.release_digest:
        raise ReleaseError(
            f"the candidate is the release in force already, {incumbent.release_digest[:16]}"
        )
    facts: tuple[tuple[str, Callable[[Evaluation], object]], ...] = (
        ("scale", lambda one: one.scale),
        ("seed", lambda one: one.settings.seed),
        ("subjects", lambda one: one.subjects),
        ("classes", lambda one: [score.name for score in one.scores]),
    )
    for what, fact in facts:
        if fact(candidate) != fact(incumbent):
            raise ReleaseError(
                f"candidate and release in force cannot be compared: their {what} differ, "
                f"{fact(candidate)} and {fact(incumbent)}"
            )


def _rival(score: ClassScore, incumbent: Evaluation | None) -> Measures:
    if incumbent is None:
        return score.before
    return next(one.after for one in incumbent.scores if one.name == score.name)


def _gain(score: ClassScore, rival: Measures, ceiling_db: float) -> ClassGain:
    before_db = min(rival.psnr_rgb_db, ceiling_db)
    after_db = min(score.after.psnr_rgb_db, ceiling_db)
    return ClassGain(
        name=score.name,
        before_db=before_db,
        after_db=after_db,
        gain_db=after_db - before_db,
        flicker_before=rival.temporal_difference,
        flicker_after=score.after.temporal_difference,
    )


def _faults(gains: list[ClassGain], mean_gain_db: float, rules: PromotionRules) -> tuple[str, ...]:
    faults = []
    if mean_gain_db < rules.min_mean_gain_db:
        faults.append(
            f"gains {mean_gain_db:+.2f} dB in the mean, {rules.min_mean_gain_db:+.2f} are needed"
        )
    for gain in gains:
        if gain.gain_db < -rules.max_class_loss_db:
            faults.append(
                f"loses {-gain.gain_db:.2f} dB under {gain.name} ({gain.before_db:.2f} to "
                f"{gain.after_db:.2f}), {rules.max_class_loss_db:.2f} are allowed"
            )
        allowed = max(UNSEEN_FLICKER, gain.flicker_before * (1 + rules.max_flicker_rise))
        if gain.flicker_after > allowed:
            faults.append(
                f"flickers more under {gain.name}: {gain.flicker_after:.2f} levels, "
                f"{allowed:.2f} are allowed"
            )
    return tuple(faults)
