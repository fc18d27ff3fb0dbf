"""What one probe task finds: a video's facts, encoding, fields and spans, or a fault."""

from pipelines.outcome import HANG_GRACE_S, fault_of, isolated, process_ends_after
from pipelines.sources import (
    check_unchanged,
    drop_copies,
    is_of_one,
    local_copy,
    local_source,
)
from vgen.config import DeinterlaceMode, Recipe
from vgen.enhance.plan import plan_spans
from vgen.errors import DecodeError, MediaError, ProbeError, StorageError
from vgen.media.encoders import resolve_encoding
from vgen.media.facts import EncodePlan, VideoInfo
from vgen.media.field_survey import survey_fields
from vgen.media.fields import FieldPlan, plan_fields, presented, presented_span
from vgen.media.passthrough import resolve_container
from vgen.media.pixels import planar_format
from vgen.media.probe import probe_video
from vgen.media.timeline import Timeline
from vgen.models.release import IDENTITY
from vgen.models.spec import ModelSpec
from vgen.records import Fault, Record, Span, VideoRef


class ProbedVideo(Record):
    """What one probe task found: a planned video, or why there is none."""

    info: VideoInfo | None = None
    encode: EncodePlan | None = None
    last_duration: int = 0
    fields: FieldPlan | None = None
    spans: tuple[Span, ...] = ()
    fault: Fault | None = None


def probe_source(
    ref: VideoRef,
    recipe: Recipe,
    spec: ModelSpec,
    span_frames: int | None,
    row_bytes: int | None = None,
) -> ProbedVideo:
    """Probe one source and cut it into spans; a fault of the file is in the result.

    Runs in a worker. Decodes a dozen frames, and some more to tell whether fields are in them.
    ``span_frames`` and ``row_bytes`` bound a span's frames and their pixels.

    Raises:
        StorageError: the store does not answer, or a disk is full; the run stops.
    """
    try:
        with isolated(ref.uri), process_ends_after(recipe.limits.seconds_per_file + HANG_GRACE_S):
            info, timeline = probe_video(ref, recipe.limits, copied=local_copy)
            info, fields = _with_fields(ref, info, timeline, deinterlacing(recipe, spec))
            is_deinterlaced = fields is not None
            encode = resolve_encoding(
                info, recipe.encode, scale=spec.scale, is_deinterlaced=is_deinterlaced
            )
            with local_source(ref, info) as path:
                encode = resolve_container(ref.uri, info, encode, open_path=path)
    except MediaError as error:
        return ProbedVideo(fault=fault_of("probe", error))
    except StorageError as error:
        if not is_of_one(error, ref):
            fault = _change_of(ref)
            if fault is None:
                raise
            return ProbedVideo(fault=fault)
        # The listing showed it a moment ago: it went away, or may not be read.
        return ProbedVideo(fault=fault_of("probe", ProbeError(str(error), uri=ref.uri)))
    finally:
        drop_copies()  # spans are worked on by other processes
    is_asked = span_frames is not None
    lead, tail, pictures = spec.lead, spec.tail, 1
    if fields is not None:
        lead, tail, pictures = fields.context(lead), fields.context(tail), fields.pictures
    if row_bytes is not None:
        # Fields' own context is used up before frames are handed on.
        context = spec.lead + spec.tail
        fitting = max(1, row_bytes // _largest_frame_bytes(info, encode) - context)
        span_frames = min(span_frames or fitting, fitting)
    # Spans are cut between source frames, so that both pictures of one are in the same chunk.
    max_frames = None if span_frames is None else max(1, span_frames // pictures)
    # Whoever asks for spans as long as the video gets one: the remedy of ``check_joints``.
    is_whole = is_asked and max_frames is not None and max_frames >= len(timeline)
    spans = plan_spans(timeline, lead=lead, tail=tail, max_frames=max_frames, is_whole=is_whole)
    if fields is not None:
        spans = tuple(presented_span(span, fields, timeline.last_duration) for span in spans)
    return ProbedVideo(
        info=info,
        encode=encode,
        last_duration=timeline.last_duration,
        fields=fields,
        spans=spans,
    )


def deinterlacing(recipe: Recipe, spec: ModelSpec) -> DeinterlaceMode:
    """Return what the recipe comes to: ``auto`` changes no frame of a run that changes none."""
    is_exact = spec.architecture == IDENTITY.spec.architecture and not recipe.post.steps
    return "never" if recipe.deinterlace == "auto" and is_exact else recipe.deinterlace


def _change_of(ref: VideoRef) -> Fault | None:
    """Return the fault of an object that was replaced while it was read; None if it is as listed.

    Raises:
        StorageError: its store does not answer.
    """
    try:
        check_unchanged(ref)
    except DecodeError as error:
        return fault_of("probe", error)
    return None


def _with_fields(
    ref: VideoRef, info: VideoInfo, timeline: Timeline, mode: DeinterlaceMode
) -> tuple[VideoInfo, FieldPlan | None]:
    """Decide what becomes of the fields; return the video as it comes out, notes included."""
    if mode == "never":
        return info, None
    with local_source(ref, info) as path:
        evidence = survey_fields(ref.uri, info, timeline, open_path=path)
    plan, notes = plan_fields(info, evidence, mode)
    info = info.model_copy(update={"notes": (*info.notes, *notes)})
    return (info, None) if plan is None else (presented(info, plan), plan)


def _largest_frame_bytes(info: VideoInfo, encode: EncodePlan) -> int:
    video = info.video
    return max(
        planar_format(video.planar_format).frame_bytes(video.width, video.height),
        planar_format(encode.pixel_format).frame_bytes(encode.width, encode.height),
    )
