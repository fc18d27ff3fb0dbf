import cv2
import numpy as np
import pytest

from vgen.training.fitness import blockiness, blur_effect, greatest_change, luma, unfit_because
from vgen.training.selection import FitnessLimits

LIMITS = FitnessLimits()


def scene(seed=0, side=96):
    """Detail at every scale, as photographs have it."""
    rng = np.random.default_rng(seed)
    octaves = [
        cv2.resize(rng.normal(0, 4.0 * step, (side // step, side // step, 3)), (side, side))
        for step in (1, 2, 4, 8, 16)
    ]
    return np.clip(128 + sum(octaves), 0, 255).astype(np.uint8)


def moving(frame, frames=4):
    return np.stack([np.roll(frame, 2 * t, axis=1) for t in range(frames)])


def as_jpeg(frame, quality):
    return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (moving(scene()), None),
        (scene()[None], None),
        (moving(scene() // 8), "dark"),
        (np.repeat(scene()[None], 4, axis=0), "static"),
        (moving(cv2.GaussianBlur(scene(), (0, 0), 4)), "blurred"),
        (moving(as_jpeg(scene(), 5)), "blocky"),
        (np.full((1, 96, 96, 3), 200, np.uint8), "blurred"),
    ],
)
def test_clips_are_refused_for_their_own_fault_alone(clip, reason):
    assert unfit_because(clip, LIMITS) == reason


def test_limits_decide():
    clip = moving(cv2.GaussianBlur(scene(), (0, 0), 4))
    assert unfit_because(clip, FitnessLimits(max_blur=1.0)) is None


def test_one_frame_that_changes_is_enough_to_move():
    lumas = [luma(scene())] * 3 + [luma(scene(1))] * 3
    expected = np.abs(luma(scene()) - luma(scene(1))).mean()
    assert greatest_change(lumas) == pytest.approx(expected)


def slow_blur_effect(picture):
    """Crete et al. 2007, equations 1 to 6, pixel by pixel."""
    measures = []
    for turned in (picture, picture.T):
        rows, columns = turned.shape
        padded = np.pad(turned, ((4, 4), (0, 0)), mode="reflect")
        soft = np.array(
            [[padded[y : y + 9, x].mean() for x in range(columns)] for y in range(rows)]
        )
        steps = lost = 0.0
        for y in range(1, rows):
            for x in range(columns):
                step = abs(turned[y, x] - turned[y - 1, x])
                steps += step
                lost += max(0.0, step - abs(soft[y, x] - soft[y - 1, x]))
        measures.append((steps - lost) / steps)
    return max(measures)


def test_the_blur_effect_is_that_of_its_paper():
    picture = luma(scene(side=32))
    assert blur_effect(picture) == pytest.approx(slow_blur_effect(picture.astype(float)), abs=1e-3)


def test_more_blur_and_less_contrast_are_told_apart():
    picture = luma(scene())
    measures = [blur_effect(cv2.GaussianBlur(picture, (0, 0), s)) for s in (0.5, 1.0, 2.0, 4.0)]
    assert measures == sorted(measures)
    assert blur_effect(picture / 4) == pytest.approx(blur_effect(picture), abs=1e-4)


@pytest.mark.parametrize("offset", [0, 3, 7])
def test_a_grid_is_found_wherever_it_starts(offset):
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.normal(0, 6, (14, 14)), np.ones((8, 8)))
    noise = rng.normal(0, 3, (112, 112))
    whole = (blocks + noise + 128)[offset : offset + 96, offset : offset + 96]
    inner, across = 2 * 3 / np.sqrt(np.pi), 2 * np.sqrt(3**2 + 6**2) / np.sqrt(np.pi)
    expected = (across + 0.25) / (inner + 0.25)
    assert blockiness(whole.astype(np.float32)) == pytest.approx(expected, rel=0.12)


def test_noise_and_flat_pictures_have_no_grid():
    noise = np.random.default_rng(0).normal(128, 20, (160, 160)).astype(np.float32)
    assert blockiness(noise) < 1.1
    assert blockiness(np.full((64, 64), 90, np.float32)) == 1
