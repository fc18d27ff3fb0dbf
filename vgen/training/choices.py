"""What can be chosen of a training, apart from the code that follows it; without torch."""

from dataclasses import asdict, dataclass, field
from typing import Literal

GanKind = Literal["ns", "hinge", "rpgan"]
"""Non-saturating (Goodfellow et al., 2014), hinge (Lim and Ye, 2017), relativistic pairing
(Jolicoeur-Martineau, 2018; R3GAN: Huang et al., 2024)."""

PENALTY_EVERY = 8
"""Steps between two gradient penalties, each then counted this many times (lazy
regularisation: Karras et al., 2020)."""
FREE_NATS = 0.02
"""Per latent dimension: KL below this costs nothing, so that no dimension is given up early
(free bits: Kingma et al., 2016)."""
WARMUP_SHARE = 0.2
"""Of the training during which the weight of KL rises from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """How much each term counts."""

    pixel: float = 1.0
    """Charbonnier distance in RGB, averaged over all axes."""
    luma: float = 1.0
    """The same of luma alone. What 4:2:0 took from the colours cannot come back; without this
    term it outweighs the detail that can."""
    relative: float = 0.1
    """Logarithm of each sample's squared error, half in RGB and half in luma: a decibel counts
    the same on a good picture as on a bad one. Without it noise, whose errors are large, teaches
    the network to smooth what was clean."""

    def __post_init__(self) -> None:
        if self.pixel <= 0:
            raise ValueError(f"pixel={self.pixel} must be positive: it anchors colour and position")
        for name in ("luma", "relative"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How often each kind of damage is drawn; only the ratios count."""

    noise: float = 0.085
    """Gaussian noise, sigma up to 55."""
    noise_subsampled: float = 0.03
    """The same, kept in a lossless 4:2:0 file."""
    sensor: float = 0.015
    """Noise that grows with light, often correlated between neighbours."""
    chroma: float = 0.01
    """Noise that is stronger and coarser in colour."""
    codec: float = 0.55
    """x264 crf 18 to 46, MPEG-2, MPEG-4. Half of the mix: noise is learned in minutes, while
    what a codec loses comes back slowly and by tenths of a decibel."""
    bit_rate: float = 0.015
    """x264 starved of bits."""
    broadcast: float = 0.02
    """MPEG-2 and MPEG-4 with B-frames at low rates."""
    modern: float = 0.01
    """x265 and VP9; slow to make."""
    noise_then_codec: float = 0.06
    """Light noise that a codec then had to spend its bits on."""
    soft: float = 0.025
    """Blur, or a smaller size and back; half of it coded afterwards."""
    blur: float = 0.005
    """Blur of any direction and shape, drifting."""
    motion: float = 0.005
    """Blur along a direction."""
    jpeg: float = 0.01
    """Every frame a JPEG of its own, of one quality or a drifting one."""
    twice: float = 0.03
    """Blur, size, noise and JPEG, once more and lighter, then a codec."""
    clean: float = 0.02
    """Untouched, or 4:2:0 alone."""
    near_clean: float = 0.11
    """x264 crf 10 to 18."""
    tape: float = 0.0
    """Video cassettes."""
    interlaced: float = 0.0
    """Two fields in a frame, or one doubled."""

    def __post_init__(self) -> None:
        shares = asdict(self)
        if min(shares.values()) < 0 or sum(shares.values()) <= 0:
            raise ValueError(f"shares must not be negative and not all 0, got {shares}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How many examples are kept, and how large they are."""

    size: int = 512
    """Examples in the pool; 0.5 MB each at the default size."""
    frames: int = 5
    """Frames of an example; the window is cut from them."""
    side_px: int = 128
    """Height and width of a damaged picture, coded whole and cropped later at multiples of 8, so
    that a crop has the codec's block grid where a video has it."""
    scale: int = 1
    """The clean picture is this many times as large along each side: 1, 2 or 4."""
    mix: Mix = field(default_factory=Mix)
    """Kinds of damage and their shares."""

    def __post_init__(self) -> None:
        if self.size < 1 or self.frames < 1 or self.side_px < 16 or self.side_px % 4:
            raise ValueError(f"need examples of a side that is a multiple of 4, got {self}")
        if self.scale not in (1, 2, 4):
            raise ValueError(f"scale must be 1, 2 or 4, got {self.scale}")
