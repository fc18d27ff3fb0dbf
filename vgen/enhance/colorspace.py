"""YUV <-> RGB by the equations of ITU-T H.273, in float32, without swscale.

The network sees non-linear R'G'B' as coded: PQ and HLG sources are handled as plain code
values, since the same transfer that encoded them decodes them. What the network adds is
linear in RGB, so it is turned into YUV and added to the source's own samples: a residual of
zero gives the source bit for bit, with no round trip of the chroma.

Rounding: half up, once, after everything is added; then clipped to what the bits can hold,
not to nominal range, because sources use the room above and below it.

Axes: n batch, c channel (R, G, B or Y, Cb, Cr), h height, w width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgen.enhance.resample import downsample, upsample
from vgen.errors import ProbeError
from vgen.media.facts import ColorTags
from vgen.media.pixels import PlanarFormat

IDENTITY_MATRIX = 0
UNSPECIFIED_MATRIX = 2
YCGCO_MATRIX = 8

Plane = NDArray[np.uint8] | NDArray[np.uint16]

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


def luma_matrix(matrix: int, *, uri: str) -> NDArray[np.float64]:
    """Return the 3x3 that takes R'G'B' in [0, 1] to Y' in [0, 1] and Cb, Cr in [-0.5, 0.5].

    Raises:
        ProbeError: the code stands for no linear, known matrix.
    """
    if matrix == YCGCO_MATRIX:
        return np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])
    if matrix not in _KR_KB:
        raise ProbeError(
            f"colour matrix {matrix} (ITU-T H.273) cannot be converted; "
            f"known are {sorted([*_KR_KB, YCGCO_MATRIX])}",
            uri=uri,
        )
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


class Converter:
    """Turns the planes of one video into RGB, and base plus residual into output planes.

    Args:
        source: How the decoded planes are coded.
        target: How the planes to encode are coded.
        scale: Output samples for one input sample, along each side.
        device: Where the arithmetic is done.
        uri: The video, for errors.

    Raises:
        ProbeError: a colour matrix that cannot be converted.
    """

    def __init__(
        self, source: Coding, target: Coding, *, scale: int, device: torch.device, uri: str
    ) -> None:
        self._source = source
        self._target = target
        self._scale = scale
        self._device = device
        forward = target.signal_matrix(uri=uri)
        self._to_signals = torch.tensor(forward, dtype=torch.float32, device=device)
        self._to_rgb: Tensor | None = None
        if not source.format.is_gray:
            inverse = np.linalg.inv(source.signal_matrix(uri=uri))
            self._to_rgb = torch.tensor(inverse, dtype=torch.float32, device=device)

    def load(self, planes: Sequence[Plane]) -> list[Tensor]:
        """Copy planes to the device, as float32 code values ``[1, 1, H, W]``."""
        return [
            torch.from_numpy(plane).to(self._device).to(torch.float32)[None, None]
            for plane in planes
        ]

    def rgb(self, planes: Sequence[Tensor]) -> Tensor:
        """Return R'G'B' ``[1, 3, H, W]``, nominally in [0, 1]; chroma is interpolated linearly."""
        signals = [
            (plane - offset) / gain
            for plane, (gain, offset) in zip(planes, self._source.scales(), strict=True)
        ]
        if self._to_rgb is None:
            return signals[0].expand(-1, 3, -1, -1)
        size = signals[0].shape[-2:]
        full = [signals[0], *(_chroma_to_luma(s, self._source, size) for s in signals[1:])]
        return torch.einsum("rc,nchw->nrhw", self._to_rgb, torch.cat(full, dim=1))

    def compose(self, planes: Sequence[Tensor], residual_nchw: Tensor | None) -> list[Plane]:
        """Return output planes: the source's, enlarged, plus the residual, rounded once.

        Args:
            planes: As made by ``load``.
            residual_nchw: What to add to R'G'B', at the output's size; None for nothing.
        """
        if self._source.has_same_signals(self._target):
            codes = self._carried(planes)
        else:
            rgb_nchw = _enlarged(self.rgb(planes), self._scale)
            scaled = zip(self._signals(rgb_nchw), self._target.scales(), strict=True)
            codes = [signal * gain + offset for signal, (gain, offset) in scaled]
        if residual_nchw is not None:
            more = zip(codes, self._signals(residual_nchw), self._target.scales(), strict=True)
            codes = [code + signal * gain for code, signal, (gain, _) in more]
        return [self._rounded(code) for code in codes]

    def _carried(self, planes: Sequence[Tensor]) -> list[Tensor]:
        """Return source planes as target code values: larger, on its grid, at its depth."""
        source, target = self._source, self._target
        large = [_enlarged(planes[0], self._scale)]
        size = large[0].shape[-2:]
        kept = 1 if source.format.is_gray or target.format.is_gray else 3
        for plane in planes[1:kept]:
            chroma = _enlarged(plane, self._scale, coding=source, size=size)
            if not source.has_same_grid(target):
                chroma = _luma_to_chroma(_chroma_to_luma(chroma, source, size), target)
            large.append(chroma)
        scales = zip(large, source.scales(), target.scales(), strict=False)
        codes = [_recoded(plane, old, new) for plane, old, new in scales]
        if source.format.is_gray and not target.format.is_gray:
            shape = target.format.plane_shapes(size[1], size[0])[1]
            middle = target.scales()[1][1]
            codes += [codes[0].new_full((1, 1, *shape), middle) for _ in range(2)]
        return codes

    def _signals(self, rgb_nchw: Tensor) -> list[Tensor]:
        signals_nchw = torch.einsum("cr,nrhw->nchw", self._to_signals, rgb_nchw)
        luma, *chroma = torch.split(signals_nchw, 1, dim=1)
        return [luma, *(_luma_to_chroma(plane, self._target) for plane in chroma)]

    def _rounded(self, codes_nchw: Tensor) -> Plane:
        bits = self._target.format.bit_depth
        dtype = torch.uint8 if bits == 8 else torch.uint16
        # Truncation after adding a half is floor for what is left after clipping.
        whole_nchw = codes_nchw.clamp(0, (1 << bits) - 1).add_(0.5).to(dtype)
        plane: Plane = whole_nchw[0, 0].cpu().numpy()
        return plane


def _recoded(plane: Tensor, old: tuple[float, float], new: tuple[float, float]) -> Tensor:
    """Move code values to another depth or range; untouched, hence exact, if both agree."""
    gain = new[0] / old[0]
    return plane if old == new else plane * gain + (new[1] - gain * old[1])


def _enlarged(
    plane: Tensor, scale: int, *, coding: Coding | None = None, size: Sequence[int] | None = None
) -> Tensor:
    """Enlarge a luma or RGB plane, or with ``coding`` a chroma plane, by bicubic convolution."""
    if scale == 1:
        return plane
    across, down, x, y = (1, 1, 0.0, 0.0) if coding is None else coding.grid()
    for dim, step, offset in ((-1, across, x), (-2, down, y)):
        length = scale * plane.shape[dim] if size is None else -(-size[dim] // step)
        # Pixel areas of source and output coincide, so chroma samples keep their siting on
        # the output's grid only if each is taken half of a sample's width elsewhere.
        shift = (offset + 0.5) * (1 / scale - 1) / step
        plane = upsample(plane, factor=scale, shift=shift, size=length, dim=dim, kernel="cubic")
    return plane


def _chroma_to_luma(plane: Tensor, coding: Coding, size: Sequence[int]) -> Tensor:
    across, down, x, y = coding.grid()
    for dim, step, offset in ((-1, across, x), (-2, down, y)):
        plane = upsample(
            plane, factor=step, shift=-offset / step, size=size[dim], dim=dim, kernel="linear"
        )
    return plane


def _luma_to_chroma(plane: Tensor, coding: Coding) -> Tensor:
    across, down, x, y = coding.grid()
    for dim, step, offset in ((-1, across, x), (-2, down, y)):
        length = -(-plane.shape[dim] // step)
        plane = downsample(plane, factor=step, offset=offset, size=length, dim=dim)
    return plane
