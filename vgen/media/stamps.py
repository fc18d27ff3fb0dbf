"""From the stamps of packets to a timeline: pure arithmetic, no file in sight.

PTS that several frames share are kept once: a timeline is strictly increasing, and the decoder's
later frames of the same PTS are dropped where frames are decoded.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

from vgen.media.clock import JUMP_S, OVERLAP_S, AnyPacket, is_stray
from vgen.media.facts import Access
from vgen.media.packets import CLOCKED_FORMATS, is_shown
from vgen.media.timeline import Timeline

# Demuxers that cannot seek, or seek to where no decoder can start.
_SEQUENTIAL_FORMATS = (
    "gif", "h264", "hevc", "vvc", "m4v", "mpegvideo", "vc1", "obu", "av1", "h261", "h263",
    "cavsvideo", "dirac", "dnxhd", "ivf", "rm", "nsv",
)  # fmt: skip
_PACKED = re.compile(rb"\x00\x00\x01\xb2DivX\d+[Bb]\d+p")
_MAX_MISSING = 0.01  # a larger share of packets without PTS is a habit of the file, not damage


class Stamp(NamedTuple):
    """What one displayable packet says about time, in ticks."""

    pts: int | None
    dts: int | None
    duration: int
    is_keyframe: bool


def noted(packets: Iterable[AnyPacket], codec: str, stamps: list[Stamp]) -> Iterator[AnyPacket]:
    """Pass packets on, adding to ``stamps`` those shown, from the first keyframe on."""
    is_started = False
    for packet in packets:
        is_started = is_started or packet.is_keyframe
        if is_started and is_shown(packet, codec):
            stamps.append(Stamp(packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe))
        yield packet


def judge_access(
    stamps: Sequence[Stamp],
    *,
    format_name: str,
    codec: str,
    is_reordered: bool,
    time_base: Fraction,
    decoded_pts: Sequence[int] = (),
    extradata: bytes | None = None,
) -> Access:
    """Decide how frames are reached from what the packets of the whole file say.

    Args:
        stamps: As ``noted`` took them.
        format_name: FFmpeg's demuxer.
        codec: FFmpeg's canonical codec name.
        is_reordered: The codec shows frames in another order than it stores them.
        time_base: Seconds per tick.
        decoded_pts: Of the first frames, in the order they were decoded.
        extradata: What the decoder is told before the first packet.
    """
    num_missing = sum(stamp.pts is None for stamp in stamps)
    if num_missing > _MAX_MISSING * len(stamps):
        return "ordinal"
    # AVI stores no PTS. FFmpeg infers them where a stored picture is shown at once or after the
    # next, as in MPEG-4; the orders of these codecs are freer than that.
    if format_name == "avi" and is_reordered and codec in ("h264", "hevc", "vvc"):
        return "ordinal"
    # DivX packs a P and a B picture into one chunk, of which FFmpeg infers wrong ones as well; that
    # it does stands in the stream, wherever the first B picture comes and whatever it is muxed to.
    is_packed = codec == "mpeg4" and is_reordered and _PACKED.search(extradata or b"")
    if is_packed or (format_name == "avi" and any(a >= b for a, b in pairwise(decoded_pts))):
        return "ordinal"
    if format_name in _SEQUENTIAL_FORMATS:
        return "sequential"
    if format_name in CLOCKED_FORMATS and _jumps(stamps, time_base):
        return "sequential"
    return "seek"


def plan_timeline(
    stamps: Sequence[Stamp],
    *,
    access: Access,
    time_base: Fraction,
    rate: Fraction,
    first_pts: int | None,
) -> Timeline:
    """Build the timeline of a stream's displayable frames.

    Args:
        stamps: As ``read_stamps`` returns them, after any repair; not empty.
        access: As ``judge_access`` found it; ordinal frames get their PTS from the DTS where all
            packets have one, else from ``rate``.
        time_base: Seconds per tick.
        rate: Frames per second, for frames without any stamp.
        first_pts: PTS of the first frame the decoder yields; earlier packets are not planned.
    """
    num_hidden = 0
    if access == "ordinal":
        shown = _counted(stamps, time_base, rate)
    else:
        timed = [
            (stamp.pts, stamp)
            for stamp in reversed(stamps)
            if stamp.pts is not None and (first_pts is None or stamp.pts >= first_pts)
        ]
        shown = dict(timed)
        num_hidden = len(timed) - len(shown)
    pts = sorted(shown)
    keyframes = {at for at, tick in enumerate(pts) if shown[tick].is_keyframe}
    return Timeline(
        pts=tuple(pts),
        keyframes=tuple(sorted(keyframes | {0})),
        time_base=time_base,
        access=access,
        last_duration=_last_duration(pts, shown, round(1 / (rate * time_base))),
        num_hidden=num_hidden,
    )


def _last_duration(pts: Sequence[int], shown: Mapping[int, Stamp], usual: int) -> int:
    """Take the last packet's word, unless packets are wrong about how long frames last."""
    if len(pts) < 2:
        return max(1, shown[pts[-1]].duration or usual)
    said = shown[pts[-1]].duration
    median_said = median_low(shown[tick].duration for tick in pts)
    median_step = median_low(b - a for a, b in pairwise(pts))
    is_credible = said > 0 and median_step <= 2 * median_said <= 4 * median_step
    return said if is_credible else max(1, median_step)


def _jumps(stamps: Sequence[Stamp], time_base: Fraction) -> bool:
    """Whether the clock may have jumped; a pause looks alike to who does not hear the sound."""
    known = [stamp.dts for stamp in stamps if stamp.dts is not None]
    steps = ((b - a) * time_base for a, b in pairwise(known))
    if any(not -OVERLAP_S <= step <= JUMP_S for step in steps):
        return True
    both = ((s.pts, s.dts) for s in stamps if s.pts is not None and s.dts is not None)
    return any(is_stray(pts, dts, time_base) for pts, dts in both)


def _counted(stamps: Sequence[Stamp], time_base: Fraction, rate: Fraction) -> dict[int, Stamp]:
    """Give frames PTS by their place: AVI and raw streams say when to decode, or nothing."""
    known = [stamp.dts for stamp in stamps if stamp.dts is not None]
    if len(known) == len(stamps) and all(a < b for a, b in pairwise(known)):
        return dict(zip(known, stamps, strict=True))
    step = max(Fraction(1), 1 / (rate * time_base))
    return {round(at * step): stamp for at, stamp in enumerate(stamps)}
