"""A larger restoration network that starts out computing what a smaller one does.

Training then goes on from what the smaller one knows, instead of from nothing: function-preserving
growth in width and depth, after Net2Net (Chen, Goodfellow, Shlens 2016), with fresh features in
place of copies, since copies would learn alike.
"""

import torch
from torch import Tensor, nn

from vgen.models.generator import TemporalUNet
from vgen.models.unet_settings import UNetSettings


def fits_into(small: UNetSettings, large: UNetSettings) -> bool:
    """Whether a network of ``small`` settings can be grown to ``large`` ones, or is of them."""
    depths = zip((*small.encoder, *small.decoder), (*large.encoder, *large.decoder), strict=True)
    return (
        small.scale == large.scale
        and small.window <= large.window
        and small.channels <= large.channels
        and all(fewer <= more for fewer, more in depths)
        and small.surroundings in (0, large.surroundings)
    )


def grown(small: TemporalUNet, fresh: TemporalUNet) -> TemporalUNet:
    """Return ``fresh``, folded and larger, made to compute what ``small``, folded, does.

    The features of ``small`` become the first ones of each level and hear nothing of the others,
    which are made of all features by fresh weights. What reads them has weights of zero, whose
    gradients are not zero, so training lets them in.

    Raises:
        ValueError: ``fresh`` is smaller anywhere, or of another scale.
    """
    old, new = small.settings, fresh.settings
    if not fits_into(old, new):
        raise ValueError(f"cannot grow {old} to {new}")
    known = dict(small.named_modules())
    with torch.no_grad():
        for name, conv in fresh.named_modules():
            if not isinstance(conv, nn.Conv2d):
                continue
            twin = known.get(name)
            if isinstance(twin, nn.Conv2d):
                inputs = (
                    _frames_apart(old, new) if name == "fusion" else torch.arange(twin.in_channels)
                )
                _silence(conv, twin.out_channels)
                conv.weight[: twin.out_channels, inputs] = twin.weight
                assert conv.bias is not None
                assert twin.bias is not None
                conv.bias[: twin.out_channels] = twin.bias
            elif name == "fusion":
                _silence(conv, old.channels)
            elif name.endswith(".second"):
                # A block that the small network lacks leaves alone what that one knows.
                level = int(name.split(".")[1]) + 1
                _silence(conv, level * old.channels)
    return fresh


def _frames_apart(old: UNetSettings, new: UNetSettings) -> Tensor:
    """Return where the inputs of the small network's fusion lie among those of the large one."""
    first = (new.window - old.window) // 2
    frames = torch.arange(first, first + old.window)[:, None]
    return (frames * new.channels + torch.arange(old.channels)).flatten()


def _silence(conv: nn.Conv2d, outputs: int) -> None:
    """Make the first ``outputs`` features of ``conv`` nothing."""
    conv.weight[:outputs] = 0
    assert conv.bias is not None
    conv.bias[:outputs] = 0
