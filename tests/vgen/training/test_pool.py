from dataclasses import fields

import numpy as np
import pytest
import torch

from vgen.training.choices import Mix, PoolSettings
from vgen.training.clips import Material, load_material
from vgen.training.pool import make_example

SMALL = PoolSettings(size=6, frames=4, side_px=32)
CLEAN = Mix(**{field.name: float(field.name == "clean") for field in fields(Mix)})


@pytest.fixture(scope="module")
def material(data_path):
    return load_material(data_path)


def test_an_example_depends_on_seed_and_index_alone(material):
    first = make_example(material, SMALL, seed=3, index=7)
    again = make_example(material, SMALL, seed=3, index=7)
    other = make_example(material, SMALL, seed=3, index=8)
    assert np.array_equal(first.degraded_thwc, again.degraded_thwc)
    assert np.array_equal(first.clean_thwc, again.clean_thwc)
    assert not np.array_equal(first.clean_thwc, other.clean_thwc)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_clean_picture_shows_what_the_damaged_one_does_at_any_scale(scale):
    # Gray, as half of what is clean loses the finest of its colours.
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 1)).astype(np.uint8)
    large = frames.repeat(3, axis=3).repeat(4, axis=1).repeat(4, axis=2)
    settings = PoolSettings(size=2, frames=4, side_px=32, mix=CLEAN, scale=scale)
    example = make_example(Material((), (large,)), settings, seed=0, index=0)
    assert example.degraded_thwc.shape == (4, 32, 32, 3)
    assert example.clean_thwc.shape == (4, 32 * scale, 32 * scale, 3)
    clean = torch.from_numpy(example.clean_thwc).movedim(-1, 1).float()
    shrunk = torch.nn.functional.avg_pool2d(clean, scale)
    damaged = torch.from_numpy(example.degraded_thwc).movedim(-1, 1).float()
    difference = (shrunk - damaged).abs().mean()
    assert difference < 0.5 * (shrunk - damaged.flip(-1)).abs().mean()


def test_pictures_are_turned_mirrored_reversed_and_recoloured_before_their_damage():
    """Each of two frames has a mark of its own in a corner; a square of 32 is all of a run."""
    run = np.zeros((2, 32, 32, 3), np.uint8)
    run[0, :8, :16] = (200, 100, 50)
    run[1, :8, :16] = (100, 50, 25)
    settings = PoolSettings(size=2, frames=2, side_px=32, mix=CLEAN)
    seen = set()
    for index in range(400):
        example = make_example(Material((), (run,)), settings, seed=0, index=index)
        clean = example.clean_thwc
        first = int(clean[0].max() > clean[1].max())
        brightest = int(clean[1 - first].reshape(-1, 3).max(0).argmax())
        shape = clean[1 - first].max(-1) > 0
        seen.add((first, brightest, shape.tobytes()))
        difference = clean.astype(int) - example.degraded_thwc
        assert np.abs(difference).mean() < 3  # the damage is of the picture as it was turned
    assert {first for first, _, _ in seen} == {0, 1}
    assert {colour for _, colour, _ in seen} == {0, 1, 2}
    assert len({shape for _, _, shape in seen}) == 8


@pytest.mark.parametrize("change", [{"size": 0}, {"side_px": 30}, {"frames": 0}])
def test_impossible_pools_are_refused(change):
    with pytest.raises(ValueError, match="multiple of 4"):
        PoolSettings(**change)


def test_a_scale_without_networks_is_refused():
    with pytest.raises(ValueError, match="scale must be 1, 2 or 4, got 3"):
        PoolSettings(scale=3)
