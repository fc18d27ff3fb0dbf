"""Restore by sampling: draw latents from p(z|y), decode each, and take the mean.

Frames go through one by one, with the memory of the causal convolutions kept from one to the
next and emptied at every cut. What is random about a frame is seeded by its number in the
video alone, and a release states how many frames back it can see; so a frame is the same wherever
its span was cut. All in float32: what samples differ by is small.

Axes: n batch, t time, c channel, h height, w width.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from vgen.enhance.memory import Memory
from vgen.enhance.padding import padded
from vgen.enhance.tiling import Tile, cut_axis
from vgen.enhance.windows import Shown
from vgen.models.causal import Cache
from vgen.models.spec import ModelSpec
from vgen.models.vae import VideoVae

Key = TypeVar("Key")

SAMPLES = 8
"""Restorations whose mean is taken: what is left of their scatter is an eighth in energy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled(Generic[Key]):
    """What the samples of one frame say, ``[1, 3, H, W]`` float32 on the device."""

    key: Key
    residual_nchw: Tensor
    """Mean of what samples add to the frame."""
    deviation_nchw: Tensor
    """Standard deviation over these samples, 0 for a single one."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A tile, and the memory that a network has of it since the last cut."""

    rows: Tile
    columns: Tile
    looking: Cache = field(default_factory=dict)
    decoding: list[Cache] = field(default_factory=list)
    """One for each group of samples that go through the decoder together."""


class Sampler:
    """A conditional ``VideoVae`` on a device."""

    def __init__(
        self, network: VideoVae, spec: ModelSpec, device: torch.device, memory: Memory
    ) -> None:
        """Place ``network``; ``memory`` says how large its tiles may be."""
        self.network = network.to(device).eval().requires_grad_(False)
        """Placed, and ready for inference."""
        self._spec = spec
        self._device = device
        self._memory = memory

    def run(self, shown: Iterable[Shown[Key]], *, samples: int = SAMPLES) -> Iterator[Sampled[Key]]:
        """Yield what samples add to every owned frame, in order.

        Args:
            shown: RGB frames ``[1, 3, H, W]`` of one size, float32, drawn lazily.
            samples: To draw of each frame.

        Raises:
            ValueError: there is less than one sample.
        """
        if samples < 1:
            raise ValueError(f"samples={samples} must be at least 1")
        parts: list[_Part] = []
        for item in shown:
            height, width = item.tensor_nchw.shape[-2:]
            frame_nchw = padded(item.tensor_nchw.to(self._device), self._spec.multiple_of)
            if item.starts_shot or not parts:
                parts = self._parts(frame_nchw, samples)
            moments = self._moments(frame_nchw, parts, samples, item.frame)
            if item.is_owned:
                mean, square = moments[..., :height, :width]
                # Rounding can put the difference below zero.
                deviation = (square - mean.square()).clamp(min=0).sqrt()
                yield Sampled(key=item.key, residual_nchw=mean, deviation_nchw=deviation)

    def _parts(self, frame_nchw: Tensor, samples: int) -> list[_Part]:
        height, width = frame_nchw.shape[-2:]
        together = self._together(samples)
        # The largest tensors: features of all samples of a group at half size.
        features_bytes = together * self.network.settings.widths[0] * height * width
        side = self._memory.limits(features_bytes, height, width).side or max(height, width)
        groups = range(0, samples, together)
        return [
            _Part(rows, columns, {}, [{} for _ in groups])
            for rows in cut_axis(height, side=side, spec=self._spec)
            for columns in cut_axis(width, side=side, spec=self._spec)
        ]

    def _together(self, samples: int) -> int:
        # On a CPU one at a time is as fast, and takes the memory of one.
        return samples if self._device.type == "cuda" else 1

    def _moments(self, frame_nchw: Tensor, parts: list[_Part], samples: int, frame: int) -> Tensor:
        """Return mean and mean square of what samples add, ``[2, 1, 3, H, W]``."""
        noise = self._noise(frame_nchw.shape, samples, frame)
        made = frame_nchw.new_empty((2, *frame_nchw.shape))
        for part in parts:
            rows, columns = part.rows, part.columns
            inside = (slice(rows.begin, rows.end), slice(columns.begin, columns.end))
            sums = self._sums(part, frame_nchw[:, :, *inside], noise)
            kept = sums[
                ...,
                rows.start - rows.begin : rows.stop - rows.begin,
                columns.start - columns.begin : columns.stop - columns.begin,
            ]
            made[..., rows.start : rows.stop, columns.start : columns.stop] = kept / samples
        return made

    def _sums(self, part: _Part, tile_nchw: Tensor, noise: Tensor) -> Tensor:
        features, prior = self.network.look(tile_nchw[:, None], part.looking)
        side = self.network.settings.latent_side
        inside = (
            slice(part.rows.begin // side, part.rows.end // side),
            slice(part.columns.begin // side, part.columns.end // side),
        )
        sums = tile_nchw.new_zeros((2, *tile_nchw.shape))
        groups = torch.split(noise[..., *inside], self._together(len(noise)))
        for group, cache in zip(groups, part.decoding, strict=True):
            added = self.network.added(prior.sample(group), features, cache)[:, 0]
            sums[0] += added.sum(0)
            sums[1] += added.square().sum(0)
        return sums

    def _noise(self, frame_shape: torch.Size, samples: int, frame: int) -> Tensor:
        _, _, *latent_shape = self.network.latent_shape((1, 1, *frame_shape[1:]))
        # Drawn on the CPU, where the same seed gives the same numbers whatever the device.
        generator = torch.Generator().manual_seed(frame)
        return torch.randn((samples, 1, *latent_shape), generator=generator).to(self._device)
