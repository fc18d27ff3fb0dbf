import pytest
import torch

from vgen.models.judge import Judge, local_mean


def slow_mean(x_nchw, side):
    """Return the same one place at a time."""
    reach = side // 2
    height, width = x_nchw.shape[-2:]
    found = torch.empty_like(x_nchw)
    for row in range(height):
        for column in range(width):
            square = x_nchw[
                ...,
                max(0, row - reach) : row + reach + 1,
                max(0, column - reach) : column + reach + 1,
            ]
            found[..., row, column] = square.mean((-2, -1))
    return found


@pytest.mark.parametrize("side", [1, 3, 7])
@pytest.mark.parametrize("shape", [(2, 3, 9, 11), (1, 2, 3, 4), (1, 1, 1, 1)])
def test_the_mean_is_of_what_lies_in_the_picture(side, shape):
    x_nchw = torch.rand(shape)
    torch.testing.assert_close(local_mean(x_nchw, side), slow_mean(x_nchw, side))


def test_a_fresh_judge_takes_all():
    gains = Judge(12, hidden=8, surroundings=3)(torch.randn(2, 12, 6, 5), torch.zeros(2, 3, 48, 40))
    assert torch.equal(gains, torch.ones(2, 3, 48, 40))


def test_a_place_is_judged_by_the_square_around_it_and_no_more():
    judge = Judge(12, hidden=8, surroundings=5)
    torch.nn.init.normal_(judge.gain.weight)
    coarse_nchw = torch.rand(1, 12, 1, 20, requires_grad=True)
    gains = judge(coarse_nchw, torch.zeros(1, 3, 8, 160))
    assert torch.equal(gains[..., 80], gains[..., 87])
    gains[..., 83].sum().backward()
    touched = coarse_nchw.grad.abs().sum((0, 1, 2)).nonzero().flatten().tolist()
    assert touched == [8, 9, 10, 11, 12]
