"""Restore a span's frames as they come, with a few frames held at a time.

Frames go through their own planes: what the network adds in RGB is turned into the planes'
coding and added there (``vgen.enhance.colorspace``). Where nothing is added and nothing
converted, the frame that came is the frame that goes. Frames that post-processing changes are
painted from its RGB instead (``vgen.enhance.finish``).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import av
import torch
from torch import Tensor

from vgen.enhance.coding import Coding, target_coding
from vgen.enhance.colorspace import Converter, Plane
from vgen.enhance.enhancer import Enhancer
from vgen.enhance.finish import Finish, Restored
from vgen.enhance.shots import Thumbnail, is_cut, thumbnail
from vgen.enhance.windows import Shown
from vgen.errors import DecodeError, EnhanceError
from vgen.media.facts import ColorTags, VideoStream
from vgen.media.pixels import frame_from_planes, planar_format, planes_of, to_planar
from vgen.records import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    frame: av.VideoFrame
    planes: list[Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    source: _Source
    residual_nchw: Tensor | None


def enhance_frames(
    enhancer: Enhancer,
    frames: Iterable[av.VideoFrame],
    span: Span,
    *,
    video: VideoStream,
    out_format: str,
    strength: float,
    notes: list[str],
    out_color: ColorTags | None = None,
    finish: Finish | None = None,
    uri: str = "",
) -> Iterator[av.VideoFrame]:
    """Yield the restored frames that ``span`` owns, in order, each with its source's PTS.

    Args:
        enhancer: The release.
        frames: The span's frames with their context, in presentation order; drawn lazily.
        span: Which of them to yield.
        video: What the source's frames are.
        out_format: Planar format of the frames to yield.
        strength: 0 gives the source (enlarged), 1 what the network wants.
        notes: Told what the report should know.
        out_color: Tags of the output; None for the source's. An unspecified matrix in it
            stands for the source's.
        finish: Post-processing; None for none. Its reach is part of the span's context.
        uri: The source, for errors.

    Raises:
        DecodeError: a frame whose size or format is not the video's.
        EnhanceError: the network made no picture of a frame.
        ProbeError: a colour matrix that cannot be converted.
    """
    scale = enhancer.spec.scale
    source = Coding.of(planar_format(video.planar_format), video.color)
    target = target_coding(video, out_format, out_color)
    checked = (_checked(to_planar(frame), video, uri) for frame in frames)
    adds_nothing = enhancer.is_identity or strength == 0
    if adds_nothing and finish is None and scale == 1 and source == target:
        yield from (frame for frame in checked if span.owns(_pts(frame)))
        return
    converter = Converter(source, target, scale=scale, device=enhancer.device, uri=uri)
    restored = _restored(
        enhancer, checked, span, converter, source, finish, notes, uri, adds_nothing=adds_nothing
    )
    if finish is None:
        for pair in restored:
            planes = converter.compose(pair.source.planes, pair.residual_nchw, strength=strength)
            yield _made(planes, target, pair.source.frame)
        return
    for pair, finished_nchw in finish.run(_entering(restored, span, converter, strength)):
        if not span.owns(_pts(pair.source.frame)):
            continue
        if finished_nchw is None:
            planes = converter.compose(pair.source.planes, pair.residual_nchw, strength=strength)
        else:
            planes = converter.paint(finished_nchw)
        yield _made(planes, target, pair.source.frame)


def _restored(
    enhancer: Enhancer,
    frames: Iterator[av.VideoFrame],
    span: Span,
    converter: Converter,
    source: Coding,
    finish: Finish | None,
    notes: list[str],
    uri: str,
    *,
    adds_nothing: bool,
) -> Iterator[_Pair]:
    """Yield the frames that the span owns, and those that post-processing looks at."""

    def is_wanted(frame: av.VideoFrame) -> bool:
        pts = _pts(frame)
        return span.owns(pts) or (finish is not None and finish.reaches(span, _number(span, pts)))

    if adds_nothing:
        for frame in frames:
            if is_wanted(frame):
                planes = converter.load(planes_of(frame))
                yield _Pair(source=_Source(frame=frame, planes=planes), residual_nchw=None)
        return
    shown = _shown(frames, span, converter, source, is_wanted)
    for item, residual_nchw in _fitting(enhancer.residuals(shown, notes=notes), uri):
        if not residual_nchw.isfinite().all():
            raise EnhanceError(
                f"release {enhancer.header.name} gives values for a frame that are no numbers",
                uri=uri,
                pts=item.frame.pts,
            )
        yield _Pair(source=item, residual_nchw=residual_nchw)


def _fitting(
    residuals: Iterator[tuple[_Source, Tensor]], uri: str
) -> Iterator[tuple[_Source, Tensor]]:
    """Hand on what the network makes; frames too large for the device are this video's fault."""
    try:
        yield from residuals
    except torch.OutOfMemoryError as error:
        raise EnhanceError(
            "its frames do not fit into the device's memory, even in the smallest pieces", uri=uri
        ) from error


def _entering(
    pairs: Iterable[_Pair], span: Span, converter: Converter, strength: float
) -> Iterator[Restored[_Pair]]:
    for pair in pairs:
        source_nchw = converter.rgb(pair.source.planes)
        yield Restored(
            key=pair,
            number=_number(span, _pts(pair.source.frame)),
            source_nchw=source_nchw,
            restored_nchw=converter.restored(source_nchw, pair.residual_nchw, strength=strength),
        )


def _shown(
    frames: Iterator[av.VideoFrame],
    span: Span,
    converter: Converter,
    source: Coding,
    is_wanted: Callable[[av.VideoFrame], bool],
) -> Iterator[Shown[_Source]]:
    previous: Thumbnail | None = None
    for frame in frames:
        arrays = planes_of(frame)
        current = thumbnail(arrays[0], source.format.bit_depth)
        planes = converter.load(arrays)
        yield Shown(
            key=_Source(frame=frame, planes=planes),
            tensor_nchw=converter.rgb(planes),
            starts_shot=previous is not None and is_cut(previous, current),
            is_owned=is_wanted(frame),
            frame=_number(span, _pts(frame)),
        )
        previous = current


def _checked(frame: av.VideoFrame, video: VideoStream, uri: str) -> av.VideoFrame:
    got = (frame.width, frame.height, frame.format.name)
    expected = (video.width, video.height, video.planar_format)
    if got != expected:
        raise DecodeError(f"expected a frame {expected}, got {got}", uri=uri, pts=frame.pts)
    return frame


def _pts(frame: av.VideoFrame) -> int:
    assert frame.pts is not None, "decoding gives every frame its PTS"
    return frame.pts


def _number(span: Span, pts: int) -> int:
    """Return the planned frame shown at ``pts``, or the next one where none was planned."""
    return span.start - span.lead + bisect_left(span.pts, pts)


def _made(planes: list[Plane], target: Coding, source: av.VideoFrame) -> av.VideoFrame:
    frame = frame_from_planes(planes, target.format.name, source.pts, source.time_base)
    frame.colorspace = source.colorspace
    frame.color_range = source.color_range
    return frame
