from dataclasses import replace

import pytest
from pydantic import ValidationError

from vgen.post_options import (
    DENOISE_REACH,
    STEPS,
    ColorOptions,
    DenoiseOptions,
    Needs,
    PostSettings,
)

NOTHING = Needs(frames=False, every_frame=False, motion=False, light=False, noise=False)
LOOKS = Needs(frames=True, every_frame=False, motion=False, light=False, noise=False)
FRAMES = Needs(frames=True, every_frame=True, motion=False, light=False, noise=False)


def needs_of(*steps, **tables):
    return PostSettings(steps=steps, **tables).needs


def test_an_unknown_step_is_refused_with_the_valid_ones():
    with pytest.raises(ValidationError) as caught:
        PostSettings(steps=("color", "blur"))
    assert all(f"'{step}'" in str(caught.value) for step in STEPS)


def test_a_step_given_twice_is_refused():
    with pytest.raises(ValidationError, match="step 'color' is given twice"):
        PostSettings(steps=("color", "grain", "color"))


def test_only_what_the_steps_need_is_measured():
    assert needs_of() == needs_of("sharpen", "grain") == NOTHING
    assert needs_of("stabilize") == replace(FRAMES, motion=True)
    assert needs_of("denoise") == replace(FRAMES, noise=True)
    assert needs_of("deflicker") == needs_of("color", "deflicker") == replace(FRAMES, light=True)
    assert needs_of("color") == needs_of("color", "grain") == LOOKS


def test_what_is_given_is_not_measured():
    known = needs_of("denoise", denoise=DenoiseOptions(sigma=5))
    assert known == FRAMES
    by_hand = ColorOptions(white_balance=0, exposure=0, gain=1.2)
    assert needs_of("color", color=by_hand) == NOTHING
    matched = by_hand.model_copy(update={"reference": "still.png"})
    assert needs_of("color", color=matched).frames


def test_a_span_needs_what_denoise_looks_at_and_the_frame_that_a_measure_compares_with():
    reaches = {step: PostSettings(steps=(step,)).reach for step in STEPS}
    measured = dict.fromkeys(("deflicker", "color", "stabilize"), 1)
    assert reaches == {"sharpen": 0, "grain": 0, "denoise": DENOISE_REACH} | measured
    assert PostSettings(steps=("color", "denoise")).reach == DENOISE_REACH


def test_a_step_can_be_left_out():
    settings = PostSettings(steps=("grain", "color", "sharpen"))
    assert settings.without("color").steps == ("grain", "sharpen")


def test_a_table_without_its_step_is_idle():
    settings = PostSettings.model_validate({"steps": ["color"], "color": {}, "grain": {}})
    assert settings.idle == ("grain",)
    assert PostSettings().idle == ()
