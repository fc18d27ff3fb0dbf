"""The steps that look at pixels: noise, sharpness, grain."""

import numpy as np
import pytest
import torch
from scipy import fft

from tests.vgen.post.shaky import row, scene
from vgen.post.denoise import BLOCK, STRIDE, THRESHOLD, Denoise, DenoisePlan, plan_denoise
from vgen.post.grain import Grain
from vgen.post.sharpen import Sharpen
from vgen.post_options import DenoiseOptions, GrainOptions, SharpenOptions


def clip(num_frames=5, height=40, width=56):
    still = torch.from_numpy(scene(height, width)).permute(2, 0, 1) / 255
    return still.expand(num_frames, -1, -1, -1).clone()


def slow_filter(gray_thw, sigma):
    """Every block of a still place through all frames, one at a time, by another DCT."""
    num_frames, height, width = gray_thw.shape
    total, weight = np.zeros((height, width)), np.zeros((height, width))
    for top in range(0, height - BLOCK + 1, STRIDE):
        for left in range(0, width - BLOCK + 1, STRIDE):
            part = (slice(top, top + BLOCK), slice(left, left + BLOCK))
            block = fft.dctn(gray_thw[:, *part], norm="ortho")
            kept = np.abs(block) >= THRESHOLD * sigma
            kept[0, 0, 0] = True
            back = fft.idctn(block * kept, norm="ortho")[num_frames // 2]
            total[part] += back / kept.sum()
            weight[part] += 1 / kept.sum()
    return total[8:40, 8:40] / weight[8:40, 8:40]


def test_the_filter_is_the_one_that_is_described():
    rng = np.random.default_rng(0)
    gray = clip(5, 32, 32)[:, :1].numpy() * 0.5 + 0.2 + rng.normal(0, 0.05, (5, 1, 32, 32))
    # Gray in all channels: its first opponent channel is the square root of 3 times as large.
    frames = torch.from_numpy(np.repeat(gray, 3, axis=1)).float()
    padded = np.pad(gray[:, 0], ((0, 0), (8, 9), (8, 9)), mode="edge") * 3**0.5
    expected = slow_filter(padded, 0.05) / 3**0.5
    step = Denoise(DenoisePlan(starts=(0,), sigmas=(0.05 * 255,)))
    found = step.apply(frames, range(5))[2].numpy()
    assert np.abs(found - expected).max() < 1e-4


def test_noise_falls_by_ten_decibels_on_a_still_scene():
    rng = np.random.default_rng(0)
    clean = clip()
    noisy = clean + torch.from_numpy(rng.normal(0, 20 / 255, clean.shape)).float()
    out = Denoise(DenoisePlan(starts=(0,), sigmas=(20.0,))).apply(noisy, range(5))
    errors = [float(((x[2] - clean[2]) ** 2).mean()) for x in (noisy, out)]
    assert errors[1] < 0.1 * errors[0]


def test_shots_do_not_mix():
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.random((6, 3, 24, 24), np.float32))
    step = Denoise(DenoisePlan(starts=(0, 3), sigmas=(15.0, 30.0)))
    whole = step.apply(frames, range(6))
    assert torch.equal(whole[:3], step.apply(frames[:3], range(3)))
    assert torch.equal(whole[3:], step.apply(frames[3:], range(3, 6)))


def test_clean_shots_are_left_exactly_alone():
    frames = clip()
    assert torch.equal(
        Denoise(DenoisePlan(starts=(0,), sigmas=(0.3,))).apply(frames, range(5)), frames
    )
    assert torch.equal(Denoise(DenoisePlan()).apply(frames, range(5)), frames)


def test_the_strength_is_the_shots_median_noise_or_what_was_given():
    rows = [row(t, sigma=s) for t, s in enumerate((3.0, 50.0, 5.0, None, 4.0, 4.5))]
    plan = plan_denoise(rows, [4], DenoiseOptions(strength=2))
    assert plan == DenoisePlan(starts=(0, 4), sigmas=(10.0, 8.5))
    assert plan_denoise(rows, [], DenoiseOptions(sigma=7)).sigmas == (7.0,)
    first_lost = [row(0, sigma=None), *rows[1:]]
    assert plan_denoise(first_lost, [1], DenoiseOptions()).sigmas == (4.75, 4.75)
    with pytest.raises(ValueError, match="no noise was measured in any frame, and none is given"):
        plan_denoise([row(0, sigma=None), row(1, sigma=None)], [], DenoiseOptions())


def test_sharpening_makes_edges_steeper_without_a_halo():
    ramp = torch.cat([torch.full((8,), 0.3), torch.linspace(0.3, 0.6, 6), torch.full((8,), 0.6)])
    frame = ramp.expand(1, 3, 12, -1)
    out = Sharpen(SharpenOptions(amount=1.0)).apply(frame, [0])
    bend = out[0, 0, 6]
    assert float(bend.diff().max()) > float(ramp.diff().max())
    # At most a tenth of the neighbourhood's contrast beyond it.
    assert float(bend.min()) >= 0.3 - 0.007
    assert float(bend.max()) <= 0.6 + 0.007


def test_sharpening_changes_luma_alone_and_nothing_where_nothing_is():
    frame = clip(1)
    out = Sharpen(SharpenOptions(amount=0.5)).apply(frame, [0])
    change = (out - frame)[0]
    assert float(change.abs().max()) > 0.001
    assert torch.allclose(change[0], change[1], atol=1e-6)
    assert torch.allclose(change[0], change[2], atol=1e-6)
    flat = torch.full((1, 3, 6, 6), 0.4)
    assert torch.allclose(Sharpen(SharpenOptions(amount=1)).apply(flat, [0]), flat)
    assert Sharpen(SharpenOptions(amount=0)).apply(frame, [0]) is frame


def test_grain_is_as_strong_as_asked_in_mid_tones_and_absent_in_black_and_white():
    step = Grain(GrainOptions(sigma=5.0, color=0.0))
    tones = torch.tensor([0.0, 0.5, 1.0])[:, None, None, None].expand(-1, 3, 200, 300)
    grain = (step.apply(tones, [0, 0, 0]) - tones) * 255
    assert [float(g.std()) for g in grain] == pytest.approx([0, 5, 0], abs=0.15)
    assert torch.equal(grain[1, 0], grain[1, 2])
    colored = Grain(GrainOptions(sigma=5.0, color=0.5)).apply(tones[1:2], [0])[0]
    assert not torch.equal(colored[0], colored[2])


def test_grain_depends_on_the_frames_number_and_the_seed_alone():
    gray = torch.full((3, 3, 20, 30), 0.5)
    one = Grain(GrainOptions()).apply(gray, [7, 8, 7])
    assert torch.equal(one[0], one[2])
    assert not torch.equal(one[0], one[1])
    assert torch.equal(one[1:2], Grain(GrainOptions()).apply(gray[:1], [8]))
    assert not torch.equal(one, Grain(GrainOptions(seed=1)).apply(gray, [7, 8, 7]))
    assert Grain(GrainOptions(sigma=0)).apply(gray, [0, 1, 2]) is gray


def test_coarse_grain_is_smoother_than_fine_grain():
    gray = torch.full((1, 3, 100, 100), 0.5)

    def roughness(size_px):
        grain = Grain(GrainOptions(sigma=5, size_px=size_px)).apply(gray, [0])[0, 0]
        return float(grain.diff(dim=1).std() / grain.std())

    assert roughness(2.0) < 0.6 * roughness(0.5)
