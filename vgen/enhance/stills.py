"""The pair of pictures that shows best what a span's restoration did.

A few frames of a span are looked at, picked by their place among those that come, so that the
same span gives the same pair. Pictures are small, lie as they are coded (turning them is the
page's business) and show PQ and HLG as plain code values.
"""

import base64
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vgen.enhance.coding import (
    BT709_MATRIX,
    Coding,
    is_known_matrix,
    luma_matrix,
    target_coding,
)
from vgen.enhance.colorspace import Converter
from vgen.media.facts import ColorTags, VideoStream
from vgen.media.pixels import planes_of
from vgen.records import Still

STRIDE = 60
"""One frame in this many is looked at, from the first on."""
MAX_MEASURED_WIDTH = 960
"""Widest picture that the change is measured on."""
MAX_WIDTH = 480
"""Widest still, in pixels."""
JPEG_QUALITY = 80
_AREA = cv2.INTER_AREA


class StillPicker:
    """Keeps the pair of source and output frame whose luma differs most.

    Give it the frames on their way in by ``before`` and on their way out by ``after``; or
    pairs, by ``observe``.
    """

    def __init__(
        self, *, is_enabled: bool, video: VideoStream, out_color: ColorTags | None = None
    ) -> None:
        """Start with nothing.

        Args:
            is_enabled: False makes everything here do nothing.
            video: What the source's frames are.
            out_color: Tags of the output; None for the source's.
        """
        self._is_enabled = is_enabled
        self._video = video
        self._out_color = out_color
        self._waiting: deque[av.VideoFrame] = deque()
        self._num_observed = 0
        self._still: Still | None = None

    def before(self, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Pass source frames on, remembering those whose output is still to come."""
        for frame in frames:
            if self._is_enabled:
                self._waiting.append(frame)
            yield frame

    def after(self, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Pass output frames on, each observed beside the source frame with its PTS."""
        for frame in frames:
            while self._waiting and _pts(self._waiting[0]) < _pts(frame):
                self._waiting.popleft()
            if self._waiting and self._waiting[0].pts == frame.pts:
                self.observe(self._waiting.popleft(), frame)
            yield frame

    def observe(self, before: av.VideoFrame, after: av.VideoFrame) -> None:
        """Consider one pair of planar frames; most are passed over at no cost."""
        index = self._num_observed
        self._num_observed += 1
        if not self._is_enabled or index % STRIDE:
            return
        if after is before and self._still is not None:
            return  # nothing changed, and the first such pair is kept
        size = _measured_size(before.width, before.height)
        before_hwc = _rgb(before, target_coding(self._video, before.format.name, None), size)
        out_coding = target_coding(self._video, after.format.name, self._out_color)
        after_hwc = _rgb(after, out_coding, size)
        weights = luma_matrix(BT709_MATRIX, uri="")[0].astype(np.float32)
        change = float(np.abs((after_hwc - before_hwc) @ weights).mean())
        if self._still is None or change > self._still.change:
            self._still = Still(
                pts=_pts(before),
                change=change,
                before_jpeg=_jpeg(before_hwc),
                after_jpeg=_jpeg(after_hwc),
            )

    def still(self) -> Still | None:
        """Return the best pair so far; None if no frame came or stills are off."""
        return self._still


def _measured_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height at which pictures are compared: a whole part of the source's."""
    step = -(-width // MAX_MEASURED_WIDTH)
    return -(-width // step), max(height // step, 1)


def _rgb(frame: av.VideoFrame, coding: Coding, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return R'G'B' ``[H, W, 3]`` in 8-bit levels, not clipped, ``size`` being W and H."""
    if not is_known_matrix(coding.matrix):
        # Frames in an exotic matrix can pass through unchanged; their stills come out tinted.
        coding = replace(coding, matrix=BT709_MATRIX)
    # Planes are made small before they become floats: 4K in RGB would be 100 MB a copy.
    shapes = coding.format.plane_shapes(*size)
    planes = [
        plane if plane.shape == shape else cv2.resize(plane, shape[::-1], interpolation=_AREA)
        for plane, shape in zip(planes_of(frame), shapes, strict=True)
    ]
    converter = Converter(coding, coding, scale=1, device=torch.device("cpu"), uri="")
    rgb_nchw = converter.rgb(converter.load(planes))
    rgb_hwc: NDArray[np.float32] = rgb_nchw[0].permute(1, 2, 0).mul(255).numpy()
    return rgb_hwc


def _jpeg(rgb_hwc: NDArray[np.float32]) -> str:
    """Return base64 of a JPEG at most ``MAX_WIDTH`` wide."""
    height, width = rgb_hwc.shape[:2]
    if width > MAX_WIDTH:
        size = (MAX_WIDTH, max(round(height * MAX_WIDTH / width), 1))
        rgb_hwc = cv2.resize(rgb_hwc, size, interpolation=_AREA)
    bgr_hwc = np.clip(rgb_hwc[..., ::-1] + 0.5, 0, 255).astype(np.uint8)
    is_written, jpeg = cv2.imencode(".jpg", bgr_hwc, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert is_written
    return base64.b64encode(jpeg.tobytes()).decode("ascii")


def _pts(frame: av.VideoFrame) -> int:
    assert frame.pts is not None, "decoding gives every frame its PTS"
    return frame.pts
