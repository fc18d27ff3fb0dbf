import numpy as np
import pytest

from tests.vgen.training.pictures import rms, textured_clip
from vgen.training.degrade_codec import (
    draw_bit_rate,
    draw_broadcast,
    draw_encoding,
    draw_modern,
    draw_motion_jpeg,
    jpeg,
)


def test_a_better_jpeg_is_closer():
    clip = textured_clip()
    assert rms(jpeg(clip, quality=95), clip) < rms(jpeg(clip, quality=20), clip)


def test_a_jpeg_keeps_red_red():
    clip = np.zeros((1, 32, 32, 3), np.uint8)
    clip[..., 0] = np.linspace(0, 255, 32, dtype=np.uint8)
    errors = [
        rms(jpeg(clip[..., order], quality=90), clip[..., order])
        for order in ([0, 1, 2], [2, 1, 0])
    ]
    # Blue counts less in luma than red does, so as much of it comes back worse.
    assert errors[0] < errors[1] < 12


def test_the_quality_of_motion_jpeg_drifts():
    clip = textured_clip(frames=12)
    errors = [
        rms(a, b)
        for a, b in zip(draw_motion_jpeg(clip, np.random.default_rng(1)), clip, strict=True)
    ]
    assert len(set(np.round(errors, 4))) > 4
    assert np.abs(np.diff(errors)).max() < 0.35 * np.mean(errors)


def test_encodings_stay_in_their_range():
    rng = np.random.default_rng(0)
    for _ in range(200):
        encoding = draw_encoding(rng, best_crf=18, worst_crf=36)
        low, high = (18, 36) if encoding.codec == "libx264" else (2, 31)
        assert low <= encoding.quality <= high


@pytest.mark.parametrize("draw", [draw_bit_rate, draw_broadcast, draw_modern])
@pytest.mark.parametrize("side", [48, 96])
def test_codecs_lose_detail_and_keep_brightness(draw, side):
    clip = textured_clip(side=side)
    for seed in range(6):
        coded = draw(clip, np.random.default_rng(seed))
        assert coded.shape == clip.shape
        assert 0.5 < rms(coded, clip) < 60
        assert coded.mean() == pytest.approx(clip.mean(), abs=6)
