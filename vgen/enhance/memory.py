"""How much goes through a network at once: whole frames in batches, or tiles of one.

Sizes are a function of the frame's size and the device alone, so that the same frames get the
same arithmetic in every span. Only running out of memory on a CUDA device changes them, once and
for good, and the caller's notes say so.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vgen.enhance.tiling import run_tiled
from vgen.models.spec import ModelSpec

log = logging.getLogger(__name__)

MIN_SIDE = 64
"""Tiles are not made smaller than this many pixels before running out of memory is final."""
MOST_WINDOWS = {"cpu": 4, "cuda": 8}
"""Windows in a batch, by device."""
MOST_BYTES_CPU = 160_000_000
"""Bytes of the windows in a batch; what the network holds at once is a few times that."""
CUDA_SHARE = 32
"""On CUDA the windows of a batch take at most one part in this many of the device's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest piece that is given to the network."""

    batch: int
    """Windows."""
    side: int | None
    """Longest side of a tile in pixels, without overlap; None for whole frames."""

    def within(self, other: "Limits") -> "Limits":
        """Return the smaller of both, in each respect."""
        sides = [side for side in (self.side, other.side) if side is not None]
        return Limits(batch=min(self.batch, other.batch), side=min(sides, default=None))

    def halved(self, longest: int) -> "Limits | None":
        """Return limits for half the memory: half the batch, then half the tile.

        None if that would be too small to be worth it. ``longest`` is the frame's longer side.
        """
        if self.batch > 1:
            return Limits(batch=self.batch // 2, side=self.side)
        side = (self.side or longest) // 2
        return Limits(batch=1, side=side) if side >= MIN_SIDE else None


class Memory:
    """What one device can take of one network."""

    def __init__(self, device: torch.device, spec: ModelSpec) -> None:
        self._spec = spec
        self._windows = MOST_WINDOWS["cuda" if device.type == "cuda" else "cpu"]
        self._bytes = MOST_BYTES_CPU
        if device.type == "cuda":
            self._bytes = torch.cuda.get_device_properties(device).total_memory // CUDA_SHARE
        self._stepped: Limits | None = None

    def limits(self, window_bytes: int, height: int, width: int) -> Limits:
        """Return the size of a batch, and of tiles if one window is already too large.

        Args:
            window_bytes: Features of all frames of one window.
            height: Of the padded frame.
            width: Of the padded frame.
        """
        if window_bytes <= self._bytes:
            batch = min(self._windows, self._bytes // max(window_bytes, 1))
            return Limits(batch=batch, side=None)
        pixels = self._bytes * height * width / window_bytes
        side = int(pixels**0.5) - 2 * self._spec.receptive_radius
        return Limits(batch=1, side=max(side, MIN_SIDE))

    def run(
        self,
        function: Callable[[Tensor], Tensor],
        inputs: Tensor,
        limits: Limits,
        *,
        height: int,
        width: int,
        notes: list[str],
    ) -> Tensor:
        """Return ``function(inputs)``, in ever smaller pieces while memory runs out.

        Args:
            function: Local to the receptive radius, and independent across the first axis.
            inputs: ``[N, ..., h, w]`` over padded frames of ``height`` x ``width`` pixels.
            limits: Where to start.
            height: Of the padded frame.
            width: Of the padded frame.
            notes: Told the first time.

        Raises:
            torch.OutOfMemoryError: even the smallest piece does not fit.
        """
        while True:
            if self._stepped is not None:
                limits = limits.within(self._stepped)
            try:
                return self._in_pieces(function, inputs, limits, height, width)
            except torch.OutOfMemoryError:
                smaller = limits.halved(max(height, width))
                if smaller is None:
                    raise
            # Outside of the handler, whose traceback keeps the failed call's tensors alive.
            if self._stepped is None:
                notes.append("out of memory on the device: smaller batches or tiles were used")
            log.warning("out of memory at %sx%s: stepping down to %s", width, height, smaller)
            self._stepped = smaller
            if inputs.is_cuda:
                torch.cuda.empty_cache()

    def _in_pieces(
        self,
        function: Callable[[Tensor], Tensor],
        inputs: Tensor,
        limits: Limits,
        height: int,
        width: int,
    ) -> Tensor:
        side = limits.side
        made = [
            function(part)
            if side is None
            else run_tiled(function, part, height=height, width=width, side=side, spec=self._spec)
            for part in torch.split(inputs, limits.batch)
        ]
        return made[0] if len(made) == 1 else torch.cat(made)
