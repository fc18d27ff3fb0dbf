import numpy as np
import pytest
import torch

from vgen.training.metrics import psnr_luma_db, psnr_rgb_db, temporal_difference


def clip(frames=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(40, 200, (frames, 3, 16, 20), generator=generator) / 255


def test_rgb_psnr_is_the_textbook_value_averaged_over_frames():
    clean = clip()
    restored = clean.clone()
    restored[0] += 2 / 255
    restored[1] -= 5 / 255
    restored[2] += 1 / 255
    expected = np.mean([10 * np.log10(255**2 / error**2) for error in (2, 5, 1)])
    assert psnr_rgb_db(restored, clean) == pytest.approx(expected)


def test_luma_psnr_follows_the_full_formula():
    clean, restored = clip(seed=1), clip(seed=2)

    def luma(clip_tchw):
        red, green, blue = clip_tchw.double().numpy().transpose(1, 0, 2, 3)
        return 16 + 65.481 * red + 128.553 * green + 24.966 * blue

    errors = ((luma(restored) - luma(clean)) ** 2).mean(axis=(1, 2))
    expected = np.mean(10 * np.log10(255**2 / errors))
    assert psnr_luma_db(restored, clean) == pytest.approx(expected, abs=1e-4)


def test_equal_clips_score_a_hundred():
    assert psnr_rgb_db(clip(), clip()) == psnr_luma_db(clip(), clip()) == 100


def test_what_a_viewer_cannot_see_does_not_count():
    clean = clip()
    assert psnr_rgb_db(clean + 0.3 / 255, clean) == 100
    white = torch.ones(1, 3, 8, 8)
    assert psnr_rgb_db(white * 1.2, white) == 100


def test_a_constant_offset_is_no_flicker_and_an_alternating_one_is():
    clean = clip(4)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None, None]
    assert temporal_difference(clean + 3 / 255, clean) == pytest.approx(0)
    assert temporal_difference(clean + signs * 3 / 255, clean) == pytest.approx(6)


def test_one_frame_cannot_flicker():
    assert temporal_difference(clip(1, seed=3), clip(1)) == 0
