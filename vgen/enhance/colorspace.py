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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgen.enhance.coding import Coding
from vgen.enhance.resample import downsample, upsample

Plane = NDArray[np.uint8] | NDArray[np.uint16]


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
        self._to_signals = target.signal_matrix(uri=uri)
        self._to_rgb: NDArray[np.float64] | None = None
        if not source.format.is_gray:
            inverse = np.linalg.inv(source.signal_matrix(uri=uri))
            # Ones and noughts come out of the inversion with a tail, and cost nothing without.
            self._to_rgb = np.asarray(inverse.round(12), np.float64)

    def load(self, planes: Sequence[Plane]) -> list[Tensor]:
        """Put planes on the device as integers ``[H, W]``; on a CPU they stay where they are."""
        return [torch.from_numpy(plane).to(self._device) for plane in planes]

    def rgb(self, planes: Sequence[Tensor]) -> Tensor:
        """Return R'G'B' ``[1, 3, H, W]``, nominally in [0, 1], channels last in memory.

        Chroma is interpolated linearly.
        """
        signals = [
            _float(plane).sub_(offset).mul_(1 / gain)
            for plane, (gain, offset) in zip(planes, self._source.scales(), strict=True)
        ]
        if self._to_rgb is None:
            return signals[0].expand(-1, 3, -1, -1)
        size = signals[0].shape[-2:]
        if not self._source.format.is_rgb:
            chroma_nchw = _chroma_to_luma(torch.cat(signals[1:], dim=1), self._source, size)
            signals[1:] = chroma_nchw[:, :1], chroma_nchw[:, 1:]
        return _mixed(signals, self._to_rgb)

    def compose(
        self, planes: Sequence[Tensor], residual_nchw: Tensor | None, *, strength: float = 1.0
    ) -> list[Plane]:
        """Return output planes: the source's, enlarged, plus the residual, rounded once.

        Args:
            planes: As made by ``load``.
            residual_nchw: What to add to R'G'B', at the output's size; None for nothing.
            strength: How much of it.
        """
        target = self._target
        if self._source.has_same_signals(target):
            codes = self._carried([_float(plane) for plane in planes])
        else:
            codes = self._painted(_enlarged(self.rgb(planes), self._scale))
        if residual_nchw is not None:
            self._add(codes, residual_nchw, strength)
        return [self._rounded(code) for code in codes]

    def restored(
        self, source_nchw: Tensor, residual_nchw: Tensor | None, *, strength: float = 1.0
    ) -> Tensor:
        """Return R'G'B' at the output's size: the source's, enlarged, plus the residual.

        Args:
            source_nchw: As made by ``rgb``; the very tensor comes back where nothing changes it.
            residual_nchw: What to add; None for nothing.
            strength: How much of it.
        """
        base_nchw = _enlarged(source_nchw, self._scale)
        return base_nchw if residual_nchw is None else base_nchw + strength * residual_nchw

    def paint(self, rgb_nchw: Tensor) -> list[Plane]:
        """Return output planes of R'G'B' at the output's size, rounded once."""
        return [self._rounded(code) for code in self._painted(rgb_nchw)]

    def _painted(self, rgb_nchw: Tensor) -> list[Tensor]:
        codes = [
            code.new_full((1, 1, *code.shape[-2:]), offset)
            for code, (_, offset) in zip(
                self._on_grids(rgb_nchw), self._target.scales(), strict=True
            )
        ]
        self._add(codes, rgb_nchw, 1.0)
        return codes

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

    def _add(self, codes: Sequence[Tensor], rgb_nchw: Tensor, strength: float) -> None:
        """Add R'G'B', as the target's signals, to its code values in place."""
        # The network leaves channels interleaved; everything here runs along planes.
        rgb_nchw = rgb_nchw.contiguous()
        grids = self._on_grids(rgb_nchw)
        for code, grid, row, (gain, _) in zip(
            codes, grids, self._to_signals, self._target.scales(), strict=True
        ):
            for channel, weight in enumerate(row):
                if weight:
                    code.add_(grid[:, channel : channel + 1], alpha=gain * strength * weight)

    def _on_grids(self, rgb_nchw: Tensor) -> list[Tensor]:
        """Return RGB as each plane of the target samples it."""
        planes = len(self._target.scales())
        if planes == 1 or self._target.format.is_rgb:
            return [rgb_nchw] * planes
        small_nchw = _luma_to_chroma(rgb_nchw, self._target)
        return [rgb_nchw, small_nchw, small_nchw]

    def _rounded(self, codes_nchw: Tensor) -> Plane:
        bits = self._target.format.bit_depth
        dtype = torch.uint8 if bits == 8 else torch.uint16
        # Truncation after adding a half is floor for what is left after clipping.
        whole_nchw = codes_nchw.clamp_(0, (1 << bits) - 1).add_(0.5).to(dtype)
        plane: Plane = whole_nchw[0, 0].cpu().numpy()
        return plane


def _float(plane: Tensor) -> Tensor:
    return plane.to(torch.float32)[None, None]


def _mixed(planes: Sequence[Tensor], matrix: NDArray[np.float64]) -> Tensor:
    """Return the rows of ``matrix`` applied to planes, as channels, which lie last in memory."""
    height, width = planes[0].shape[-2:]
    mixed_nchw = torch.empty(
        (1, len(matrix), height, width),
        device=planes[0].device,
        memory_format=torch.channels_last,
    )
    for channel, weights in enumerate(matrix.tolist()):
        (first, weight), *rest = [
            (plane, weight) for plane, weight in zip(planes, weights, strict=True) if weight
        ]
        row = first if weight == 1 else first * weight
        for plane, weight in rest[:-1]:
            row = torch.add(row, plane, alpha=weight)
        # Interleaving costs as much as the sum itself, so the last sum does it on the way.
        target = mixed_nchw[:, channel : channel + 1]
        if rest:
            torch.add(row, rest[-1][0], alpha=rest[-1][1], out=target)
        else:
            target.copy_(row)
    return mixed_nchw


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
    # Rows first: skipping columns is what costs, and then there is half of it to do.
    for dim, step, offset in ((-2, down, y), (-1, across, x)):
        length = -(-plane.shape[dim] // step)
        plane = downsample(plane, factor=step, offset=offset, size=length, dim=dim)
    return plane
