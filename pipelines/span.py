"""One span from source to chunk object: the work of an actor, as plain functions.

The three parts, ``decoded``, ``enhanced`` and ``encoded``, are iterators over frames. The fused
topology chains them in one call; the staged one runs each in its own operator.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import av

from pipelines.jobs import VideoJob
from pipelines.stages import StageClock, read_ahead
from vgen.config import Recipe
from vgen.errors import DecodeError
from vgen.media.chunk import seal
from vgen.media.decode import DecodeStats, NeedsSequential
from vgen.media.deinterlace import decode_pictures
from vgen.media.encode import EncodedChunk, encode_chunk
from vgen.records import ChunkFacts, Span, Still

if TYPE_CHECKING:
    from vgen.enhance.enhancer import Enhancer
    from vgen.enhance.finish import Finish
    from vgen.enhance.stills import StillPicker

# Frames that a GPU actor's decoder and encoder may run ahead and behind.
READ_AHEAD_FRAMES = 8


@dataclass(slots=True, kw_only=True)
class SpanRun:
    """The state of one attempt at a span: what is counted while frames pass."""

    job: VideoJob
    span: Span
    recipe: Recipe
    source_path: str | None
    """Local copy of the source, where one was made."""
    threads: int
    """Decoder threads."""
    is_from_start: bool = False
    """Decode from the file's first packet, for a damaged span."""
    stats: DecodeStats = field(default_factory=DecodeStats)
    notes: list[str] = field(default_factory=list)
    deadline: float = float("inf")
    """On ``time.monotonic``."""
    finish: "Finish | None" = None
    """Post-processing, where the recipe asks for any."""
    first_frame_at: float = 0.0
    """Wall clock when the first restored frame came."""


def produce_chunk(
    run: SpanRun, enhancer: "Enhancer", path: Path, *, has_threads: bool
) -> ChunkFacts:
    """Decode, enhance and encode one span into the sealed chunk file ``path``.

    A span that turns out to be damaged is done again from the source's first packet, so that
    its frames are those of a whole decode.

    Args:
        run: What to do; ``is_from_start``, stats and notes are reset for the second try.
        enhancer: The release on its device.
        path: The file to write.
        has_threads: Decode ahead and encode behind in threads, for a GPU; without them one
            core does one thing at a time, which is fastest where actors are as many as cores.

    Raises:
        MediaError: the source, or what the encoder makes of it, is at fault.
    """
    try:
        return _attempted(run, enhancer, path, has_threads=has_threads)
    except NeedsSequential:
        run.is_from_start = True
        run.stats = DecodeStats()
        run.notes.clear()
        return _attempted(run, enhancer, path, has_threads=has_threads)


def decoded(run: SpanRun) -> Iterator[av.VideoFrame]:
    """Yield the span's frames with their context, stopping at the deadline."""
    frames = decode_pictures(
        run.job.ref.uri,
        run.job.info,
        run.span,
        plan=run.job.fields,
        last_duration=run.job.last_duration,
        threads=run.threads,
        salvage=run.recipe.damaged == "salvage",
        stats=run.stats,
        open_path=run.source_path,
        from_start=run.is_from_start,
    )
    for frame in frames:
        if time.monotonic() > run.deadline:
            raise DecodeError(
                f"took longer than limits.seconds_per_file={run.recipe.limits.seconds_per_file} s",
                uri=run.job.ref.uri,
                pts=frame.pts,
            )
        yield frame


def enhanced(
    run: SpanRun, enhancer: "Enhancer", frames: Iterable[av.VideoFrame], picker: "StillPicker"
) -> Iterator[av.VideoFrame]:
    """Yield the owned frames, restored, in the plan's pixel format."""
    from vgen.enhance.stream import enhance_frames  # torch: seconds that only workers pay

    restored = enhance_frames(
        enhancer,
        picker.before(frames),
        run.span,
        video=run.job.info.video,
        out_format=run.job.encode.pixel_format,
        strength=run.recipe.strength,
        notes=run.notes,
        out_color=run.job.encode.color,
        finish=run.finish,
        uri=run.job.ref.uri,
    )
    for frame in picker.after(restored):
        if not run.first_frame_at:
            run.first_frame_at = time.time()
        yield frame


def picker_of(run: SpanRun) -> "StillPicker":
    """Return a picker of the span's stills, idle where the recipe wants none."""
    from vgen.enhance.stills import StillPicker  # imports torch

    return StillPicker(
        is_enabled=run.recipe.report.stills,
        video=run.job.info.video,
        out_color=run.job.encode.color,
    )


def facts_of(
    run: SpanRun, chunk: EncodedChunk, seconds: dict[str, float], still: Still | None
) -> ChunkFacts:
    """Sum up a finished chunk."""
    return ChunkFacts(
        start=run.span.start,
        stop=run.span.stop,
        frame_pts=chunk.frame_pts,
        packet_pts=chunk.packet_pts,
        num_damaged_packets=run.stats.num_damaged_packets,
        num_missing=run.stats.num_missing,
        num_unplanned=run.stats.num_unplanned,
        first_crc=run.stats.first_crc,
        after_crc=run.stats.after_crc,
        notes=tuple(dict.fromkeys(run.notes)),
        dropped=tuple(sorted(run.stats.uncarried)),
        stage_cpu_seconds=seconds,
        luma=run.finish.points(run.span) if run.finish else (),
        still=still,
    )


def _attempted(run: SpanRun, enhancer: "Enhancer", path: Path, *, has_threads: bool) -> ChunkFacts:
    now: Callable[[], float] = time.thread_time if has_threads else time.process_time
    clocks = {"": StageClock(now)}

    def staged(stage: str, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        if not has_threads:
            return clocks[""].metered(stage, frames)
        return read_ahead(_in_thread(stage, frames, clocks), READ_AHEAD_FRAMES)

    if run.finish is not None:
        # Looked up when frames are asked for: by then the thread that restores has its clock.
        owner = "enhance" if has_threads else ""
        run.finish.meter = lambda stage, items: clocks[owner].metered(stage, items)
    picker = picker_of(run)
    frames = staged("decode", decoded(run))
    frames = staged("enhance", enhanced(run, enhancer, frames, picker))
    clocks[""].switch("encode")
    chunk = encode_chunk(frames, run.job.encode, path, uri=run.job.ref.uri)
    clocks[""].switch(None)
    seconds: dict[str, float] = {}
    for clock in clocks.values():
        for stage, spent in clock.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    facts = facts_of(run, chunk, seconds, picker.still())
    seal(path, facts)
    return facts


def _in_thread(
    stage: str, frames: Iterable[av.VideoFrame], clocks: dict[str, StageClock]
) -> Iterator[av.VideoFrame]:
    # Runs in the read-ahead thread, whose CPU time only a clock made there can see.
    clocks[stage] = StageClock(time.thread_time)
    yield from clocks[stage].metered(stage, frames)
