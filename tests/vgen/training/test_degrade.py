import subprocess
import sys
import zlib
from dataclasses import asdict, fields

import cv2
import numpy as np
import pytest

from tests.vgen.training.pictures import rms, textured_clip
from vgen.training.choices import Mix
from vgen.training.degrade import KINDS as DAMAGES
from vgen.training.degrade import degrade_clip, shrink_clip

KINDS = [field.name for field in fields(Mix)]
OFF_BY_DEFAULT = {"tape", "interlaced"}


def only(kind):
    return Mix(**{name: float(name == kind) for name in KINDS})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_shape_and_type_and_repeats_with_its_seed(kind):
    clip = textured_clip()
    for seed in range(6):
        first = degrade_clip(clip, only(kind), np.random.default_rng(seed))
        again = degrade_clip(clip, only(kind), np.random.default_rng(seed))
        assert first.shape == clip.shape
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)


def test_every_share_stands_for_a_kind():
    assert set(DAMAGES) == set(KINDS)


def test_kinds_for_special_archives_are_off_by_default():
    assert {kind for kind, share in asdict(Mix()).items() if share == 0} == OFF_BY_DEFAULT


def checksums():
    """A line a kind; also run by a process of its own."""
    for kind, damage in DAMAGES.items():
        clip = damage(textured_clip(), np.random.default_rng(3))
        yield f"{kind} {zlib.crc32(np.ascontiguousarray(clip))}\n"


def test_the_same_seed_gives_the_same_damage_in_another_process():
    code = "from tests.vgen.training.test_degrade import checksums; print(*checksums(), sep='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "".join(checksums()).strip()


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("kind", ["clean", "codec", "twice", "tape"])
def test_a_larger_task_damages_a_smaller_picture(kind, scale):
    clip = textured_clip(side=32 * scale)
    damaged = degrade_clip(clip, only(kind), np.random.default_rng(0), scale=scale)
    assert damaged.shape == (5, 32, 32, 3)
    assert damaged.dtype == np.uint8


@pytest.mark.parametrize("scale", [2, 4])
def test_shrinking_is_a_cubic_over_as_many_pixels_as_it_merges(scale):
    """Keys' kernel with a = -0.5, widened by the scale, as Matlab's imresize has it."""
    clip = np.random.default_rng(0).integers(60, 190, (1, 40, 48, 3)).astype(np.uint8)
    expected = clip[0].astype(float)
    for axis in (0, 1):
        expected = np.apply_along_axis(slow_shrink, axis, expected, scale)
    small = shrink_clip(clip, scale)
    assert small.shape == (1, 40 // scale, 48 // scale, 3)
    assert np.abs(small[0] - expected).max() <= 0.51


def slow_shrink(line, scale):
    def keys(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    made = []
    for place in range(len(line) // scale):
        centre = (place + 0.5) * scale - 0.5
        near = [i for i in range(len(line)) if abs(i - centre) < 2 * scale]
        weights = np.array([keys((i - centre) / scale) for i in near])
        made.append(line[near] @ weights / weights.sum())
    return np.array(made)


def test_a_size_that_the_scale_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="48x50 is no multiple of scale=4"):
        shrink_clip(np.zeros((1, 50, 48, 3), np.uint8), 4)


def test_the_second_round_leaves_a_picture_and_damages_it():
    clip = textured_clip()
    for seed in range(10):
        damaged = degrade_clip(clip, only("twice"), np.random.default_rng(seed))
        assert rms(damaged, clip) > 2
        wide = cv2.GaussianBlur(damaged[0], (0, 0), 8).astype(float)
        assert rms(wide, cv2.GaussianBlur(clip[0], (0, 0), 8)) < 20


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"clean"}))
def test_every_kind_of_damage_changes_the_picture(kind):
    clip = textured_clip()
    assert rms(degrade_clip(clip, only(kind), np.random.default_rng(1)), clip) > 0


def test_near_clean_pictures_are_near():
    clip = textured_clip()
    errors = [
        rms(degrade_clip(clip, only("near_clean"), np.random.default_rng(seed)), clip)
        for seed in range(10)
    ]
    strong = [
        rms(degrade_clip(clip, only("codec"), np.random.default_rng(seed)), clip)
        for seed in range(10)
    ]
    assert np.median(errors) < 0.5 * np.median(strong)


def test_the_input_is_never_written_to():
    clip = textured_clip()
    clip.flags.writeable = False
    for kind in KINDS:
        degrade_clip(clip, only(kind), np.random.default_rng(0))


def test_kinds_come_in_their_shares():
    mix = Mix(**(dict.fromkeys(KINDS, 0.0) | {"clean": 3.0, "noise": 1.0}))
    clip = np.full((1, 16, 16, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    noisy = sum(rms(degrade_clip(clip, mix, rng), clip) > 0.6 for _ in range(400))
    assert 70 <= noisy <= 130


def test_the_default_shares_sum_to_one():
    assert sum(asdict(Mix()).values()) == pytest.approx(1)


@pytest.mark.parametrize("shares", [{"noise": -0.1}, dict.fromkeys(KINDS, 0.0)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(ValueError, match="shares must not be negative and not all 0"):
        Mix(**shares)
