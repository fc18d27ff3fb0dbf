"""From one source file to the clean clips in it.

Of a video one clip is taken from each of a few equal parts: the first run of frames, from a place
that the seed decides, that lies in one shot and is fit. The source's own bytes seed that choice,
so the same file gives the same clips wherever it lies and whoever reads it. Frames of videos are
taken as they are coded: neither rotated nor stretched to square pixels, and HDR by its code values.
Stills are turned upright as their EXIF says, which OpenCV does as it reads them.

Clips are uint8 RGB arrays ``[T, H, W, 3]``.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

import av
import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from vgen.enhance.coding import Coding
from vgen.enhance.colorspace import Converter
from vgen.enhance.shots import Thumbnail, is_cut, thumbnail
from vgen.errors import DecodeError, ProbeError
from vgen.media.decode import DecodeStats, NeedsSequential, decode_span
from vgen.media.facts import VideoInfo
from vgen.media.pixels import planar_format, planes_of
from vgen.media.timeline import Timeline
from vgen.records import Span
from vgen.training.codec import Clip
from vgen.training.fitness import unfit_because
from vgen.training.selection import STILL_SUFFIXES, DatasetSettings
from vgen.training.shards import CleanClip


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedVideo:
    """A probed video and how to read it."""

    uri: str
    info: VideoInfo
    timeline: Timeline
    open_path: str | None = None
    """A local copy to read instead."""
    deadline: float = float("inf")
    """On ``time.monotonic``."""


def is_still(name: str) -> bool:
    """Whether a file of that name is a still picture."""
    return PurePosixPath(name).suffix.lower() in STILL_SUFFIXES


def generator_of(sha256: str, settings: DatasetSettings) -> Generator:
    """Return the source of a source's chances: seed and content alone decide them."""
    return np.random.default_rng((settings.seed, int(sha256[:16], 16)))


def still_clips(
    content: bytes, uri: str, settings: DatasetSettings, rng: Generator, rejected: Counter[str]
) -> Iterator[CleanClip]:
    """Yield the picture as a clip of one frame, if it is fit; else count why not.

    Raises:
        ProbeError: it is no picture that can be read, or a too large one. OpenCV holds a too
            large one in memory before that, unless ``OPENCV_IO_MAX_IMAGE_PIXELS`` was set in the
            environment of the process before ``cv2`` was imported.
    """
    max_pixels = settings.limits.max_pixels
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        too_large = "OPENCV_IO_MAX_IMAGE" in str(error) or "CV_IO_MAX_IMAGE" in str(error)
        why = f"more than limits.max_pixels {max_pixels}" if too_large else "not a readable one"
        raise ProbeError(f"a picture refused: {why}", uri=uri) from error
    if picture is None:
        raise ProbeError("not a picture that can be read whole", uri=uri)
    if picture.shape[0] * picture.shape[1] > max_pixels:
        raise ProbeError(f"a picture refused: more than limits.max_pixels {max_pixels}", uri=uri)
    frame_hwc = halved(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8), settings)
    clip = _judged(frame_hwc[None], settings, rng, rejected)
    if clip is not None:
        yield CleanClip(frames_thwc=clip)


def video_clips(
    video: OpenedVideo, settings: DatasetSettings, rng: Generator, rejected: Counter[str]
) -> Iterator[CleanClip]:
    """Yield the clips of a video in the order of its frames; count what was not taken, and why.

    At most the frames of one clip are held. Parts are entered by seeking where the file allows;
    nothing is taken of a part in which damage was met.

    Raises:
        DecodeError: damage left no clip at all, or reading took too long.
        ProbeError: its colours cannot be converted.
    """
    num_frames = len(video.timeline)
    if video.info.video.field_order not in ("progressive", "unknown"):
        rejected["interlaced"] += 1
        return
    if num_frames < settings.frames:
        rejected["too short"] += 1
        return
    parts = min(settings.clips_per_video, num_frames // settings.frames)
    borders = [part * num_frames // parts for part in range(parts + 1)]
    damage: DecodeError | None = None
    num_clips = 0
    for start, stop in pairwise(borders):
        # In the first half, so that there is a second try where the first is unfit.
        spare = stop - start - settings.frames
        begin = start + int(rng.integers(spare // 2 + 1))
        try:
            clip = _first_sound(video, (begin, stop), settings, rng, rejected)
        except DecodeError as error:
            if time.monotonic() > video.deadline:
                raise
            damage = error
            rejected["damaged"] += 1
            continue
        if clip is not None:
            num_clips += 1
            yield clip
    if damage is not None and num_clips == 0:
        raise damage


def _first_sound(
    video: OpenedVideo,
    part: tuple[int, int],
    settings: DatasetSettings,
    rng: Generator,
    rejected: Counter[str],
) -> CleanClip | None:
    """Return the first fit clip of a part, read from the file's start where a seek met damage."""
    state = rng.bit_generator.state
    counts: Counter[str] = Counter()
    try:
        clip = _first_fit(video, part, settings, rng, counts)
    except NeedsSequential:
        counts.clear()
        rng.bit_generator.state = state
        clip = _first_fit(video, part, settings, rng, counts, from_start=True)
    rejected.update(counts)
    return clip


def halved(frame_hwc: NDArray[np.uint8], settings: DatasetSettings) -> Clip:
    """Return the frame at half its size where it is large, the mean of every four pixels."""
    height, width = frame_hwc.shape[:2]
    if settings.halve_from_px == 0 or min(height, width) < settings.halve_from_px:
        return frame_hwc
    smaller = (width // 2, height // 2)
    return np.asarray(cv2.resize(frame_hwc, smaller, interpolation=cv2.INTER_AREA), np.uint8)


def _first_fit(
    video: OpenedVideo,
    part: tuple[int, int],
    settings: DatasetSettings,
    rng: Generator,
    rejected: Counter[str],
    *,
    from_start: bool = False,
) -> CleanClip | None:
    """Return the first fit clip within frames ``part`` (half-open), or None."""
    held: list[tuple[int, int, Clip]] = []
    is_new_shot = True
    for number, (pts, frame_hwc, starts_shot) in enumerate(
        _frames(video, part, settings, from_start=from_start), part[0]
    ):
        if starts_shot:
            rejected["too short"] += is_new_shot and bool(held)
            held, is_new_shot = [], True
        held.append((number, pts, frame_hwc))
        if len(held) < settings.frames:
            continue
        clip = _judged(np.stack([frame for _, _, frame in held]), settings, rng, rejected)
        if clip is not None:
            return CleanClip(
                frames_thwc=clip,
                start=held[0][0],
                pts=tuple(pts for _, pts, _ in held),
                time_base=video.timeline.time_base,
            )
        held, is_new_shot = [], False
    return None


def _judged(
    clip_thwc: Clip, settings: DatasetSettings, rng: Generator, rejected: Counter[str]
) -> Clip | None:
    """Return the part of a clip that is kept, or None and a count of the reason."""
    height, width = clip_thwc.shape[1:3]
    if min(height, width) < settings.min_side_px:
        rejected["too small"] += 1
        return None
    top = int(rng.integers(max(0, height - settings.crop_px) + 1))
    left = int(rng.integers(max(0, width - settings.crop_px) + 1))
    kept = clip_thwc[:, top : top + settings.crop_px, left : left + settings.crop_px]
    reason = unfit_because(kept, settings.fitness)
    if reason is not None:
        rejected[reason] += 1
        return None
    return kept


def _frames(
    video: OpenedVideo, part: tuple[int, int], settings: DatasetSettings, *, from_start: bool
) -> Iterator[tuple[int, Clip, bool]]:
    """Yield PTS, picture and whether a shot starts with it, of the frames in ``part``."""
    described = video.info.video
    coding = Coding.of(planar_format(described.planar_format), described.color)
    converter = Converter(coding, coding, scale=1, device=torch.device("cpu"), uri=video.uri)
    before: Thumbnail | None = None
    for frame in decode_span(
        video.uri,
        video.info,
        _span(video.timeline, *part),
        threads=1,
        salvage=False,
        stats=DecodeStats(),
        open_path=video.open_path,
        from_start=from_start,
    ):
        assert frame.pts is not None, "decoding gives every frame its PTS"
        if time.monotonic() > video.deadline:
            raise DecodeError("took longer than limits.seconds_per_file", uri=video.uri)
        current = thumbnail(planes_of(frame)[0], coding.format.bit_depth)
        starts_shot = before is not None and is_cut(before, current)
        before = current
        yield frame.pts, halved(_to_rgb(frame, converter), settings), starts_shot


def _to_rgb(frame: av.VideoFrame, converter: Converter) -> Clip:
    rgb_nchw = converter.rgb(converter.load(planes_of(frame)))
    levels = rgb_nchw.clamp(0, 1).mul(255).add(0.5).to(torch.uint8)
    return np.ascontiguousarray(levels[0].movedim(0, -1).numpy())


def _span(timeline: Timeline, start: int, stop: int) -> Span:
    pts, end = timeline.pts, len(timeline)
    begin_pts = pts[start] if start else None
    end_pts = pts[stop] if stop < end else None
    return Span(
        start=start,
        stop=stop,
        begin_pts=begin_pts,
        start_pts=begin_pts,
        stop_pts=end_pts,
        end_pts=end_pts,
        pts=pts[start:stop],
    )
