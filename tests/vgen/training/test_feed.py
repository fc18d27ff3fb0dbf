import numpy as np
import pytest
import torch

from tests.vgen.training.toys import POOL, material
from vgen.training.feed import Feed, View, cut_sample
from vgen.training.pool import Example

VIEW = View(inputs=3, outputs=1, patch_px=16)


@pytest.fixture(scope="module")
def stills():
    return material(3)


def feed(stills, lanes=range(4), **changes):
    chosen = {"seed": 1, "num_lanes": 4, "steps_per_example": 0.5} | changes
    return Feed(stills, POOL, lanes=lanes, **chosen)


def drawn(stills, steps, view=VIEW, **changes):
    with feed(stills, **changes) as made:
        return [made.take(step, view) for step in steps]


def are_same(ours, theirs):
    return all(
        torch.equal(a.degraded_ntchw, b.degraded_ntchw)
        and torch.equal(a.clean_ntchw, b.clean_ntchw)
        for a, b in zip(ours, theirs, strict=True)
    )


def test_workers_together_see_what_one_alone_sees(stills):
    alone = drawn(stills, range(6))
    parts = [drawn(stills, range(6), lanes=lanes) for lanes in (range(1), range(1, 4))]
    for step, whole in enumerate(alone):
        for field in ("degraded_ntchw", "clean_ntchw"):
            joined = torch.cat([getattr(part[step], field) for part in parts])
            assert torch.equal(joined, getattr(whole, field))


def test_a_resumed_feed_goes_on_as_if_it_had_never_stopped(stills):
    assert are_same(drawn(stills, range(12))[7:], drawn(stills, range(7, 12)))


def test_processes_change_nothing_but_the_time(stills):
    assert are_same(drawn(stills, range(5)), drawn(stills, range(5), processes=1))


def test_seeds_and_steps_differ(stills):
    first, second = drawn(stills, range(2))
    assert not torch.equal(first.degraded_ntchw, second.degraded_ntchw)
    (other,) = drawn(stills, range(1), seed=2)
    assert not torch.equal(first.degraded_ntchw, other.degraded_ntchw)


def test_a_view_may_change_between_steps(stills):
    wide = View(inputs=5, outputs=3, patch_px=24)
    with feed(stills) as made:
        assert made.take(0, VIEW).degraded_ntchw.shape == (4, 3, 3, 16, 16)
        samples = made.take(1, wide)
    assert samples.degraded_ntchw.shape == (4, 5, 3, 24, 24)
    assert samples.clean_ntchw.shape == (4, 3, 3, 24, 24)
    assert are_same([samples], drawn(stills, [1], view=wide))


def test_no_more_examples_are_held_than_the_pool_has(stills):
    with feed(stills, lanes=range(2)) as one:
        for step in range(6):
            one.draw(step, VIEW)
            newest = POOL.size - 1 + 2 * step
            own = {i for i in range(newest + 1) if i % 4 < 2 and i > newest - POOL.size}
            assert set(one._held) == own


def test_floats_are_in_zero_to_one_on_the_device(stills):
    (samples,) = drawn(stills, [0])
    degraded, clean = samples.floats(torch.device("cpu"))
    assert degraded.dtype == clean.dtype == torch.float32
    assert clean.min() >= 0
    assert 0.2 < clean.max() <= 1


def test_waiting_is_counted(stills):
    with feed(stills) as made:
        made.take(0, VIEW)
        assert made.waited_s > 0


@pytest.mark.parametrize("scale", [1, 2])
def test_damaged_and_clean_are_cut_alike_at_any_scale(scale):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (5, 24, 24, 3)).astype(np.uint8)
    example = Example(small, small.repeat(scale, axis=1).repeat(scale, axis=2))
    for seed in range(40):
        view = View(inputs=5, outputs=3, patch_px=8)
        degraded, clean = cut_sample(example, view, np.random.default_rng(seed))
        assert np.array_equal(clean[:, :, ::scale, ::scale], degraded[1:4])


def test_the_edge_of_a_clip_is_repeated():
    ramp = np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None, None, None], (3, 8, 8, 3))
    example = Example(ramp, ramp)
    view = View(inputs=3, outputs=1, patch_px=8)
    found = set()
    for seed in range(60):
        degraded, clean = cut_sample(example, view, np.random.default_rng(seed))
        assert clean[0, 0, 0, 0] == degraded[1, 0, 0, 0]
        found.add(tuple(degraded[:, 0, 0, 0].tolist()))
    assert found == {(0, 0, 1), (0, 1, 2), (1, 2, 2)}


def test_crops_lie_on_the_grid_of_blocks_wherever_they_lie():
    rows, columns = np.indices((40, 40)).astype(np.uint8)
    picture = np.stack((rows, columns, rows), axis=-1)[None]
    view = View(inputs=1, outputs=1, patch_px=16)
    corners = set()
    for seed in range(200):
        degraded, _ = cut_sample(Example(picture, picture), view, np.random.default_rng(seed))
        corners.add((int(degraded[0, 0, 0, 0]), int(degraded[0, 1, 0, 0])))
    assert corners == {(top, left) for top in (0, 8, 16, 24) for left in (0, 8, 16, 24)}
