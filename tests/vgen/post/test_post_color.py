import cv2
import numpy as np
import pytest
import torch

from tests.vgen.post.shaky import row, scene
from vgen.post.color import (
    RESPONSE,
    USUAL_DETAIL,
    USUAL_MEAN,
    ColorPlan,
    Grade,
    ShotColor,
    plan_color,
)
from vgen.post.grading import Color
from vgen.post.lut import parse_cube
from vgen.post.stats import Observer, measure_picture
from vgen.post_options import ColorOptions

OPTIONS = ColorOptions()
NEUTRAL = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def graded(rows, options=OPTIONS, cuts=(), **more):
    return plan_color(rows, list(cuts), options, **more).shots


def matrix(grade):
    return np.array(grade.matrix).reshape(3, 4)


def test_an_ordinary_picture_is_left_exactly_alone():
    ((grade,),) = [shot.grades for shot in graded([row(t) for t in range(5)])]
    assert grade.matrix == NEUTRAL
    assert grade.power == 1
    frames = torch.rand(2, 3, 4, 5)
    assert Color(ColorPlan(shots=graded([row(0)])), OPTIONS).apply(frames, [0, 1]) is frames


def test_a_cast_on_gray_pictures_is_taken_out():
    gray = np.repeat(scene(64, 64)[..., :1], 3, axis=2)
    cast = (gray * np.array([1.15, 1.0, 0.87])).round().clip(0, 255).astype(np.uint8)
    stats = Observer(with_motion=False).see(0, cast)
    plan = plan_color([stats], [], ColorOptions(exposure=0))
    tensor = torch.from_numpy(cast).permute(2, 0, 1)[None] / 255
    out = Color(plan, OPTIONS).apply(tensor, [0])[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(out - gray).mean() < 0.1 * np.abs(cast.astype(float) - gray).mean()


@pytest.mark.parametrize("power", [0.7, 1.4])
def test_a_bent_curve_is_bent_back(power):
    moved = power**RESPONSE
    usual = row(0, mean_ycc=(USUAL_MEAN**moved, 0.0, 0.0), detail=USUAL_DETAIL**moved)
    (shot,) = graded([usual])
    assert shot.grades[0].power == pytest.approx(1 / power, rel=0.01)


@pytest.mark.parametrize("power", [0.7, 1.4])
def test_a_picture_is_bent_back_by_its_own_measures(power):
    """Texture in front of a bright wall, which is left alone as it is."""
    coarse = np.random.default_rng(1).uniform(0.05, 0.75, (12, 8))
    usual = np.full((192, 256), 0.65)
    usual[:, :128] = cv2.resize(coarse, (128, 192), interpolation=cv2.INTER_LINEAR)
    whole, bent = (
        (np.dstack([x] * 3) * 255).round().astype(np.uint8) for x in (usual, usual**power)
    )
    assert graded([measure_picture(whole)])[0].grades[0].power == 1
    shots = graded([measure_picture(bent)])
    tensor = torch.from_numpy(bent).permute(2, 0, 1)[None] / 255
    out = Color(ColorPlan(shots=shots), OPTIONS).apply(tensor, [0])[0, 0].numpy()
    assert np.abs(out - usual).mean() < 0.5 * np.abs(usual**power - usual).mean()


def test_brightness_that_only_one_measure_finds_unusual_is_the_scene():
    """A bright wall behind a usual subject, and a subject in the dark before a usual whole."""
    for mean, detail in ((0.64, USUAL_DETAIL), (USUAL_MEAN, 0.28)):
        (shot,) = graded([row(0, mean_ycc=(mean, 0.0, 0.0), detail=detail)])
        assert shot.grades[0].power == 1
    (opposed,) = graded([row(0, mean_ycc=(0.64, 0.0, 0.0), detail=0.28)])
    assert opposed.grades[0].power == 1


def test_the_lesser_of_two_faults_of_brightness_is_corrected():
    moved = 1.4**RESPONSE
    (both,) = graded([row(0, mean_ycc=(0.535**moved, 0.0, 0.0), detail=0.4**moved)])
    (darker,) = graded([row(0, mean_ycc=(0.35, 0.0, 0.0), detail=0.4**moved)])
    assert darker.grades[0].power == both.grades[0].power < 1


def test_a_small_deviation_of_colour_or_brightness_is_left_alone():
    moved = 1.12**RESPONSE
    small = row(
        0,
        illuminant=(0.03, 0.0, -0.03),
        mean_ycc=(0.535**moved, 0.0, 0.0),
        detail=0.4**moved,
        luma=(0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7),
    )
    (shot,) = graded([small])
    assert (shot.grades[0].matrix, shot.grades[0].power) == (NEUTRAL, 1)


def test_night_and_snow_are_not_faults_of_exposure():
    for mean, detail in ((0.2, 0.1), (0.8, 0.75)):
        (shot,) = graded([row(0, mean_ycc=(mean, 0.0, 0.0), detail=detail)])
        assert shot.grades[0].power == 1


def test_the_black_before_a_film_is_not_drawn_apart():
    black = row(0, luma=(0.0, 0.0, 0.0, 0.005, 0.01, 0.015, 0.02), mean_ycc=(0.005, 0.0, 0.0))
    (shot,) = graded([black])
    assert shot.grades[0].matrix == NEUTRAL


def test_corrections_are_clamped():
    (shot,) = graded([row(0, illuminant=(0.6, 0.0, -0.6))])
    assert np.diag(matrix(shot.grades[0])[:, :3]) == pytest.approx([0.8, 1.0, 1.25], abs=1e-5)


def test_a_dull_picture_is_drawn_apart_at_most_by_the_limit():
    dull = row(0, luma=(0.45, 0.46, 0.48, 0.5, 0.51, 0.53, 0.55))
    gain, _, _, shift = matrix(graded([dull])[0].grades[0])[0]
    assert gain == pytest.approx(1.3)
    assert 0 < gain * 0.45 + shift < gain * 0.55 + shift < 1


def test_shares_of_zero_switch_the_automatic_part_off():
    off = ColorOptions(white_balance=0, exposure=0)
    (shot,) = graded([row(0, illuminant=(0.2, 0, -0.2), mean_ycc=(0.4, 0, 0), detail=0.28)], off)
    assert (shot.grades[0].matrix, shot.grades[0].power) == (NEUTRAL, 1)


def test_a_shot_has_one_correction_and_the_next_its_own():
    rng = np.random.default_rng(0)
    rows = [row(t, illuminant=(0.1 + rng.normal(0, 0.05), 0, -0.1)) for t in range(20)]
    rows += [row(t, illuminant=(-0.12, 0, 0.1)) for t in range(20, 30)]
    first, second = graded(rows, cuts=[20])
    assert [len(shot.grades) for shot in (first, second)] == [1, 1]
    assert first.grades[0].matrix[0] < 1 < second.grades[0].matrix[0]
    assert second == graded(rows[20:])[0]


def test_a_drifting_correction_follows_slow_changes_without_flicker():
    rng = np.random.default_rng(0)
    t = np.arange(120)
    red = 0.15 + 0.05 * t / 120 + rng.normal(0, 0.03, 120)
    rows = [row(i, illuminant=(float(r), 0.0, -0.12)) for i, r in enumerate(red)]
    options = ColorOptions(drift_frames=40)
    step = Color(ColorPlan(shots=graded(rows, options)), options)
    out = step.apply(torch.full((120, 3, 1, 1), 0.5), range(120))[:, 0, 0, 0].numpy()
    assert out[-1] < out[0] - 0.01
    assert np.abs(np.diff(out, 2)).max() * 255 < 0.2


def test_frames_that_do_not_tell_the_light_follow_the_others():
    rows = [row(t, illuminant=None if t % 2 else (0.15, 0.0, -0.1)) for t in range(9)]
    assert graded(rows)[0].grades == graded(rows[::2][:1])[0].grades
    (blind,) = graded([row(0, illuminant=None)])
    assert blind.grades[0].matrix == NEUTRAL


def test_a_reference_gives_its_mean_and_spread():
    picture = scene(48, 48)
    target = (picture * 0.7 + np.array([50, 20, 30])).round().astype(np.uint8)
    reference, options = measure_picture(target), ColorOptions(reference="still.png")
    plan = plan_color([measure_picture(picture)], [], options, reference=reference)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    out = Color(plan, options).apply(tensor, [0])[0].permute(1, 2, 0).numpy()
    matched = measure_picture((out * 255).round().astype(np.uint8))
    assert matched.mean_ycc == pytest.approx(reference.mean_ycc, abs=0.004)
    assert matched.spread_ycc == pytest.approx(reference.spread_ycc, abs=0.004)


def test_what_the_options_name_must_be_given():
    with pytest.raises(ValueError, match=r"name the reference 'a\.png', got None"):
        plan_color([row(0)], [], ColorOptions(reference="a.png"))
    with pytest.raises(ValueError, match=r"name the table 'a\.cube', got None"):
        Color(ColorPlan(), ColorOptions(lut="a.cube"))


def test_settings_by_hand_do_what_they_say():
    frames = torch.rand(1, 3, 5, 7) * 0.6 + 0.1

    def by_hand(**settings):
        return Color(ColorPlan(), ColorOptions(**settings)).apply(frames, [0])

    assert torch.allclose(by_hand(gain=1.2), frames * 1.2)
    assert torch.allclose(by_hand(gamma=2.0), frames**0.5)
    gray = by_hand(saturation=0.0)
    luma = (frames * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(1, keepdim=True)
    assert torch.allclose(gray, luma.expand(-1, 3, -1, -1), atol=1e-6)
    warm = by_hand(temperature=0.5) - frames
    assert (warm[:, 0] > 0).all()
    assert (warm[:, 2] < 0).all()
    assert (by_hand(tint=-0.5)[:, 1] > frames[:, 1]).all()


def test_grades_are_interpolated_between_their_frames():
    grades = [
        Grade(frame=f, matrix=tuple(g * x for x in NEUTRAL), power=1) for f, g in ((0, 1), (4, 0.5))
    ]
    plan = ColorPlan(shots=(ShotColor(start=0, grades=tuple(grades)),))
    out = Color(plan, OPTIONS).apply(torch.full((4, 3, 1, 1), 0.8), [0, 1, 4, 9])
    assert out[:, 0, 0, 0].tolist() == pytest.approx([0.8, 0.7, 0.4, 0.4])


def test_a_table_comes_last():
    inverted = "LUT_3D_SIZE 2\n" + "\n".join(
        f"{1 - r} {1 - g} {1 - b}" for b in (0, 1) for g in (0, 1) for r in (0, 1)
    )
    frames = torch.rand(1, 3, 4, 4) * 0.5
    options = ColorOptions(lut="x.cube", gain=2.0)
    step = Color(ColorPlan(), options, lut=parse_cube(inverted, uri="x.cube"))
    assert torch.allclose(step.apply(frames, [0]), 1 - 2 * frames, atol=1e-6)
