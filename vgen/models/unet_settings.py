"""The numbers that make one restoration network out of its family; without torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from vgen.errors import ReleaseError
from vgen.models.settings import check_keys, count, counts
from vgen.models.spec import SCALES, TEMPORAL_UNET, ModelSpec

MAX_CHANNELS = 256
MAX_BLOCKS = 64
MAX_WINDOW = 15
MAX_SURROUNDINGS = 255


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
    surroundings: int = 0
    """Side of the square, odd, in cells of the coarsest level, by which a judge says how much of
    the restoration a place takes; 0 for no judge."""

    def __post_init__(self) -> None:
        if self.window % 2 == 0 or not 1 <= self.window <= MAX_WINDOW:
            raise ReleaseError(f"window {self.window} must be odd, 1 to {MAX_WINDOW}")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ReleaseError(f"channels {self.channels} must be 1 to {MAX_CHANNELS}")
        if any(not 0 <= blocks <= MAX_BLOCKS for blocks in (*self.encoder, *self.decoder)):
            raise ReleaseError(f"blocks per level must be 0 to {MAX_BLOCKS}")
        if self.scale not in SCALES:
            raise ReleaseError(f"scale {self.scale} is not one of {SCALES}")
        is_odd = self.surroundings == 0 or self.surroundings % 2 == 1
        if not 0 <= self.surroundings <= MAX_SURROUNDINGS or not is_odd:
            raise ReleaseError(
                f"surroundings {self.surroundings} must be 0, or odd and at most {MAX_SURROUNDINGS}"
            )

    @property
    def unshuffle(self) -> int:
        """Side of the pixel block folded into channels first, so that x1 runs at half size."""
        return 2 if self.scale == 1 else 1

    def to_mapping(self) -> dict[str, int | float | str | list[int]]:
        """Return the settings as they stand in a release header."""
        values = asdict(self)
        if not self.surroundings:
            # As in releases that were made before there were any.
            del values["surroundings"]
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}

    @classmethod
    def from_mapping(cls, settings: Mapping[str, object]) -> Self:
        """Check and take over settings from a header.

        Raises:
            ReleaseError: an unknown or missing key, or a value of the wrong kind.
        """
        settings = {"surroundings": 0} | dict(settings)
        check_keys(TEMPORAL_UNET, settings, cls.__slots__)
        fine, middle, coarse = counts(TEMPORAL_UNET, "encoder", settings["encoder"], 3)
        last, before_last = counts(TEMPORAL_UNET, "decoder", settings["decoder"], 2)
        return cls(
            window=count(TEMPORAL_UNET, "window", settings["window"]),
            channels=count(TEMPORAL_UNET, "channels", settings["channels"]),
            encoder=(fine, middle, coarse),
            decoder=(last, before_last),
            scale=count(TEMPORAL_UNET, "scale", settings["scale"]),
            surroundings=count(TEMPORAL_UNET, "surroundings", settings["surroundings"]),
        )


SIZES: Mapping[str, UNetSettings] = {
    name: UNetSettings(
        window=window, channels=channels, encoder=encoder, decoder=decoder, surroundings=17
    )
    for name, window, channels, encoder, decoder in (
        ("tiny", 3, 16, (1, 1, 2), (1, 1)),
        ("small", 3, 24, (1, 1, 3), (1, 1)),
        ("base", 5, 48, (2, 2, 4), (2, 2)),
        ("large", 5, 64, (2, 4, 8), (4, 2)),
    )
}
"""Named members of the family: 0.16, 0.45, 2.6 and 8 million parameters."""


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
        judged, reach = position // cell, settings.surroundings // 2
        start, stop = min(start, judged - reach), max(stop, judged + reach)
        start, stop = start - 2 * settings.encoder[2], stop + 2 * settings.encoder[2]
        start, stop = start * 2, stop * 2 + 1
        start, stop = start - 2 * settings.encoder[1], stop + 2 * settings.encoder[1]
        start, stop = start * 2, stop * 2 + 1
        edge = 2 * settings.encoder[0] + 1 + (settings.window > 1)
        start, stop = (start - edge) * settings.unshuffle, (stop + edge + 1) * settings.unshuffle
        centre = position // settings.scale
        farthest = max(farthest, centre - start, stop - 1 - centre)
    return farthest
