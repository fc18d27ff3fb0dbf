import numpy as np
import pytest

from tests.vgen.training.pictures import textured_clip
from vgen.training.degrade_tape import (
    DROPOUT_PX,
    double_field,
    draw_interlaced,
    draw_tape,
    line_offsets,
    lose_coating,
    ring,
    shift_lines,
    smear,
    weave,
)

LUMA = np.array([0.299, 0.587, 0.114])


def numbered_frames(frames=4, height=10, width=8):
    clip = np.zeros((frames, height, width, 3), np.uint8)
    clip[..., 0] = 10 * np.arange(frames)[:, None, None]
    clip[..., 1] = 20 * np.arange(height)[:, None]
    return clip


def test_woven_frames_take_every_second_line_from_the_frame_after():
    clip = numbered_frames()
    woven = weave(clip)
    assert (woven[..., 1] == clip[..., 1]).all()
    for number in range(4):
        assert (woven[number, ::2, :, 0] == 10 * number).all()
        assert (woven[number, 1::2, :, 0] == 10 * min(number + 1, 3)).all()


@pytest.mark.parametrize("height", [10, 11])
def test_a_doubled_field_is_the_even_lines_and_their_means(height):
    clip = numbered_frames(height=height)
    doubled = double_field(clip)
    assert (doubled[:, ::2] == clip[:, ::2]).all()
    # A ramp is its own interpolation, but below the last even line there is nothing.
    inner = height - 1 if height % 2 == 0 else height
    assert (doubled[:, :inner] == clip[:, :inner]).all()
    if height % 2 == 0:
        assert (doubled[:, -1] == doubled[:, -2]).all()


def test_ringing_overshoots_at_an_edge_along_the_line_only():
    edge = np.zeros((9, 64), np.float32)
    edge[:, 32:] = 100
    rung = ring(edge, softness_px=1.0, strength=0.6)
    assert rung.max() > 105
    assert rung.min() < -5
    np.testing.assert_allclose(rung, np.broadcast_to(rung[4], rung.shape), atol=1e-3)
    assert np.abs(rung[:, [0, -1]] - edge[:, [0, -1]]).max() < 0.5


def test_colour_comes_late_low_and_narrow():
    plane = np.zeros((40, 64), np.float32)
    plane[10, 32] = 80
    moved = smear(plane, narrowing=4, delay_px=3.0, drop_px=2)
    rows, columns = np.indices(plane.shape)
    assert moved.sum() == pytest.approx(plane.sum(), rel=0.02)
    assert (rows * moved).sum() / moved.sum() == pytest.approx(12, abs=0.1)
    assert (columns * moved).sum() / moved.sum() == pytest.approx(35, abs=2)
    assert np.count_nonzero(moved[12] > 1) >= 4


def test_lines_tremble_together_with_the_stated_spread():
    offsets = np.concatenate(
        [line_offsets(400, spread_px=1.5, rng=np.random.default_rng(seed)) for seed in range(40)]
    )
    assert offsets.std() == pytest.approx(1.5, rel=0.1)
    assert np.corrcoef(offsets[:-1], offsets[1:])[0, 1] == pytest.approx(0.9, abs=0.03)


def test_shifted_lines_move_by_their_offset():
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32)[None, :, None], (5, 32, 3))
    offsets = np.array([0, 1, -2, 0.5, 3], np.float32)
    shifted = shift_lines(np.ascontiguousarray(ramp), offsets)
    expected = ramp - offsets[:, None, None]
    np.testing.assert_allclose(shifted[:, 4:-4], expected[:, 4:-4], atol=0.02)


def test_dropouts_are_bright_streaks_in_single_lines_at_their_rate():
    rng, lines, streaks = np.random.default_rng(0), 0, 500
    for _ in range(streaks):
        luma = np.zeros((64, 256), np.float32)
        lose_coating(luma, rate=0.5, rng=rng)
        lit = np.flatnonzero(luma.any(axis=1))
        lines += len(lit)
        for row in lit:
            assert luma[row].max() > 150 or luma[row, -1] > 0
            assert np.count_nonzero(luma[row]) <= 3 * DROPOUT_PX[1]
    assert lines / streaks == pytest.approx(0.5, abs=0.12)


def test_a_tape_softens_light_and_loses_more_of_colour():
    rng = np.random.default_rng(0)
    clip = textured_clip(side=64)
    clip[..., 0] = np.kron(rng.integers(60, 200, (16, 16)), np.ones((4, 4)))
    for seed in range(5):
        taped = draw_tape(clip, np.random.default_rng(seed))
        correlations = [
            np.corrcoef((clip @ to).ravel(), (taped @ to).ravel())[0, 1]
            for to in (LUMA, np.array([1.0, 0, 0]) - LUMA)
        ]
        assert correlations[0] > 0.75
        assert correlations[1] < correlations[0] - 0.2


def test_interlaced_clips_come_woven_and_doubled():
    still = textured_clip(frames=3)
    moving = np.stack([np.roll(still[0], 3 * t, axis=1) for t in range(3)])
    combed = [
        np.abs(
            np.diff(draw_interlaced(moving, np.random.default_rng(seed)).astype(float), axis=1)
        ).mean()
        for seed in range(12)
    ]
    plain = np.abs(np.diff(moving.astype(float), axis=1)).mean()
    assert max(combed) > 1.5 * plain
    assert min(combed) < 1.05 * plain
