import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vgen.post.shaky import row, scene, shown_from
from vgen.post.deflicker import Deflicker, DeflickerPlan, plan_deflicker, smoothed
from vgen.post.stats import Observer
from vgen.post_options import DeflickerOptions

OPTIONS = DeflickerOptions()


def rows(light):
    steps = np.diff(np.log(light), prepend=np.log(light[0]))
    return [row(t, log_gain=float(step)) for t, step in enumerate(steps)]


def deviation(light, cuts=()):
    """How unsteady ``light`` is after the correction, in logarithms."""
    return np.log(light * np.array(plan_deflicker(rows(light), list(cuts), OPTIONS).gains))


@pytest.mark.parametrize("size", [0.03, 0.08])
def test_random_flicker_falls_by_more_than_85_percent(size):
    rng = np.random.default_rng(0)
    light = 1 + size * rng.uniform(-1, 1, 200)
    assert deviation(light).std() < 0.15 * np.log(light).std()


def test_mains_flicker_falls_by_more_than_85_percent():
    light = 1 + 0.05 * np.sin(2 * np.pi * np.arange(200) / 6.3)
    assert deviation(light).std() < 0.15 * np.log(light).std()


def test_a_straight_fade_is_kept_to_a_thousandth():
    fade = np.exp(np.linspace(0, -1.5, 90))
    assert np.array(plan_deflicker(rows(fade), [], OPTIONS).gains) == pytest.approx(1, abs=1e-3)


def test_the_ends_of_a_fade_are_nearly_kept():
    fade = np.interp(np.arange(120), [40, 80], [1.0, 0.5])
    gains = np.array(plan_deflicker(rows(fade), [], OPTIONS).gains)
    assert np.abs(gains - 1).max() < 0.07
    assert np.abs(gains - 1).mean() < 0.02


def test_light_on_either_side_of_a_cut_stays_different():
    rng = np.random.default_rng(0)
    light = np.concatenate([np.full(60, 1.0), np.full(60, 0.4)])
    light *= 1 + 0.05 * rng.uniform(-1, 1, 120)
    gains = np.array(plan_deflicker(rows(light), [60], OPTIONS).gains)
    assert (light * gains)[50:60] == pytest.approx(1.0, abs=0.03)
    assert (light * gains)[60:70] == pytest.approx(0.4, abs=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 70), st.floats(0.26, 2.0), st.booleans())
def test_a_light_that_is_switched_and_stays_so_is_kept_exactly(at, change, is_on):
    light = np.ones(80)
    light[at:] = np.exp(change if is_on else -change)
    assert plan_deflicker(rows(light), [], OPTIONS).gains == (1.0,) * 80


@pytest.mark.parametrize("size", [0.03, 0.08])
def test_flicker_on_either_side_of_a_switched_light_falls_and_the_light_stays(size):
    switched = np.concatenate([np.full(60, 1.0), np.full(60, 0.5)])
    light = switched * (1 + size * np.random.default_rng(0).uniform(-1, 1, 120))
    left = deviation(light) - np.log(switched)
    assert left.std() < 0.3 * (np.log(light) - np.log(switched)).std()
    assert np.abs(left).max() < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_flicker_on_a_fade_makes_no_switch_of_it(seed):
    flicker = 1 + 0.08 * np.random.default_rng(seed).uniform(-1, 1, 120)
    fade = np.interp(np.arange(120), [40, 80], [1.0, 0.5])
    left = deviation(fade * flicker) - np.log(fade)
    assert np.abs(left).max() < 0.08
    assert left.std() < 0.03


@pytest.mark.parametrize("frames", [1, 4])
def test_a_light_that_goes_on_for_a_moment_is_no_switch(frames):
    light = np.ones(80)
    light[40 : 40 + frames] = 1.3
    gains = np.array(plan_deflicker(rows(light), [], OPTIONS).gains)
    assert gains[40 : 40 + frames].max() < 0.95


def test_what_cannot_be_compared_counts_as_unchanged_and_is_counted():
    steps = [None, 0.05, None, -0.05, 0.02, None, 0.01]
    plan = plan_deflicker([row(t, log_gain=step) for t, step in enumerate(steps)], [2], OPTIONS)
    known = [row(t, log_gain=step or 0.0) for t, step in enumerate(steps)]
    assert plan.gains == plan_deflicker(known, [2], OPTIONS).gains
    # Those that start a shot have nothing to be compared with.
    assert plan.unclear == 1


def test_a_flash_is_changed_no_more_than_asked():
    light = np.ones(50)
    light[25] = 3.0
    gains = plan_deflicker(rows(light), [], DeflickerOptions(max_change=0.1)).gains
    assert min(gains) == pytest.approx(1 / 1.1, abs=1e-6)


def test_waves_are_halved_at_the_period_that_the_option_names():
    # Small enough to be no bend, so that the plain smoother is seen.
    wave = 1e-5 * np.sin(2 * np.pi * np.arange(400) / 40)
    slow = smoothed(wave, half_period=20)
    assert np.ptp(slow[100:300]) / np.ptp(wave) == pytest.approx(0.5, abs=0.02)


def test_two_frames_have_no_flicker():
    assert plan_deflicker(rows([1.0, 1.2]), [], OPTIONS).gains == (1.0, 1.0)
    assert plan_deflicker([], [], OPTIONS) == DeflickerPlan()


def test_frames_are_multiplied_by_their_gains_and_others_stay():
    frames = torch.rand(4, 3, 4, 6)
    step = Deflicker(DeflickerPlan(first=6, gains=(1.5, 0.5)))
    out = step.apply(frames, [5, 6, 7, 8])
    assert torch.equal(out[0], frames[0])
    assert torch.allclose(out[1], frames[1] * 1.5)  # what exceeds white is cut when it is coded
    assert torch.allclose(out[2], frames[2] / 2)
    assert torch.equal(out[3], frames[3])
    untouched = frames[:1]
    assert step.apply(untouched, [5]) is untouched


def test_flicker_is_told_from_a_moving_camera_a_cut_and_a_fade():
    rng = np.random.default_rng(0)
    still = (scene(256, 400) * np.linspace(0.3, 1.2, 400)[None, :, None]).clip(0, 255)
    # A pan that shakes: even the clean frames change their mean from one to the next.
    places = np.linspace([60, 60], [180, 60], 80) + rng.uniform(-4, 4, (80, 2))
    clean = np.stack([shown_from(still.astype(np.uint8), x, y, (96, 160)) for x, y in places])
    clean[40:] = clean[40:, ::-1] * np.linspace(0.9, 0.6, 40)[:, None, None, None]
    means = clean.mean(axis=(1, 2, 3))
    assert np.diff(np.log(means[:40])).std() > 0.008
    light = 1 + 0.04 * rng.uniform(-1, 1, 80)
    shaky = (clean * light[:, None, None, None]).round().clip(0, 255).astype(np.uint8)
    observer = Observer(with_motion=False, with_light=True)
    stats = [observer.see(t, picture, starts_shot=t == 40) for t, picture in enumerate(shaky)]
    plan = plan_deflicker(stats, [40], OPTIONS)
    assert plan.unclear == 0
    left = np.log(light * np.array(plan.gains))
    for shot in (slice(0, 40), slice(40, 80)):
        assert np.diff(left[shot]).std() < 0.15 * np.diff(np.log(light[shot])).std()
        assert np.abs(left[shot]).max() < 0.03  # slow, and the fade by a third stays
