"""How much of a restoration to take, by how the surroundings are damaged.

A block of a good picture may look like one that a codec has smoothed, but not a hundred blocks. So
features of the coarsest level are averaged over a square around each place, and a small network
makes of the averages what the change is multiplied by: a gate as in squeeze-and-excitation (Hu et
al., 2018), with a local average in place of the whole picture's, so that tiles equal the whole.

Axes: n batch, c channel, h height, w width.
"""

from torch import Tensor, nn
from torch.nn import functional

from vgen.models.blocks import init_conv, zero_conv


class Judge(nn.Module):
    """Gains for red, green and blue; 1 everywhere at the start."""

    def __init__(self, channels: int, *, hidden: int, surroundings: int) -> None:
        """Make the network.

        Args:
            channels: Features of a place.
            hidden: Features that are averaged.
            surroundings: Side of the square, odd, in places.
        """
        super().__init__()
        self.surroundings = surroundings
        self.look = nn.Conv2d(channels, hidden, 1)
        self.think = nn.Conv2d(hidden, hidden, 1)
        self.gain = nn.Conv2d(hidden, 3, 1)
        for conv in (self.look, self.think):
            init_conv(conv)
        zero_conv(self.gain)

    def forward(self, coarse_nchw: Tensor, residual_nchw: Tensor) -> Tensor:
        """Return the gain of every pixel of ``residual_nchw``; a place has one for all of its."""
        seen = local_mean(functional.relu(self.look(coarse_nchw)), self.surroundings)
        gain_nchw = 1 + self.gain(functional.relu(self.think(seen)))
        return functional.interpolate(gain_nchw, size=residual_nchw.shape[-2:], mode="nearest")


def local_mean(x_nchw: Tensor, side: int) -> Tensor:
    """Mean of the square of ``side`` around each place, of what of it lies in the picture."""
    for kernel in ((side, 1), (1, side)):
        padding = (kernel[0] // 2, kernel[1] // 2)
        x_nchw = functional.avg_pool2d(x_nchw, kernel, 1, padding, count_include_pad=False)
    return x_nchw
