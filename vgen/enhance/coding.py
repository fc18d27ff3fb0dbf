"""What the sample values of planes mean: the numbers of ITU-T H.273.

A format says how many bits and how much chroma there is, colour tags say which matrix, range and
siting; together they are a ``Coding``. Nothing in it may be unspecified.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vgen.errors import ProbeError
from vgen.media.facts import ColorTags, VideoStream
from vgen.media.pixels import PlanarFormat, planar_format

IDENTITY_MATRIX = 0
"""MatrixCoefficients of RGB."""
BT709_MATRIX = 1
UNSPECIFIED_MATRIX = 2
YCGCO_MATRIX = 8

# ITU-T H.273 (07/2021) table 4: KR and KB by MatrixCoefficients.
_KR_KB = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470 B/G, BT.601 625 lines
    6: (0.299, 0.114),  # SMPTE 170M, BT.601 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020 non-constant luminance
}
# AVChromaLocation: 1 left, 2 centre, 3 top left, 4 top, 5 bottom left, 6 bottom. Unspecified
# is left, as MPEG-2 and everything after it has it; JPEG decoders do say centre.
_CENTRED_ACROSS = (2, 4, 6)
_AT_TOP = (3, 4)
_AT_BOTTOM = (5, 6)


def is_known_matrix(matrix: int) -> bool:
    """Whether YUV with these MatrixCoefficients can be converted."""
    return matrix in _KR_KB or matrix == YCGCO_MATRIX


def luma_matrix(matrix: int, *, uri: str) -> NDArray[np.float64]:
    """Return the 3x3 that takes R'G'B' in [0, 1] to Y' in [0, 1] and Cb, Cr in [-0.5, 0.5].

    Raises:
        ProbeError: the code stands for no linear, known matrix.
    """
    if not is_known_matrix(matrix):
        raise ProbeError(
            f"colour matrix {matrix} (ITU-T H.273) cannot be converted; "
            f"known are {sorted([*_KR_KB, YCGCO_MATRIX])}",
            uri=uri,
        )
    if matrix == YCGCO_MATRIX:
        return np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])
    kr, kb = _KR_KB[matrix]
    luma = np.array([kr, 1 - kr - kb, kb])
    blue, red = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    return np.stack([luma, (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How the planes of one format and colour description stand for R'G'B'."""

    format: PlanarFormat
    matrix: int
    """MatrixCoefficients; ignored by RGB formats."""
    is_full_range: bool
    chroma_location: int = 0

    @classmethod
    def of(cls, pixel_format: PlanarFormat, color: ColorTags) -> "Coding":
        """Combine a format with colour tags in which nothing is unspecified."""
        return cls(
            format=pixel_format,
            matrix=color.matrix,
            is_full_range=color.is_full_range,
            chroma_location=color.chroma_location,
        )

    def scales(self) -> tuple[tuple[float, float], ...]:
        """Return ``(gain, offset)`` of each plane: code value = gain * signal + offset."""
        bits = self.format.bit_depth
        step, middle = 1 << (bits - 8), float(1 << (bits - 1))
        top = float((1 << bits) - 1)
        luma = (top, 0.0) if self.is_full_range else (219.0 * step, 16.0 * step)
        # Cg and Co are differences of R, G and B as quantised, so they keep luma's 219.
        span = 219.0 if self.matrix == YCGCO_MATRIX else 224.0
        chroma = (top if self.is_full_range else span * step, middle)
        if self.format.is_rgb:
            return (luma, luma, luma)
        return (luma,) if self.format.is_gray else (luma, chroma, chroma)

    def siting(self) -> tuple[float, float]:
        """Return where the first chroma sample lies, in luma samples across and down."""
        across, down = 1 << self.format.log2_chroma_w, 1 << self.format.log2_chroma_h
        x = (across - 1) / 2 if self.chroma_location in _CENTRED_ACROSS else 0.0
        y = (down - 1) / 2
        if self.chroma_location in _AT_TOP:
            y = 0.0
        elif self.chroma_location in _AT_BOTTOM:
            y = float(down - 1)
        return x, y

    def signal_matrix(self, *, uri: str) -> NDArray[np.float64]:
        """Return the matrix from R'G'B' to the signals of the planes, in their order."""
        if self.format.is_rgb:
            return np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
        matrix = luma_matrix(self.matrix, uri=uri)
        return matrix[:1] if self.format.is_gray else matrix

    def has_same_signals(self, other: "Coding") -> bool:
        """Whether planes of both stand for the same quantities, at whatever depth and size."""
        if self.format.is_rgb or other.format.is_rgb:
            return self.format.is_rgb and other.format.is_rgb
        return self.format.is_gray or other.format.is_gray or self.matrix == other.matrix

    def has_same_grid(self, other: "Coding") -> bool:
        """Whether chroma samples of both lie at the same places."""
        return self.grid() == other.grid()

    def grid(self) -> tuple[int, int, float, float]:
        """Return the chroma step across and down, then the siting."""
        return (1 << self.format.log2_chroma_w, 1 << self.format.log2_chroma_h, *self.siting())


def target_coding(video: VideoStream, out_format: str, out_color: ColorTags | None) -> Coding:
    """Return how output planes are coded: as ``out_color`` says, else as the source is.

    An RGB source written as YUV without a named matrix is written as BT.709.
    """
    color = video.color if out_color is None else out_color
    made = planar_format(out_format)
    matrix = color.matrix
    if matrix == UNSPECIFIED_MATRIX:
        matrix = video.color.matrix
    if matrix == IDENTITY_MATRIX and not made.is_rgb:
        matrix = BT709_MATRIX
    return Coding.of(made, color.model_copy(update={"matrix": matrix}))
