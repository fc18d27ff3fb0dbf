import pytest
import torch
from torch import nn

from vgen.models.causal import CausalBlock, CausalConv, PixelNorm, convolve, init_conv3d


def slow_causal(conv, x_ncthw):
    """Frame by frame, with the first frame repeated before the clip."""
    made = []
    for t in range(x_ncthw.shape[2]):
        around = [max(t - back, 0) for back in range(conv.past, -1, -1)]
        made.append(conv.conv(x_ncthw[:, :, around]))
    return torch.cat(made, dim=2)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_causal_convolution_sees_the_current_frame_and_those_before(frames):
    conv = CausalConv(4, 5, frames=frames)
    x_ncthw = torch.randn(2, 4, 6, 7, 8)
    torch.testing.assert_close(conv(x_ncthw, None), slow_causal(conv, x_ncthw))


@pytest.mark.parametrize("cuts", [[1] * 7, [3, 4], [1, 5, 1], [7]])
def test_chunks_with_a_cache_are_the_whole(cuts):
    block = CausalBlock(6, frames=3)
    x_ncthw = torch.randn(1, 6, 7, 8, 9)
    cache = {}
    parts = [block(part, cache) for part in x_ncthw.split(cuts, dim=2)]
    torch.testing.assert_close(torch.cat(parts, 2), block(x_ncthw, None), rtol=0, atol=1e-5)


def test_a_cache_holds_two_frames_whatever_the_chunk():
    block, cache = CausalBlock(6, frames=3), {}
    for frames in (1, 9):
        block(torch.randn(1, 6, frames, 8, 8), cache)
        assert [kept.shape for kept in cache.values()] == [(1, 6, 2, 8, 8)]
        assert all(kept.untyped_storage().size() == 4 * kept.numel() for kept in cache.values())


def test_without_a_cache_nothing_is_remembered():
    conv = CausalConv(3, 3)
    first, second = torch.randn(2, 1, 3, 2, 4, 4)
    conv(first, None)
    expected = slow_causal(conv, second)
    torch.testing.assert_close(conv(second, None), expected)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3, 3), (1, 1, 1), (0, 1, 1)), ((1, 2, 2), (1, 2, 2), 0), ((2, 1, 1), (2, 1, 1), 0)],
)
def test_one_frame_is_convolved_as_a_plane_with_the_same_result(kernel, stride, padding):
    conv = nn.Conv3d(4, 6, kernel, stride=stride, padding=padding)
    x_ncthw = torch.randn(2, 4, kernel[0], 8, 10)
    torch.testing.assert_close(convolve(conv, x_ncthw), conv(x_ncthw), rtol=0, atol=1e-5)


def test_the_norm_leaves_a_mean_square_of_one_in_every_pixel():
    x_ncthw = torch.randn(2, 16, 3, 4, 5) * (0.1 + 9 * torch.rand(2, 1, 3, 4, 5))
    normed = PixelNorm(16)(x_ncthw)
    ones = torch.ones(2, 3, 4, 5)
    torch.testing.assert_close(normed.square().mean(1), ones, rtol=1e-3, atol=1e-3)
    cosine = torch.cosine_similarity(normed, x_ncthw)
    torch.testing.assert_close(cosine, ones, rtol=0, atol=1e-5)


def test_a_new_block_nearly_passes_its_input():
    x_ncthw = torch.randn(1, 16, 3, 12, 12)
    change = CausalBlock(16, frames=3)(x_ncthw, None) - x_ncthw
    assert 0 < change.std() < 0.3 * x_ncthw.std()


def test_initialisation_keeps_the_scale_of_what_follows_a_relu():
    conv = init_conv3d(nn.Conv3d(32, 32, 3, padding=1))
    signal = conv(torch.relu(torch.randn(1, 32, 8, 24, 24)))[:, :, 1:-1, 1:-1, 1:-1]
    assert signal.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.15)
    assert conv.bias.abs().max() == 0
