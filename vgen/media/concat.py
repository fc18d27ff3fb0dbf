"""The packets of a video's chunks as one stream.

PTS come from the chunks' facts, to the tick. DTS are made anew over the whole stream, because
those of separately encoded chunks overlap at the joints: with a reorder depth of D packets, the
DTS of packet i is the (i-D)th PTS in order of presentation.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from vgen.errors import StorageError
from vgen.media import chunk
from vgen.media.packets import AnyPacket
from vgen.records import ChunkFacts

_REMEDY = "delete it and run again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSource:
    """One chunk object, opened only when its turn comes."""

    facts: ChunkFacts
    """As ``chunk.read_facts`` gives them."""
    open: Callable[[], BinaryIO]
    """Opens the object for random reads; what it returns is closed by its reader."""
    name: str
    """Its key, for error messages."""


def checked_pts(chunks: Sequence[ChunkSource], num_frames: int) -> tuple[int, ...]:
    """Return the PTS of all frames, once the chunks are seen to cover the video in order.

    Args:
        chunks: All chunks of the video.
        num_frames: Frames of the planned timeline.

    Raises:
        StorageError: a chunk is missing, or they overlap.
    """
    due = 0
    frame_pts: list[int] = []
    for one in chunks:
        facts = one.facts
        if facts.start != due:
            raise StorageError(f"no chunk starts at frame {due}, the next is {one.name}")
        if frame_pts and facts.frame_pts and facts.frame_pts[0] <= frame_pts[-1]:
            raise StorageError(f"{one.name} starts before the chunk before it ends; {_REMEDY}")
        frame_pts += facts.frame_pts
        due = facts.stop
    if due != num_frames:
        raise StorageError(f"the chunks end at frame {due} of {num_frames}")
    return tuple(frame_pts)


@contextmanager
def open_media(one: ChunkSource) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a chunk's media, once its bytes are seen to be those that were written.

    Raises:
        StorageError: the object is damaged or holds no video.
    """
    with ExitStack() as stack:
        file = stack.enter_context(one.open())
        media = stack.enter_context(chunk.checked_media(file, name=one.name))
        try:
            container = av.open(media, "r")
            stack.enter_context(container)
            stream = container.streams.video[0]
        except (FFmpegError, IndexError) as error:
            raise StorageError(f"{one.name} holds no video; {_REMEDY}") from error
        yield container, stream


def concatenated_packets(
    chunks: Sequence[ChunkSource],
    frame_pts: Sequence[int],
    time_base: Fraction,
    *,
    last_duration: int,
    shift_pts: int,
    is_late_mp4: bool = False,
) -> Iterator[AnyPacket]:
    """Yield the video's packets in decoding order, with final PTS, DTS and duration.

    One chunk is open at a time, and one packet of it held.

    Args:
        chunks: Those with frames, in order; no two overlap in time.
        frame_pts: PTS of all their frames, in ticks of ``time_base``.
        time_base: Seconds per tick.
        last_duration: Ticks for which the last frame is shown.
        shift_pts: Ticks to add to every time.
        is_late_mp4: The packets are for an mp4 or mov track that begins after 0.

    Raises:
        StorageError: a chunk is damaged, or was encoded with other settings than the first.
    """
    run_up = _run_up(chunks, frame_pts, last_duration)
    left_over = 0
    if is_late_mp4:
        run_up, left_over = _begun_at_first(run_up, chunks)
    delay = len(run_up)
    extradata: bytes | None = None
    place = 0
    for one in chunks:
        rank = {pts: place + at for at, pts in enumerate(one.facts.frame_pts)}
        with open_media(one) as (container, stream):
            found = stream.codec_context.extradata or b""
            extradata = found if extradata is None else extradata
            if found != extradata:
                raise StorageError(
                    f"{one.name} was encoded with other settings than the first; {_REMEDY}"
                )
            for number, packet in enumerate(_packets(one, container, stream, time_base)):
                pts = one.facts.packet_pts[number]
                at = rank[pts] + 1
                after = frame_pts[at] if at < len(frame_pts) else frame_pts[-1] + last_duration
                early = place + number - delay
                dts = frame_pts[early] if early >= 0 else frame_pts[0] - sum(run_up[early:])
                packet.time_base = time_base
                packet.pts, packet.dts = pts + shift_pts, dts + shift_pts
                is_last = place + number + 1 == len(frame_pts)
                packet.duration = after - pts + (left_over if is_last else 0)
                yield packet
        place += len(one.facts.frame_pts)


def _packets(
    one: ChunkSource, container: InputContainer, stream: VideoStream, time_base: Fraction
) -> Iterator[AnyPacket]:
    """Yield a chunk's packets, each seen to be the one that its facts promise."""
    promised = one.facts.packet_pts
    number = 0
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            due = promised[number] - one.facts.frame_pts[0] if number < len(promised) else None
            if (
                packet.pts is None
                or due is None
                or packet.pts * packet.time_base != due * time_base
            ):
                break
            number += 1
            yield packet  # type: ignore[misc] # the parameter exists in the stubs only
    except FFmpegError as error:
        raise StorageError(f"{one.name} cannot be read: {error.strerror}; {_REMEDY}") from error
    if number != len(promised):
        raise StorageError(
            f"{one.name} holds other packets than the {len(promised)} it promises; {_REMEDY}"
        )


def _run_up(
    chunks: Sequence[ChunkSource], frame_pts: Sequence[int], last_duration: int
) -> list[int]:
    """Return the gaps between the DTS that lie before the first PTS, as many as frames reorder.

    The steps of DTS and the last packet's duration are an mp4 track's length. It is the length of
    what is shown if the gaps are the durations of the last frames, save the last packet's own.
    """
    delay = max(_reorder_depth(one.facts) for one in chunks)
    ends = [*frame_pts[-delay - 1 :], frame_pts[-1] + last_duration]
    durations = {start: stop - start for start, stop in pairwise(ends)}
    del durations[chunks[-1].facts.packet_pts[-1]]
    return list(durations.values())


def _begun_at_first(run_up: Sequence[int], chunks: Sequence[ChunkSource]) -> tuple[list[int], int]:
    """Return gaps of DTS with which FFmpeg begins an mp4 track at its first frame.

    In a track that does not begin at 0, that is where PTS and DTS are closest among the first
    packets: no DTS may be farther from the first one than its PTS is. So the shorter gaps come
    first, and too long ones are cut. What is cut off is returned too, for the last packet to last
    longer: the track's length is what all DTS and that come to.
    """
    coded = [pts for one in chunks for pts in one.facts.packet_pts[: len(run_up) + 1]]
    steps = [pts - coded[0] for pts in coded[1 : len(run_up) + 1]]
    gaps: list[int] = []
    for number, gap in enumerate(sorted(run_up)):
        room = min(steps[number:]) - (len(run_up) - number - 1) - sum(gaps)
        gaps.append(max(1, min(gap, room)))
    return gaps, sum(run_up) - sum(gaps)


def _reorder_depth(facts: ChunkFacts) -> int:
    rank = {pts: at for at, pts in enumerate(facts.frame_pts)}
    return max(number - rank[pts] for number, pts in enumerate(facts.packet_pts))
