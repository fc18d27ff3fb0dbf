"""The restoration network: a small U-Net over a window of frames.

Each frame is embedded once; the window is fused from embeddings, so streaming a video costs
one embedding and one U-Net pass a frame whatever the window. The network gives what to add
to the centre frame, and does so from a finite window: spans and tiles equal the whole. A judge,
where there is one, says how much of it to add.

Axes: n batch, t time, c channel, h height, w width. Frames are RGB, nominally in [0, 1].
"""

from dataclasses import replace
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional

from vgen.models.blocks import RepConv, ResidualBlock, init_conv, zero_conv
from vgen.models.judge import Judge
from vgen.models.unet_settings import UNetSettings


class Network(Protocol):
    """What a release gives to the one who runs it."""

    def embed(self, frames_nchw: Tensor) -> Tensor:
        """Per-frame features; H and W of the frames are multiples of ``spec.multiple_of``."""

    def residual(self, features_ntchw: Tensor) -> Tensor:
        """What to add to the base of the centre frame: ``[N, 3, H * scale, W * scale]``.

        ``features_ntchw`` holds the ``lead + 1 + tail`` frames of each window in time order;
        at the edge of a shot the caller repeats the edge frame's features.
        """


class TemporalUNet(nn.Module):
    """Pixel-unshuffle, per-frame head, zero-started window fusion, 3-level U-Net, zero tail.

    ``is_folded`` builds the inference form, where every re-parameterised convolution is one
    plain 3x3; releases hold only that form.
    """

    def __init__(self, settings: UNetSettings, *, is_folded: bool = False) -> None:
        super().__init__()
        self.settings = settings
        self.is_folded = is_folded
        c, u, s = settings.channels, settings.unshuffle, settings.scale

        def blocks(channels: int, count: int) -> nn.Sequential:
            made = (ResidualBlock(channels, is_folded=is_folded) for _ in range(count))
            return nn.Sequential(*made)

        self.head = nn.Conv2d(3 * u * u, c, 3, padding=1)
        self.fusion: nn.Conv2d | None = None
        if settings.window > 1:
            self.fusion = nn.Conv2d(settings.window * c, c, 3, padding=1)
        self.encoder = nn.ModuleList(
            blocks(c * (level + 1), count) for level, count in enumerate(settings.encoder)
        )
        self.down = nn.ModuleList(
            (nn.Conv2d(c, 2 * c, 2, stride=2), nn.Conv2d(2 * c, 3 * c, 2, stride=2))
        )
        self.up = nn.ModuleList((nn.Conv2d(2 * c, 4 * c, 1), nn.Conv2d(3 * c, 8 * c, 1)))
        self.decoder = nn.ModuleList(
            blocks(c * (level + 1), count) for level, count in enumerate(settings.decoder)
        )
        self.tail = nn.Conv2d(c, 3 * (u * s) ** 2, 3, padding=1)
        self.judge: Judge | None = None
        if settings.surroundings:
            self.judge = Judge(3 * c, hidden=2 * c, surroundings=settings.surroundings)
        self._init()

    def _init(self) -> None:
        for conv in (self.head, *self.down, *self.up):
            assert isinstance(conv, nn.Conv2d)
            # No ReLU follows these, so half of He's variance keeps the scale of their input.
            init_conv(conv, gain=0.7)
        # Step 0 is then the single-frame network, and that is the input itself: random fusion
        # costs more than a decibel that training on small budgets never wins back.
        zero_conv(self.tail)
        if self.fusion is not None:
            zero_conv(self.fusion)

    def embed(self, frames_nchw: Tensor) -> Tensor:
        """Per-frame features at half (x1) or full (x2, x4) size."""
        features: Tensor = self.head(
            functional.pixel_unshuffle(frames_nchw, self.settings.unshuffle)
        )
        return features

    def residual(self, features_ntchw: Tensor) -> Tensor:
        """What to add to the base of the centre frame of each window."""
        if features_ntchw.shape[1] != self.settings.window:
            raise ValueError(
                f"expected {self.settings.window} frames, got {features_ntchw.shape[1]}"
            )
        fine = features_ntchw[:, self.settings.window // 2]
        if self.fusion is not None:
            fine = fine + self.fusion(functional.relu(features_ntchw.flatten(1, 2)))
        fine = self.encoder[0](fine)
        middle = self.encoder[1](self.down[0](fine))
        coarse = self.encoder[2](self.down[1](middle))
        middle = self.decoder[1](middle + functional.pixel_shuffle(self.up[1](coarse), 2))
        fine = self.decoder[0](fine + functional.pixel_shuffle(self.up[0](middle), 2))
        side = self.settings.unshuffle * self.settings.scale
        residual = functional.pixel_shuffle(self.tail(fine), side)
        return residual if self.judge is None else residual * self.judge(coarse, residual)

    def forward(self, window_ntchw: Tensor) -> Tensor:
        """Restore the centre frame of each window of pixels; used to train and to test."""
        n, t = window_ntchw.shape[:2]
        features = self.embed(window_ntchw.flatten(0, 1))
        residual = self.residual(features.reshape(n, t, *features.shape[1:]))
        return enlarge(window_ntchw[:, t // 2], self.settings.scale) + residual

    def folded(self) -> "TemporalUNet":
        """Return the inference form of this network, sharing nothing with it."""
        plain = TemporalUNet(self.settings, is_folded=True)
        plain.load_state_dict(folded_state(self))
        return plain.eval().requires_grad_(False)


def enlarge(frames_nchw: Tensor, scale: int) -> Tensor:
    """Return the base that a residual is added to: the frame, or its bicubic enlargement."""
    if scale == 1:
        return frames_nchw
    return functional.interpolate(
        frames_nchw, scale_factor=scale, mode="bicubic", align_corners=False, antialias=False
    )


def restore_run(network: nn.Module, frames_ntchw: Tensor, *, window: int) -> Tensor:
    """Restore every frame that has a whole window in a run: ``[N, T - window + 1, 3, H, W]``.

    ``network`` is a ``TemporalUNet`` over ``window`` frames, or what wraps one for training on
    several devices; it is called once, with all windows as one batch.
    """
    windows_nrchwt = frames_ntchw.unfold(1, window, 1)
    windows_nrtchw = windows_nrchwt.movedim(-1, 2)
    restored: Tensor = network(windows_nrtchw.flatten(0, 1))
    return restored.reshape(*windows_nrtchw.shape[:2], *restored.shape[1:])


def folded_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of ``network`` with every ``RepConv`` folded into a plain 3x3."""
    reps = {name: m for name, m in network.named_modules() if isinstance(m, RepConv)}
    state = {
        key: value.detach().clone()
        for key, value in network.state_dict().items()
        if not any(key.startswith(f"{name}.") for name in reps)
    }
    for name, rep in reps.items():
        conv = rep.folded()
        assert conv.bias is not None
        state[f"{name}.weight"] = conv.weight.detach()
        state[f"{name}.bias"] = conv.bias.detach()
    return state


def unfolded(folded: TemporalUNet, fresh: TemporalUNet) -> TemporalUNet:
    """Return ``fresh``, of the same settings, made to compute what ``folded`` does.

    The narrow branches keep their fresh weights, and the wide ones take the difference.
    """
    state = dict(folded.state_dict())
    for name, rep in fresh.named_modules():
        if isinstance(rep, RepConv):
            weight, bias = state.pop(f"{name}.weight"), state.pop(f"{name}.bias")
            made_weight, made_bias = rep.kernel()
            assert rep.wide.bias is not None
            state |= {f"{name}.{key}": value for key, value in rep.state_dict().items()}
            state[f"{name}.wide.weight"] = rep.wide.weight + weight - made_weight
            state[f"{name}.wide.bias"] = rep.wide.bias + bias - made_bias
    fresh.load_state_dict(state)
    return fresh


def widen_window(single: TemporalUNet, window: int) -> TemporalUNet:
    """Return a network over ``window`` frames that starts out equal to ``single``."""
    wide = TemporalUNet(replace(single.settings, window=window), is_folded=single.is_folded)
    missing, unexpected = wide.load_state_dict(single.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith("fusion.") for key in missing)
    return wide


def trainable(module: nn.Module) -> int:
    """Count the parameters that an optimiser would move."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
