import cv2
import numpy as np
import pytest
import torch

from vgen.training.metrics import (
    mean_measures,
    measure,
    motion_of,
    psnr_luma_db,
    psnr_rgb_db,
    ssim_luma,
    temporal_difference,
    warping_error,
)
from vgen.training.scores import Measures


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


def slow_ssim(x, y):
    """Each window of the frame by itself, as Wang et al. write it down."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a = (window * (a - mean_a) ** 2).sum()
            var_b = (window * (b - mean_b) ** 2).sum()
            cov = (window * (a - mean_a) * (b - mean_b)).sum()
            likeness = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
            values.append(likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    return np.mean(values)


def test_ssim_is_the_mean_over_all_windows():
    clean = clip(2, seed=4)
    restored = (clean + torch.randn(clean.shape) * 0.05).clamp(0, 1)
    levels = [np.rint(one.double().numpy() * 255) / 255 for one in (restored, clean)]
    lumas = [16 + np.einsum("tchw,c->thw", one, [65.481, 128.553, 24.966]) for one in levels]
    expected = np.mean([slow_ssim(x, y) for x, y in zip(*lumas, strict=True)])
    assert 0.5 < expected < 0.99
    assert ssim_luma(restored, clean) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_flat_frames_follows_their_luminance():
    light, dark = torch.full((1, 3, 16, 16), 1.0), torch.zeros(1, 3, 16, 16)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 235 * 16 + c1) / (235**2 + 16**2 + c1)
    assert ssim_luma(light, dark) == pytest.approx(expected)
    assert ssim_luma(light, light) == pytest.approx(1)


def test_frames_smaller_than_the_window_of_ssim_are_refused():
    small = torch.zeros(1, 3, 10, 20)
    with pytest.raises(ValueError, match=r"\(10, 20\) are smaller than SSIM's window"):
        ssim_luma(small, small)


def panned(frames=4, step=2, side=64):
    """A camera that moves ``step`` pixels a frame over a smooth texture."""
    rng = np.random.default_rng(5)
    small = rng.random((12, 24, 3)).astype(np.float32)
    wide = cv2.resize(small, (side * 2, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    views = np.stack([wide[:, t * step : t * step + side] for t in range(frames)])
    return torch.from_numpy(views).movedim(-1, 1).contiguous()


def test_what_moves_with_the_clean_clip_has_hardly_a_warping_error():
    clean = panned()
    motion = motion_of(clean)
    unmoved = float((clean[1:] - clean[:-1]).square().mean())
    assert warping_error(clean, motion) < unmoved / 50
    shown = np.stack(motion.is_seen)
    assert 0.8 < shown.mean() < 1  # what comes in at the edge is hidden before
    inner = np.stack(motion.came_from)[:, 16:-16, 16:-16] - np.stack(
        np.meshgrid(np.arange(16, 48), np.arange(16, 48)), axis=-1
    )
    assert np.median(inner[..., 0]) == pytest.approx(2, abs=0.2)
    assert np.median(inner[..., 1]) == pytest.approx(0, abs=0.2)


def test_flicker_on_a_still_clip_is_its_warping_error():
    still = clip(1).repeat(4, 1, 1, 1).repeat(1, 1, 3, 3)
    motion = motion_of(still)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None, None]
    assert warping_error(still, motion) == 0
    assert warping_error(still + signs * 3 / 255, motion) == pytest.approx((6 / 255) ** 2, rel=1e-4)


def test_what_a_moving_box_uncovers_does_not_count():
    """Columns 20 to 28 are behind the box at first and in sight afterwards."""
    clean = panned(2, step=0, side=160)
    box = torch.from_numpy(np.random.default_rng(8).random((3, 4, 4), np.float32))
    box = torch.nn.functional.interpolate(box[None], size=(40, 40), mode="bicubic")[0].clamp(0, 1)
    clean[0, :, 28:68, 20:60] = box
    clean[1, :, 28:68, 28:68] = box
    is_seen = motion_of(clean).is_seen[0]
    uncovered = is_seen[30:66, 21:27].mean()
    assert uncovered < 0.2
    assert is_seen[36:60, 36:60].mean() > 0.95
    assert is_seen[:16].mean() > 0.9


def test_one_frame_has_no_warping_error():
    assert warping_error(clip(1), motion_of(clip(1))) == 0


def test_the_border_does_not_count():
    clean = torch.full((2, 3, 32, 32), 0.5)
    restored = clean.clone()
    restored[..., :2, :] = restored[..., -2:] = 1
    motion = motion_of(clean)
    assert measure(restored, clean, motion, border_px=2).psnr_rgb_db == 100
    assert measure(restored, clean, motion, border_px=1).psnr_rgb_db < 30
    assert measure(restored, clean, motion).psnr_luma_db < 30


def test_means_are_taken_measure_by_measure():
    one = Measures(
        psnr_rgb_db=20, psnr_luma_db=22, ssim_luma=0.5, temporal_difference=3, warping_error=0.1
    )
    other = one.model_copy(update={"psnr_rgb_db": 30, "warping_error": 0.3})
    mean = mean_measures([one, other])
    assert mean == one.model_copy(update={"psnr_rgb_db": 25, "warping_error": 0.2})
    with pytest.raises(ValueError, match="no measures"):
        mean_measures([])
