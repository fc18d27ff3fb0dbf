"""The restoration network: a small U-Net over a window of frames.

Each frame is embedded once; the window is fused from embeddings, so streaming a video costs
one embedding and one U-Net pass a frame whatever the window. The network gives what to add
to the centre frame, and does so from a finite window: spans and tiles equal the whole.

Axes: n batch, t time, c channel, h height, w width. Frames are RGB, nominally in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Protocol, Self

from torch import Tensor, nn
from torch.nn import functional

from vgen.errors import ReleaseError
from vgen.models.blocks import RepConv, ResidualBlock, init_conv, zero_conv
from vgen.models.settings import check_keys, count, counts
from vgen.models.spec import SCALES, TEMPORAL_UNET, ModelSpec

MAX_CHANNELS = 256
MAX_BLOCKS = 64
MAX_WINDOW = 15


class Network(Protocol):
    """What a release gives to the one who runs it."""

    def embed(self, frames_nchw: Tensor) -> Tensor:
        """Per-frame features; H and W of the frames are multiples of ``spec.multiple_of``."""

    def residual(self, features_ntchw: Tensor) -> Tensor:
        """What to add to the base of the centre frame: ``[N, 3, H * scale, W * scale]``.

        ``features_ntchw`` holds the ``lead + 1 + tail`` frames of each window in time order;
        at the edge of a shot the caller repeats the edge frame's features.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetSettings:
    """The numbers that make one ``TemporalUNet`` out of the family."""

    window: int = 3
    """Frames looked at, odd; the middle one is restored."""
    channels: int = 16
    """Features at the finest level; twice and three times that below."""
    encoder: tuple[int, int, int] = (1, 1, 2)
    """Residual blocks per level on the way down, finest first."""
    decoder: tuple[int, int] = (1, 1)
    """Residual blocks per level on the way up, finest first."""
    scale: int = 1
    """Output pixels for one input pixel, along each side."""

    def __post_init__(self) -> None:
        if self.window % 2 == 0 or not 1 <= self.window <= MAX_WINDOW:
            raise ReleaseError(f"window {self.window} must be odd, 1 to {MAX_WINDOW}")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ReleaseError(f"channels {self.channels} must be 1 to {MAX_CHANNELS}")
        if any(not 0 <= blocks <= MAX_BLOCKS for blocks in (*self.encoder, *self.decoder)):
            raise ReleaseError(f"blocks per level must be 0 to {MAX_BLOCKS}")
        if self.scale not in SCALES:
            raise ReleaseError(f"scale {self.scale} is not one of {SCALES}")

    @property
    def unshuffle(self) -> int:
        """Side of the pixel block folded into channels first, so that x1 runs at half size."""
        return 2 if self.scale == 1 else 1

    def to_mapping(self) -> dict[str, int | float | str | list[int]]:
        """Return the settings as they stand in a release header."""
        values = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}

    @classmethod
    def from_mapping(cls, settings: Mapping[str, object]) -> Self:
        """Check and take over settings from a header.

        Raises:
            ReleaseError: an unknown or missing key, or a value of the wrong kind.
        """
        check_keys(TEMPORAL_UNET, settings, cls.__slots__)
        fine, middle, coarse = counts(TEMPORAL_UNET, "encoder", settings["encoder"], 3)
        last, before_last = counts(TEMPORAL_UNET, "decoder", settings["decoder"], 2)
        return cls(
            window=count(TEMPORAL_UNET, "window", settings["window"]),
            channels=count(TEMPORAL_UNET, "channels", settings["channels"]),
            encoder=(fine, middle, coarse),
            decoder=(last, before_last),
            scale=count(TEMPORAL_UNET, "scale", settings["scale"]),
        )


SIZES: Mapping[str, UNetSettings] = {
    "tiny": UNetSettings(window=3, channels=16, encoder=(1, 1, 2), decoder=(1, 1)),
    "small": UNetSettings(window=3, channels=24, encoder=(1, 1, 3), decoder=(1, 1)),
    "base": UNetSettings(window=5, channels=48, encoder=(2, 2, 4), decoder=(2, 2)),
    "large": UNetSettings(window=5, channels=64, encoder=(2, 4, 8), decoder=(4, 2)),
}
"""Named members of the family: 0.16, 0.44, 2.6 and 8 million parameters."""


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
        return functional.pixel_shuffle(self.tail(fine), side)

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


def unet_spec(settings: UNetSettings) -> ModelSpec:
    """Return what a network with these settings needs from its caller."""
    return ModelSpec(
        architecture=TEMPORAL_UNET,
        scale=settings.scale,
        lead=settings.window // 2,
        tail=settings.window // 2,
        multiple_of=4 * settings.unshuffle,
        receptive_radius=receptive_radius(settings),
    )


def receptive_radius(settings: UNetSettings) -> int:
    """Farthest input pixel, to either side, that the longest path can reach.

    Interval arithmetic back from one output pixel through the coarsest level, for every
    position inside a coarsest cell, since strides make the reach depend on it.
    """
    side = settings.unshuffle * settings.scale
    cell = 4 * side
    fine_blocks = 1 + 2 * settings.decoder[0]
    farthest = 0
    for position in range(cell * 64, cell * 65):
        start = stop = position // side
        start, stop = start - fine_blocks, stop + fine_blocks
        start, stop = start // 2, stop // 2
        start, stop = start - 2 * settings.decoder[1], stop + 2 * settings.decoder[1]
        start, stop = start // 2, stop // 2
        start, stop = start - 2 * settings.encoder[2], stop + 2 * settings.encoder[2]
        start, stop = start * 2, stop * 2 + 1
        start, stop = start - 2 * settings.encoder[1], stop + 2 * settings.encoder[1]
        start, stop = start * 2, stop * 2 + 1
        edge = 2 * settings.encoder[0] + 1 + (settings.window > 1)
        start, stop = (start - edge) * settings.unshuffle, (stop + edge + 1) * settings.unshuffle
        centre = position // settings.scale
        farthest = max(farthest, centre - start, stop - 1 - centre)
    return farthest


def trainable(module: nn.Module) -> int:
    """Count the parameters that an optimiser would move."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
