"""The family of video autoencoders: its numbers, and what a member needs from its caller."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Self

from vgen.errors import ReleaseError
from vgen.models.settings import check_keys, count, counts
from vgen.models.spec import CONDITIONAL_VAE, UNCONDITIONAL_VAE, ModelSpec

PATCH = 2
"""Side of the pixel block that is folded into channels first."""
MAX_WIDTH = 512
MAX_LEVELS = 6
MAX_BLOCKS = 8
MAX_LATENTS = 128
TEMPORAL_STRIDES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaeSettings:
    """The numbers that make one ``VideoVae`` or ``LadderVae`` out of the family."""

    widths: tuple[int, ...] = (32, 48)
    """Features per level, finest first; the first is at half size, each further one at half of
    that."""
    blocks: int = 1
    """Residual blocks per level, on the way down and on the way up."""
    latents: int = 8
    """Numbers for one cell of each level that has latents."""
    latent_levels: int = 1
    """Levels that have latents, from the coarsest on."""
    temporal_stride: int = 1
    """Frames that are made together; clips come in multiples of it."""
    is_conditional: bool = True
    """Whether a degraded clip is looked at: for restoring, and not for making clips up."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.widths) <= MAX_LEVELS:
            raise ReleaseError(f"widths {self.widths} must be 1 to {MAX_LEVELS} levels")
        if any(not 1 <= width <= MAX_WIDTH for width in self.widths):
            raise ReleaseError(f"widths {self.widths} must each be 1 to {MAX_WIDTH}")
        if not 0 <= self.blocks <= MAX_BLOCKS:
            raise ReleaseError(f"blocks {self.blocks} must be 0 to {MAX_BLOCKS}")
        if not 1 <= self.latents <= MAX_LATENTS:
            raise ReleaseError(f"latents {self.latents} must be 1 to {MAX_LATENTS}")
        if self.temporal_stride not in TEMPORAL_STRIDES:
            raise ReleaseError(
                f"temporal stride {self.temporal_stride} is not one of {TEMPORAL_STRIDES}"
            )
        if not 1 <= self.latent_levels <= len(self.widths):
            raise ReleaseError(
                f"latent levels {self.latent_levels} must be 1 to {len(self.widths)}, as many as "
                "there are levels"
            )
        if self.is_conditional and self.latent_levels > 1:
            raise ReleaseError(
                f"latent levels {self.latent_levels} must be 1 in a network that restores"
            )
        if self.is_conditional and self.temporal_stride > 1:
            # Spans start at any frame, and groups of frames would have to start with them.
            raise ReleaseError(
                f"temporal stride {self.temporal_stride} must be 1 in a network that restores"
            )

    @property
    def latent_side(self) -> int:
        """Side in pixels of what one cell of the coarsest latents stands for."""
        return PATCH << (len(self.widths) - 1)

    def grid(self, frames_shape: Sequence[int]) -> tuple[int, int, int, int]:
        """Return N, T / stride, h and w of the coarsest latents of frames ``[N, T, 3, H, W]``.

        Raises:
            ValueError: T is no multiple of the temporal stride, or H or W of the side of a
                latent.
        """
        n, t, _, h, w = frames_shape
        stride, side = self.temporal_stride, self.latent_side
        if t % stride or h % side or w % side:
            raise ValueError(
                f"{t} frames of {w}x{h} must be multiples of {stride} frames and {side} pixels"
            )
        return n, t // stride, h // side, w // side

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
        name = "video_vae"
        check_keys(name, settings, cls.__slots__)
        is_conditional = settings["is_conditional"]
        if type(is_conditional) is not bool:
            raise ReleaseError(
                f"settings of {name}: is_conditional is {is_conditional!r}, not true or false"
            )
        return cls(
            widths=counts(name, "widths", settings["widths"], None),
            blocks=count(name, "blocks", settings["blocks"]),
            latents=count(name, "latents", settings["latents"]),
            latent_levels=count(name, "latent_levels", settings["latent_levels"]),
            temporal_stride=count(name, "temporal_stride", settings["temporal_stride"]),
            is_conditional=is_conditional,
        )


_GENERATE = VaeSettings(
    widths=(24, 32, 48, 64, 64),
    blocks=1,
    latents=24,
    latent_levels=4,
    temporal_stride=2,
    is_conditional=False,
)

VAE_SIZES: Mapping[str, VaeSettings] = {
    "vae-tiny": VaeSettings(widths=(32, 48), blocks=1, latents=24),
    "vae-small": VaeSettings(widths=(48, 96), blocks=2, latents=32),
    "generate-tiny": _GENERATE,
    "generate-small": replace(_GENERATE, latent_levels=5),
}
"""Named members of the family; ``vae-`` restore, ``generate-`` make clips up."""


def vae_spec(settings: VaeSettings) -> ModelSpec:
    """Return what a network with these settings needs from its caller."""
    if not settings.is_conditional:
        return ModelSpec(
            architecture=UNCONDITIONAL_VAE,
            scale=1,
            lead=0,
            tail=0,
            multiple_of=settings.latent_side,
            receptive_radius=0,
            temporal_stride=settings.temporal_stride,
        )
    return ModelSpec(
        architecture=CONDITIONAL_VAE,
        scale=1,
        lead=look_back(settings),
        tail=0,
        multiple_of=settings.latent_side,
        receptive_radius=receptive_radius(settings),
    )


def look_back(settings: VaeSettings) -> int:
    """Frames before one that can change it, through a prior and a decoder without stride."""
    # Two frames for each causal convolution over three: the head and one a block when looking,
    # the entrance and one a block of the coarsest level when decoding.
    looking = 1 + settings.blocks * len(settings.widths)
    decoding = 1 + settings.blocks
    return 2 * (looking + decoding)


def receptive_radius(settings: VaeSettings) -> int:
    """Farthest input pixel, to either side, that can change one output pixel.

    Interval arithmetic back from an output pixel through the coarsest level, for every
    position inside a coarsest cell, since strides make the reach depend on it.
    """
    cell, blocks, levels = settings.latent_side, 2 * settings.blocks, len(settings.widths)
    farthest = 0
    for position in range(cell * 64, cell * 65):
        start = stop = position // PATCH
        start, stop = start - 1, stop + 1
        for _ in range(levels - 1):
            start, stop = (start - blocks) // 2, (stop + blocks) // 2
        coarsest = 2 * blocks + 2
        start, stop = start - coarsest, stop + coarsest
        for _ in range(levels - 1):
            start, stop = 2 * start - blocks, 2 * stop + 1 + blocks
        start, stop = (start - 1) * PATCH, (stop + 2) * PATCH
        farthest = max(farthest, position - start, stop - 1 - position)
    return farthest
