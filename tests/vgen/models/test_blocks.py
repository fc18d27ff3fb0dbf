import pytest
import torch
from torch import nn

from vgen.models.blocks import RepConv, ResidualBlock, init_conv, zero_conv


@pytest.fixture
def conv():
    torch.manual_seed(0)
    conv = RepConv(5, gain=1.0)
    for parameter in conv.parameters():
        nn.init.normal_(parameter)
    return conv


def test_the_one_kernel_equals_the_sum_of_its_branches(conv):
    x_nchw = torch.randn(2, 5, 9, 7)
    branches = conv.wide(x_nchw) + conv.narrow(x_nchw) + conv.identity_c[:, None, None] * x_nchw
    torch.testing.assert_close(conv(x_nchw), branches, rtol=1e-4, atol=1e-4)


def test_folding_keeps_the_function(conv):
    x_nchw = torch.randn(2, 5, 9, 7)
    torch.testing.assert_close(conv.folded()(x_nchw), conv(x_nchw), rtol=0, atol=1e-5)


def test_a_folded_convolution_shares_nothing_with_its_origin(conv):
    folded = conv.folded()
    before = folded.weight.clone()
    with torch.no_grad():
        conv.wide.weight.add_(1)
    assert torch.equal(folded.weight, before)


def test_every_branch_learns(conv):
    conv(torch.randn(1, 5, 6, 6)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in conv.parameters())


def test_a_new_residual_block_nearly_passes_its_input():
    torch.manual_seed(0)
    x_nchw = torch.randn(1, 8, 16, 16)
    change = ResidualBlock(8, is_folded=False)(x_nchw) - x_nchw
    assert change.std() < 0.3 * x_nchw.std()


def test_initialisation_keeps_the_scale_of_what_follows_a_relu():
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 32, 3, padding=1)
    init_conv(conv)
    signal = conv(torch.relu(torch.randn(1, 32, 64, 64)))
    assert signal.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.15)


def test_a_zeroed_convolution_adds_nothing():
    conv = nn.Conv2d(3, 4, 3)
    zero_conv(conv)
    assert conv(torch.randn(1, 3, 5, 5)).abs().max() == 0
