from dataclasses import fields

import numpy as np
import pytest
import torch

from vgen.training.clips import Material, load_material
from vgen.training.degrade import Mix
from vgen.training.pool import ExamplePool, PoolSettings, make_example

SMALL = PoolSettings(size=6, frames=4, side_px=32)
CLEAN = Mix(**{field.name: float(field.name == "clean") for field in fields(Mix)})


@pytest.fixture(scope="module")
def material(data_path):
    return load_material(data_path)


def batches(pool, steps, **changes):
    arguments = {"batch": 3, "window": 3, "patch_px": 16} | changes
    drawn = []
    for step in steps:
        pool.advance(SMALL.size + step)
        drawn.append(pool.draw_batch(step=step, **arguments))
    return drawn


def test_an_example_depends_on_seed_and_index_alone(material):
    first = make_example(material, SMALL, seed=3, index=7)
    again = make_example(material, SMALL, seed=3, index=7)
    other = make_example(material, SMALL, seed=3, index=8)
    assert np.array_equal(first.degraded_thwc, again.degraded_thwc)
    assert np.array_equal(first.clean_thwc, again.clean_thwc)
    assert not np.array_equal(first.clean_thwc, other.clean_thwc)


def test_batches_do_not_depend_on_how_many_processes_make_examples(material):
    with (
        ExamplePool(material, SMALL, seed=1) as alone,
        ExamplePool(material, SMALL, seed=1, workers=1) as helped,
    ):
        for a, b in zip(batches(alone, range(20)), batches(helped, range(20)), strict=True):
            assert torch.equal(a.degraded_ntchw, b.degraded_ntchw)
            assert torch.equal(a.clean_nchw, b.clean_nchw)


def test_a_pool_that_starts_late_gives_the_batches_of_one_that_never_stopped(material):
    with (
        ExamplePool(material, SMALL, seed=1) as steady,
        ExamplePool(material, SMALL, seed=1) as resumed,
    ):
        expected = batches(steady, range(15))[9:]
        for a, b in zip(expected, batches(resumed, range(9, 15)), strict=True):
            assert torch.equal(a.degraded_ntchw, b.degraded_ntchw)


def test_batches_have_their_shape_range_and_layout(material):
    with ExamplePool(material, SMALL, seed=1) as pool:
        (batch,) = batches(pool, [0], batch=5, window=3)
    assert batch.degraded_ntchw.shape == (5, 3, 3, 16, 16)
    assert batch.clean_nchw.shape == (5, 3, 16, 16)
    assert batch.degraded_ntchw.dtype == torch.float32
    assert batch.degraded_ntchw.min() >= 0
    assert 0.2 < batch.degraded_ntchw.max() <= 1


def test_the_clean_picture_is_the_centre_of_the_window_turned_alike(material):
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3)).astype(np.uint8)
    settings = PoolSettings(size=4, frames=4, side_px=32, mix=CLEAN)
    with ExamplePool(Material((), (frames,)), settings, seed=0) as pool:
        pool.advance(4)
        batch = pool.draw_batch(step=0, batch=40, window=3, patch_px=16)
    # Untouched or 4:2:0 alone: where untouched, centre and target are the same pixels.
    same = (batch.degraded_ntchw[:, 1] == batch.clean_nchw).flatten(1).all(1)
    assert same.sum() >= 5
    neighbours = batch.degraded_ntchw[same][:, 0], batch.degraded_ntchw[same][:, 2]
    differs = (neighbours[0] != neighbours[1]).flatten(1).any(1)
    assert differs.all()


@pytest.mark.parametrize("scale", [2, 4])
def test_a_larger_clean_picture_shows_what_the_damaged_one_does(scale):
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3)).astype(np.uint8)
    large = frames.repeat(4, axis=1).repeat(4, axis=2)
    settings = PoolSettings(size=2, frames=4, side_px=32, mix=CLEAN, scale=scale)
    with ExamplePool(Material((), (large,)), settings, seed=0) as pool:
        pool.advance(2)
        batch = pool.draw_batch(step=0, batch=10, window=3, patch_px=16)
    assert batch.degraded_ntchw.shape == (10, 3, 3, 16, 16)
    assert batch.clean_nchw.shape == (10, 3, 16 * scale, 16 * scale)
    shrunk = torch.nn.functional.avg_pool2d(batch.clean_nchw, scale)
    difference = (shrunk - batch.degraded_ntchw[:, 1]).abs().mean()
    assert difference < 0.5 * (shrunk - batch.degraded_ntchw[:, 1].flip(-1)).abs().mean()


def test_at_the_edges_of_an_example_the_edge_frame_is_repeated():
    levels = np.array([10, 80, 150, 220], np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (4, 40, 40, 3))
    settings = PoolSettings(size=2, frames=4, side_px=32, mix=CLEAN)
    with ExamplePool(Material((), (frames,)), settings, seed=0) as pool:
        pool.advance(2)
        batch = pool.draw_batch(step=0, batch=60, window=3, patch_px=16)
    seen = {
        tuple(round(v * 255 / 70) for v in window.tolist())
        for window in batch.degraded_ntchw.mean((2, 3, 4))
    }
    forward = {(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 3)}
    assert seen == forward | {window[::-1] for window in forward}


def test_a_pool_does_not_go_back(material):
    with ExamplePool(material, SMALL, seed=1) as pool:
        pool.advance(10)
        with pytest.raises(ValueError, match="pool of 10 examples cannot go back to 9"):
            pool.advance(9)


@pytest.mark.parametrize("change", [{"size": 0}, {"side_px": 30}, {"frames": 0}])
def test_impossible_pools_are_refused(change):
    with pytest.raises(ValueError, match="multiple of 4"):
        PoolSettings(**change)


def test_a_scale_without_networks_is_refused():
    with pytest.raises(ValueError, match="scale must be 1, 2 or 4, got 3"):
        PoolSettings(scale=3)
