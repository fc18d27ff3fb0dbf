"""Take a clip through the whole way: probe, plan, encode in chunks, assemble. Nothing is enhanced.

Also small synthetic sources for tests of one step, so that a test names only what it is about.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from vgen.config import EncodeSettings, Limits
from vgen.media import chunk
from vgen.media.assemble import AssembleResult, assemble_video
from vgen.media.concat import ChunkSource
from vgen.media.decode import DecodeStats, decode_span
from vgen.media.encode import encode_chunk
from vgen.media.encoders import resolve_encoding
from vgen.media.facts import ColorTags, EncodePlan, VideoInfo, VideoStream
from vgen.media.passthrough import resolve_container
from vgen.media.pixels import frame_from_planes, planar_format
from vgen.media.probe import probe_video
from vgen.media.timeline import Timeline
from vgen.records import ChunkFacts, Span, VideoRef

UNTAGGED = ColorTags(matrix=2, primaries=2, transfer=2, is_full_range=False)


def video_info(pixel_format="yuv420p", width=64, height=48, container="mkv", **video) -> VideoInfo:
    """A probed source that exists on paper only."""
    stream = {
        "index": 0, "codec": "h264", "width": width, "height": height,
        "pixel_format": pixel_format, "planar_format": pixel_format,
        "time_base": Fraction(1, 90_000), "average_rate": Fraction(25),
        "sample_aspect_ratio": Fraction(1), "tagged": UNTAGGED, "color": UNTAGGED,
    }  # fmt: skip
    return VideoInfo(
        container=container, format_name=container, needs_local_copy=False, duration_s=1.0,
        num_frames=1, access="seek", video=VideoStream(**(stream | video)), others=(),
    )  # fmt: skip


def planned(codec="ffv1", pixel_format="yuv420p", width=64, height=48, *, crf=18, **video):
    """An encoding of a source on paper, at the fastest preset."""
    settings = EncodeSettings(codec=codec, preset="ultrafast", crf=crf)
    return resolve_encoding(video_info(pixel_format, width, height, **video), settings, scale=1)


def moving_frames(plan: EncodePlan, pts: Sequence[int], seed=7) -> Iterator[av.VideoFrame]:
    """A moving gradient with a little noise, in the plan's format."""
    rng = np.random.default_rng(seed)
    layout = planar_format(plan.pixel_format)
    for number, tick in enumerate(pts):
        planes = []
        for rows, columns in layout.plane_shapes(plan.width, plan.height):
            y, x = np.mgrid[:rows, :columns]
            picture = (2 * x + y + 3 * number) % 160 + 40 + rng.integers(0, 3, (rows, columns))
            planes.append((picture << (layout.bit_depth - 8)).astype(layout.dtype))
        yield frame_from_planes(planes, plan.pixel_format, tick, plan.time_base)


def sealed_chunk(
    frames: Iterable[av.VideoFrame], plan: EncodePlan, path: Path, start=0, stop=None
) -> ChunkSource:
    """Encode and seal one chunk, and offer it for assembly."""
    made = encode_chunk(frames, plan, path, uri="source")
    stop = start + len(made.frame_pts) if stop is None else stop
    facts = ChunkFacts(start=start, stop=stop, frame_pts=made.frame_pts, packet_pts=made.packet_pts)
    chunk.seal(path, facts)
    with path.open("rb") as file:
        return ChunkSource(
            facts=chunk.read_facts(file), open=lambda: path.open("rb"), name=path.name
        )


def probed(path: Path) -> tuple[VideoInfo, Timeline]:
    """What the probe sees of a clip."""
    status = path.stat()
    ref = VideoRef(uri=str(path), relative_path=path.name, etag="e", size_bytes=status.st_size)
    return probe_video(ref, Limits())


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A clip, and its re-encoded copy."""

    source: Path
    path: Path
    info: VideoInfo
    timeline: Timeline
    plan: EncodePlan
    chunks: tuple[ChunkSource, ...]
    frame_pts: tuple[int, ...]
    result: AssembleResult


def source_frames(path: Path, info: VideoInfo, timeline: Timeline) -> Iterator[av.VideoFrame]:
    """The frames of a clip, in their planar format."""
    span = Span(
        start=0, stop=len(timeline), begin_pts=None, start_pts=None, stop_pts=None, end_pts=None,
        pts=timeline.pts,
    )  # fmt: skip
    return decode_span(
        str(path), info, span, threads=1, salvage=True, stats=DecodeStats(), from_start=True
    )


def copied(source: Path, folder: Path, settings: EncodeSettings, *, span_frames=20) -> Copied:
    """Re-encode a clip in chunks of ``span_frames`` and assemble it."""
    info, timeline = probed(source)
    plan = resolve_container(str(source), info, resolve_encoding(info, settings, scale=1))
    frames = _as_planned(source_frames(source, info, timeline), plan)
    chunks = []
    for start in range(0, len(timeline), span_frames):
        stop = min(start + span_frames, len(timeline))
        part = islice(frames, stop - start)
        path = folder / f"{source.stem}-{plan.encoder}-{start:09d}.chunk"
        chunks.append(sealed_chunk(part, plan, path, start, stop))
    path = folder / f"{source.stem}-{plan.encoder}.{plan.container}"
    last_duration = timeline.last_duration
    result = assemble_video(str(source), info, plan, chunks, path, last_duration=last_duration)
    pts = tuple(tick for one in chunks for tick in one.facts.frame_pts)
    return Copied(
        source=source, path=path, info=info, timeline=timeline, plan=plan, chunks=tuple(chunks),
        frame_pts=pts, result=result,
    )  # fmt: skip


def _as_planned(frames: Iterable[av.VideoFrame], plan: EncodePlan) -> Iterator[av.VideoFrame]:
    for frame in frames:
        if frame.format.name == plan.pixel_format:
            yield frame
            continue
        made = frame.reformat(format=plan.pixel_format)
        made.pts = frame.pts
        yield made
