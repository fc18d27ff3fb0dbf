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

from vgen.enhance.tiling import Windows, run_tiled
from vgen.models.spec import ModelSpec

log = logging.getLogger(__name__)

NOTE = "out of memory on the device: smaller batches or tiles were used"
MIN_SIDE = 64
"""Tiles are not made smaller than this many pixels before running out of memory is final."""
MOST_WINDOWS_CPU = 1
"""On one thread two or four windows at once are no faster than one, and cost memory."""
MOST_BYTES_CPU = 100_000_000
"""Bytes of the windows of a batch: 1080p whole and 4K in tiles for the smallest network."""
MOST_WINDOWS_CUDA = 8
"""Enough to keep small convolutions from being bound by their launches."""
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

    def __init__(self, spec: ModelSpec, *, most_windows: int, most_bytes: int) -> None:
        """Start without having stepped down.

        Args:
            spec: What the network needs.
            most_windows: In a batch.
            most_bytes: Of the windows of a batch; the network itself takes a few times that.
        """
        self._spec = spec
        self._windows = most_windows
        self._bytes = most_bytes
        self._stepped: Limits | None = None

    @classmethod
    def of(cls, device: torch.device, spec: ModelSpec) -> "Memory":
        """Return what is used on ``device``."""
        if device.type != "cuda":
            return cls(spec, most_windows=MOST_WINDOWS_CPU, most_bytes=MOST_BYTES_CPU)
        bytes_total = torch.cuda.get_device_properties(device).total_memory
        return cls(spec, most_windows=MOST_WINDOWS_CUDA, most_bytes=bytes_total // CUDA_SHARE)

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
        function: Callable[[Windows], Tensor],
        inputs: Windows,
        limits: Limits,
        *,
        height: int,
        width: int,
        notes: list[str],
    ) -> Tensor:
        """Return ``function(inputs)``, in ever smaller pieces while memory runs out.

        Args:
            function: Local to the receptive radius; gives one ``[..., h, w]`` a window.
            inputs: Over padded frames of ``height`` x ``width`` pixels.
            limits: Where to start.
            height: Of the padded frame.
            width: Of the padded frame.
            notes: Of the caller's video; told where pieces are smaller than without running out.

        Raises:
            torch.OutOfMemoryError: even the smallest piece does not fit.
        """
        while True:
            if self._stepped is not None:
                asked, limits = limits, limits.within(self._stepped)
                if limits != asked and NOTE not in notes:
                    notes.append(NOTE)
            try:
                return self._in_pieces(function, inputs, limits, height, width)
            except torch.OutOfMemoryError:
                smaller = limits.halved(max(height, width))
                if smaller is None:
                    raise
            # Outside of the handler, whose traceback keeps the failed call's tensors alive.
            log.warning("out of memory at %sx%s: stepping down to %s", width, height, smaller)
            self._stepped = smaller
            if inputs[0][0].is_cuda:
                torch.cuda.empty_cache()

    def _in_pieces(
        self,
        function: Callable[[Windows], Tensor],
        inputs: Windows,
        limits: Limits,
        height: int,
        width: int,
    ) -> Tensor:
        side, made = limits.side, []
        for start in range(0, len(inputs), limits.batch):
            part = inputs[start : start + limits.batch]
            if side is None:
                made.append(function(part))
            else:
                tiled = run_tiled(
                    function, part, height=height, width=width, side=side, spec=self._spec
                )
                made.append(tiled)
        return made[0] if len(made) == 1 else torch.cat(made)
