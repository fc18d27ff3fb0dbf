"""What becomes of an interlaced video's fields: decided once, at plan time, for all its spans.

Flags are believed where the pictures do not contradict them: broadcasters flag films as interlaced,
and re-encoded tapes carry no flag at all. ``auto`` keeps the source's rate: every frame keeps its
PTS and the output its size, and the motion between fields is asked for with ``field``.
"""

from collections import Counter
from fractions import Fraction
from typing import Literal

from vgen.config import DeinterlaceMode
from vgen.media.combing import Verdict
from vgen.media.facts import VideoInfo
from vgen.media.field_survey import MAX_LINES, FieldEvidence
from vgen.media.pixels import planar_format
from vgen.media.tags import FieldOrder
from vgen.records import Record, Span

Order = Literal["tff", "bff"]

CONTEXT = 9
"""Source frames on each side that decide about a frame: eight whose verdicts count, and the
neighbour of the outer one. Of these bwdif sees the nearest."""
_MIN_FRAMES = 8  # verdicts on fewer frames contradict no flag
_MIN_UNFLAGGED = 12  # frames seen interlaced, where no flag says so
_MAX_MINOR = 0.1  # of the frames of one order, in the other: a video's fields have one order, but
# what moves in jumps through a whole video looks like either by chance
_MIN_SHARE = 0.2  # of the frames that can be judged: what is interlaced in part, and not by mistake
_MAX_MISTAKEN = 0.05  # of whole frames, taken for interlaced
_NAMES = {"tff": "top field first", "bff": "bottom field first"}


class FieldPlan(Record):
    """How the fields of one video become frames."""

    rate: Literal["frame", "field"]
    """One picture a frame, or one a field."""
    order: Order
    """Which field is shown first, of frames whose flags are not asked."""
    trusts_flags: bool
    """Frames say themselves whether they are interlaced, and how, where pixels do not tell."""
    takes_unclear: bool
    """Where neither pixels nor flags tell, a frame is taken as interlaced."""
    has_pulldown: bool = False
    """Whole film frames and woven ones alternate: each is judged by itself, and a woven one is put
    together again with the field before it where the two fit."""

    @property
    def pictures(self) -> int:
        """Output frames a source frame."""
        return 2 if self.rate == "field" else 1

    def context(self, num_frames: int) -> int:
        """Return the source frames around a span for ``num_frames`` of output around it."""
        return -(-num_frames // self.pictures) + CONTEXT


def plan_fields(
    info: VideoInfo, evidence: FieldEvidence, mode: DeinterlaceMode
) -> tuple[FieldPlan | None, tuple[str, ...]]:
    """Decide from flags and pictures; return notes on what was decided and why.

    Args:
        info: As probed.
        evidence: What ``survey_fields`` found.
        mode: ``auto``: what is interlaced by flags or by pictures; ``frame`` and ``field``: also
            what cannot be told, at that rate; ``never``.

    Returns:
        None where all frames are left as they are.
    """
    if mode == "never":
        return None, ()
    flagged = _flagged(info, evidence.flagged)
    seen = evidence.seen
    interlaced, whole = seen["tff"] + seen["bff"], seen["progressive"]
    order: Order = "bff" if seen["bff"] > seen["tff"] else "tff"
    is_seen = _is_seen(seen, _MIN_FRAMES if flagged else _MIN_UNFLAGGED)
    # A flag is contradicted by many frames, the absence of one is confirmed by a single frame.
    min_whole = _MIN_FRAMES if flagged else 1
    is_whole = whole >= min_whole and interlaced <= _MAX_MISTAKEN * whole
    has_pulldown = 2 * evidence.num_pulldown_runs >= max(1, evidence.num_moving_runs)
    is_asked = mode != "auto" and not is_whole
    if flagged is None and not (is_seen or has_pulldown):
        if not is_asked:
            return None, ()
        if info.video.height > MAX_LINES:
            return None, (_too_tall(info, mode),)
    refusal = _refusal(info)
    if refusal:
        return None, (f"interlaced, and left so: {refusal}",)
    is_contradicted = is_seen and flagged is not None and order != flagged
    plan = FieldPlan(
        rate="field" if mode == "field" else "frame",
        order=order if flagged is None or is_contradicted else flagged,
        trusts_flags=flagged is not None and not (is_contradicted or is_whole or has_pulldown),
        takes_unclear=not (is_whole or has_pulldown or (is_seen and interlaced < whole)),
        has_pulldown=has_pulldown,
    )
    return plan, (_told(plan, flagged, seen, is_whole=is_whole, is_seen=is_seen),)


def _is_seen(seen: Counter[Verdict], min_frames: int) -> bool:
    """Whether pictures show fields: enough of them, and of one order."""
    minor, major = sorted((seen["tff"], seen["bff"]))
    is_one_order = minor <= _MAX_MINOR * major
    share = _MIN_SHARE * (minor + major + seen["progressive"])
    return is_one_order and major >= max(min_frames, share)


def _told(
    plan: FieldPlan,
    flagged: Order | None,
    seen: Counter[Verdict],
    *,
    is_whole: bool,
    is_seen: bool,
) -> str:
    """Say what was found and what is done about it."""
    interlaced = seen["tff"] + seen["bff"]
    order = _NAMES[plan.order]
    done = f"deinterlaced with bwdif at {plan.rate} rate"
    if plan.has_pulldown:
        return (
            f"3:2 pulldown (telecine), {order}: film frames are joined again from their fields, "
            f"each fourth stays repeated; what does not join is {done}"
        )
    if is_whole:
        return f"flagged as interlaced, {order}, but progressive: only what shows fields is {done}"
    if flagged is None:
        source = "by its pictures, not flagged" if is_seen else "assumed, as nothing tells"
    elif plan.order == flagged:
        source = "by flags"
    else:
        source = "by its pictures, against its flags"
    part = " in part" if is_seen and seen["progressive"] > _MIN_SHARE * interlaced else ""
    return f"interlaced{part}, {order}, {source}: {done}"


def _flagged(info: VideoInfo, flagged: Counter[FieldOrder]) -> Order | None:
    if flagged["tff"] or flagged["bff"]:
        return "bff" if flagged["bff"] > flagged["tff"] else "tff"
    order = info.video.field_order
    return order if order in ("tff", "bff") else None


def _too_tall(info: VideoInfo, mode: DeinterlaceMode) -> str:
    return (
        f"taken for progressive though deinterlace is {mode!r}: nothing flags it as interlaced, "
        f"and no interlaced system has its {info.video.height} lines"
    )


def _refusal(info: VideoInfo) -> str | None:
    """Say why bwdif does not take these pictures, None where it does."""
    video, layout = info.video, planar_format(info.video.planar_format)
    if video.width < 3 or video.height < 4:
        return f"{video.width}x{video.height} is too small for bwdif"
    if layout.is_gray and layout.bit_depth not in (8, 16):
        return f"bwdif does not take {layout.name}"
    return None


def presented(info: VideoInfo, plan: FieldPlan) -> VideoInfo:
    """Return ``info`` with the frames that come out: twice as many at field rate.

    The second of a pair is shown half way to the next frame, hence ticks of half the length.
    """
    if plan.pictures == 1:
        return info
    video = info.video.model_copy(
        update={
            "time_base": info.video.time_base / 2,
            "average_rate": info.video.average_rate * 2,
        }
    )
    return info.model_copy(update={"video": video, "num_frames": 2 * info.num_frames})


def as_decoded(info: VideoInfo, plan: FieldPlan) -> VideoInfo:
    """Undo ``presented``."""
    if plan.pictures == 1:
        return info
    video = info.video.model_copy(
        update={
            "time_base": Fraction(info.video.time_base * 2),
            "average_rate": info.video.average_rate / 2,
        }
    )
    return info.model_copy(update={"video": video, "num_frames": info.num_frames // 2})


def presented_span(span: Span, plan: FieldPlan, last_duration: int) -> Span:
    """Return the span of output frames that a span of source frames gives.

    Args:
        span: In source frames and ticks.
        plan: The field plan.
        last_duration: Ticks that the source's last frame is shown: at field rate, each of its two
            pictures is shown for as many of the shorter ticks.
    """
    if plan.pictures == 1:
        return span
    end = span.pts[-1] + last_duration if span.end_pts is None else span.end_pts
    following = (*span.pts[1:], end)
    pts = (
        tick
        for own, after in zip(span.pts, following, strict=True)
        for tick in (2 * own, own + after)
    )
    return _scaled(span, 2, tuple(pts))


def decoded_span(span: Span, plan: FieldPlan) -> Span:
    """Undo ``presented_span``."""
    if plan.pictures == 1:
        return span
    return _scaled(span, Fraction(1, 2), tuple(tick // 2 for tick in span.pts[::2]))


def _scaled(span: Span, factor: int | Fraction, pts: tuple[int, ...]) -> Span:
    def times(value: int | None) -> int | None:
        return None if value is None else int(value * factor)

    return Span(
        start=int(span.start * factor),
        stop=int(span.stop * factor),
        lead=int(span.lead * factor),
        tail=int(span.tail * factor),
        begin_pts=times(span.begin_pts),
        start_pts=times(span.start_pts),
        stop_pts=times(span.stop_pts),
        end_pts=times(span.end_pts),
        pts=pts,
    )
