"""3-D look-up tables, and the ``.cube`` files they come in.

The format is Adobe's "Cube LUT Specification" 1.0: lines of keywords and then size^3 lines of red,
green and blue, red's index fastest. Files are hostile: sizes are checked before anything is kept.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vgen.errors import ConfigError

MAX_SIZE = 128
"""Largest side; files in use have 17 to 65."""

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lut:
    """A table of colours."""

    table_cbgr: Tensor
    """float32 ``[3, size, size, size]``: red, green, blue at an index of blue, green, red."""
    low: Triple
    """Red, green and blue of the first entry."""
    high: Triple
    """Red, green and blue of the last entry."""

    def apply(self, frames_tchw: Tensor) -> Tensor:
        """Return the looked-up colours, interpolated trilinearly; outside the table, its edge."""
        low, high = (frames_tchw.new_tensor(edge)[:, None, None] for edge in (self.low, self.high))
        # grid_sample's x runs along the last axis, which is red's.
        where_tchw = (frames_tchw - low) / (high - low) * 2 - 1
        grid_tdhwc = where_tchw.permute(0, 2, 3, 1)[:, None]
        table = self.table_cbgr.to(frames_tchw).expand(len(frames_tchw), -1, -1, -1, -1)
        found = F.grid_sample(table, grid_tdhwc, padding_mode="border", align_corners=True)
        return found[:, :, 0].clamp(0, 1)


def parse_cube(text: str, *, uri: str) -> Lut:
    """Read a ``.cube`` file.

    Raises:
        ConfigError: not a 3-D table, too large, or its numbers are not what it announces.
    """
    sizes = 0
    edges: dict[str, Triple] = {"DOMAIN_MIN": (0.0, 0.0, 0.0), "DOMAIN_MAX": (1.0, 1.0, 1.0)}
    rows: list[Triple] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].split()
        if not words or words[0] == "TITLE":
            continue
        if words[0] == "LUT_3D_SIZE":
            sizes = _size(words, uri)
        elif words[0] == "LUT_3D_INPUT_RANGE":  # what DaVinci Resolve writes in place of the edges
            bottom, top, _ = _triple([*words[1:], "0"], number, uri)
            edges = {"DOMAIN_MIN": (bottom,) * 3, "DOMAIN_MAX": (top,) * 3}
        elif words[0] in edges:
            edges[words[0]] = _triple(words[1:], number, uri)
        elif words[0][0].isalpha():
            raise ConfigError(f"{uri!r} line {number}: expected a 3-D table, got {words[0][:40]!r}")
        else:
            rows.append(_triple(words, number, uri))
        if len(rows) > sizes**3:
            raise ConfigError(f"{uri!r} line {number}: more than LUT_3D_SIZE {sizes} cubed rows")
    if not sizes or len(rows) != sizes**3:
        raise ConfigError(f"{uri!r}: expected LUT_3D_SIZE cubed = {sizes**3} rows, got {len(rows)}")
    low, high = edges["DOMAIN_MIN"], edges["DOMAIN_MAX"]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise ConfigError(f"{uri!r}: DOMAIN_MIN {low} is not below DOMAIN_MAX {high}")
    table = np.array(rows, np.float32).reshape(sizes, sizes, sizes, 3)
    return Lut(
        table_cbgr=torch.from_numpy(np.moveaxis(table, -1, 0).copy()),
        low=low,
        high=high,
    )


def _size(words: list[str], uri: str) -> int:
    size = int(words[1]) if len(words) == 2 and words[1].isascii() and words[1].isdecimal() else 0
    if not 2 <= size <= MAX_SIZE:
        raise ConfigError(f"{uri!r}: expected LUT_3D_SIZE 2 to {MAX_SIZE}, got {words[1:2]}")
    return size


def _triple(words: list[str], number: int, uri: str) -> Triple:
    try:
        values = tuple(float(word) for word in words)
    except ValueError as error:
        raise ConfigError(f"{uri!r} line {number}: expected three numbers") from error
    if len(values) != 3 or not np.isfinite(values).all():
        raise ConfigError(f"{uri!r} line {number}: expected three finite numbers, got {values[:4]}")
    return values[0], values[1], values[2]
