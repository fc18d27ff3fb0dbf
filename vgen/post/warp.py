"""Show a frame, or what lies between its black bars, as a map says.

Axes: c channel, h height, w width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vgen.post.bars import WHOLE, Sides, pixels_inside
from vgen.post.path import Maps, aspect_of, place_of, seen_from


def warped(frame_1chw: Tensor, row: Maps, *, zoom: float, inside: Sides, aspect: float) -> Tensor:
    """Return the frame with its inside as a camera sees it that looks along the map.

    Args:
        frame_1chw: The frame; its bars come back bit for bit.
        row: dx, dy, a, b, in the coordinates of the frame: where a point is found.
        zoom: Side of the part that is shown, as a share of the inside's.
        inside: What lies between black bars.
        aspect: Width by height of the shown frame.
    """
    if inside == WHOLE:
        return _sampled(frame_1chw, _theta(row, zoom, aspect))
    height, width = frame_1chw.shape[-2:]
    rows, columns = pixels_inside(inside, height, width)
    # Of this size, and not of the measured one, as that need not end where a row does.
    inside = (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)
    theta = _theta(seen_from(place_of(inside, aspect), row), zoom, aspect_of(inside, aspect))
    out_1chw = frame_1chw.clone()
    out_1chw[..., rows, columns] = _sampled(frame_1chw[..., rows, columns], theta)
    return out_1chw


def _theta(row: Maps, zoom: float, aspect: float) -> Tensor:
    """Return the map in ``affine_grid``'s coordinates, [-1, 1] on both axes."""
    dx, dy, a, b = row.tolist()
    rows = [
        [a * zoom, -b * zoom / aspect, 2 * dx],
        [b * zoom * aspect, a * zoom, 2 * dy * aspect],
    ]
    return torch.tensor([rows], dtype=torch.float64)


def _sampled(frame_1chw: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta.to(frame_1chw), list(frame_1chw.shape), align_corners=False)
    return F.grid_sample(
        frame_1chw,
        grid,
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
