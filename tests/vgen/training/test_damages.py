import cv2
import numpy as np
import pytest
import torch

from vgen.errors import ConfigError
from vgen.training.damages import (
    ENLARGED,
    UNCHANGED_SIZE,
    classes_for,
    enlarge,
    shrink,
    to_tchw,
    to_thwc,
)

BY_NAME = {one.name: one for one in UNCHANGED_SIZE}


def grey(level=128, frames=3, side=64):
    return np.full((frames, side, side, 3), level, np.uint8)


@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_noise_has_the_strength_its_name_says(sigma):
    damaged = BY_NAME[f"noise {sigma}"].apply(grey(), np.random.default_rng(0))
    levels = damaged * 255
    assert torch.equal(levels.round(), levels)
    assert float(levels.std()) == pytest.approx(sigma, rel=0.02)


def test_unclipped_noise_leaves_the_range_and_clipped_noise_does_not():
    white = grey(255)
    free = BY_NAME["noise 25 unclipped"].apply(white, np.random.default_rng(0))
    assert float((free - 1).std() * 255) == pytest.approx(25, rel=0.02)
    assert float(free.mean()) == pytest.approx(1, abs=0.005)
    assert float(BY_NAME["noise 25"].apply(white, np.random.default_rng(0)).max()) == 1


def test_every_class_keeps_shape_and_repeats_itself():
    rng = np.random.default_rng(3)
    clip = rng.integers(0, 256, (2, 32, 48, 3)).astype(np.uint8)
    for damage in (*UNCHANGED_SIZE, *ENLARGED):
        once, again = (damage.apply(clip, np.random.default_rng(7)) for _ in range(2))
        assert once.shape == (2, 3, 32, 48)
        assert once.dtype == torch.float32
        assert torch.equal(once, again), damage.name
        assert torch.equal(once, to_tchw(clip)) == (damage.name in {"none", "bicubic"})


def test_coding_at_a_higher_crf_costs_more():
    rng = np.random.default_rng(3)
    still = cv2.resize(rng.integers(40, 200, (8, 8), dtype=np.uint8), (64, 64))
    clip = np.repeat(np.repeat(still[None, ..., None], 3, axis=0), 3, axis=3)
    errors = [
        float((BY_NAME[f"x264 crf {crf}"].apply(clip, rng) - to_tchw(clip)).square().mean())
        for crf in (15, 28, 35)
    ]
    assert errors == sorted(errors)
    assert errors[0] < errors[2] / 2


def test_bytes_survive_the_way_to_floats_and_back():
    clip = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    assert np.array_equal(to_thwc(to_tchw(clip)), clip)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_ramp_stays_the_ramp_at_other_sizes(scale):
    """Pixel x of the small one lies between the pixels of the large one that it stands for."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, None, :, None] * 3, (1, 64, 64, 3))
    small = shrink(ramp, scale)
    assert small.shape == (1, 64 // scale, 64 // scale, 3)
    centres = (np.arange(64 // scale) + 0.5) * scale - 0.5
    inner = slice(4, -4)
    assert np.abs(small[0, 5, inner, 0] - 3 * centres[inner]).max() <= 0.5
    large = enlarge(to_tchw(ramp), scale)[0, 0, 5] * 255
    places = (np.arange(64 * scale) + 0.5) / scale - 0.5
    inner = slice(4 * scale, -4 * scale)
    assert np.abs(large.numpy()[inner] - 3 * places[inner]).max() < 1e-2


def test_a_bicubic_step_overshoots_as_keys_kernel_says():
    """At a = -0.5 the response between two equal pixels beside a step is 1/16 over it."""
    step = torch.zeros(1, 3, 8, 16)
    step[..., 8:] = 1
    row = enlarge(step, 2)[0, 0, 8]

    # Taps at distances 1.25, 0.25, 0.75 and 1.75.
    def keys(x):
        near = 1.5 * x**3 - 2.5 * x**2 + 1
        return near if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2

    weights = [keys(x) for x in (1.25, 0.25, 0.75, 1.75)]
    assert sum(weights) == pytest.approx(1)
    assert float(row[15]) == pytest.approx(sum(weights[2:]), abs=1e-6)
    assert float(row[13]) == pytest.approx(weights[3], abs=1e-6)


def test_nothing_changes_at_scale_one():
    clip = grey()
    assert shrink(clip, 1) is clip
    assert enlarge(to_tchw(clip), 1).shape == (3, 3, 64, 64)


def test_classes_are_chosen_by_name():
    assert [one.name for one in classes_for(1, ("none", "noise 15"))] == ["noise 15", "none"]
    assert classes_for(2) == ENLARGED
    known = "there are 'noise 25 unclipped', 'noise 15'"
    with pytest.raises(ConfigError, match=f"no class of damage 'rain'; {known}"):
        classes_for(1, ("rain",))
    with pytest.raises(ConfigError, match="there are 'bicubic'"):
        classes_for(4, ("noise 15",))
