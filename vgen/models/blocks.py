"""Convolutions that train with three branches and run as one.

No normalisation anywhere: statistics over pixels or batches would make tiles differ from the
whole picture and frames depend on their neighbours in a batch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class RepConv(nn.Module):
    """3x3 + 1x1 + scaled identity, all linear, so that their sum is a single 3x3."""

    def __init__(self, channels: int, *, gain: float) -> None:
        """Make the branches.

        Args:
            channels: Of input and output.
            gain: Scale of the initial output; small in the second half of a residual block,
                which then starts close to doing nothing.
        """
        super().__init__()
        self.wide = nn.Conv2d(channels, channels, 3, padding=1)
        self.narrow = nn.Conv2d(channels, channels, 1)
        self.identity_c = nn.Parameter(torch.full((channels,), gain))
        for branch in (self.wide, self.narrow):
            init_conv(branch, gain=gain * 0.5)

    def forward(self, x_nchw: Tensor) -> Tensor:
        weight, bias = self.kernel()
        return functional.conv2d(x_nchw, weight, bias, padding=1)

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Return the one 3x3 weight and bias that equal the three branches.

        Training uses it too: the sum of kernels is far cheaper than the sum of feature maps,
        and the gradient of every branch is the same.
        """
        centre = self.narrow.weight + torch.diag(self.identity_c)[:, :, None, None]
        weight = self.wide.weight + functional.pad(centre, (1, 1, 1, 1))
        assert self.wide.bias is not None
        assert self.narrow.bias is not None
        return weight, self.wide.bias + self.narrow.bias

    def folded(self) -> nn.Conv2d:
        """Return a plain convolution that computes the same, with its own storage."""
        weight, bias = self.kernel()
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        conv.weight = nn.Parameter(weight.detach().clone())
        conv.bias = nn.Parameter(bias.detach().clone())
        return conv


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, channels: int, *, is_folded: bool) -> None:
        super().__init__()
        self.first: nn.Module
        self.second: nn.Module
        if is_folded:
            self.first = nn.Conv2d(channels, channels, 3, padding=1)
            self.second = nn.Conv2d(channels, channels, 3, padding=1)
        else:
            self.first = RepConv(channels, gain=1.0)
            self.second = RepConv(channels, gain=0.1)

    def forward(self, x_nchw: Tensor) -> Tensor:
        hidden: Tensor = self.second(functional.relu(self.first(x_nchw)))
        return x_nchw + hidden


def init_conv(conv: nn.Conv2d | nn.Conv3d, *, gain: float = 1.0) -> None:
    """He fan-in normal times ``gain``, zero bias; torch's default starves a residual network."""
    if conv.weight.is_meta:
        return  # nothing to fill, and torch would import its compiler for it: two seconds
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    with torch.no_grad():
        conv.weight.mul_(gain)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def zero_conv(conv: nn.Conv2d) -> None:
    """Make ``conv`` start as nothing, so that what it is added to starts unchanged."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
