"""When the frames of an open source are shown: from its tables, its packets or its decoder.

The timeline is what the packets announce, from the first frame that the decoder really yields: a
recording cut out of a broadcast starts with packets that no decoder can show. Where packets are
not frames (H.264 fields coded as pictures of their own) all frames are decoded to be counted.
"""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise

from av.container import InputContainer
from av.video.stream import VideoStream

from vgen.errors import DecodeError, ProbeError
from vgen.media.facts import Access
from vgen.media.look import Look
from vgen.media.packets import AnyPacket, is_repaired, video_packets
from vgen.media.reader import decoded_frames
from vgen.media.sample_table import stamps_from_table
from vgen.media.source import open_bytes, open_source, translated
from vgen.media.stamps import Stamp, judge_access, noted, plan_timeline
from vgen.media.streams import is_mov, main_video, read_only
from vgen.media.timeline import Timeline

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source by its name, and where it is read."""

    uri: str
    path: str | None
    """A local copy, None where the source itself is read."""

    @property
    def place(self) -> str:
        """What to open."""
        return self.path or self.uri


class Reading:
    """The packets of a stream as they are read once, stamps noted in passing."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        access: Access,
        uri: str,
    ) -> None:
        self.is_torn = False
        self.stamps: list[Stamp] = []
        read_only(container, stream)
        self._source = video_packets(container, stream, access, uri=uri)
        self.packets = noted(self._readable(), stream.codec.canonical_name, self.stamps)

    def finish(self) -> list[Stamp]:
        """Read what is left; return the stamps of all."""
        deque(self.packets, maxlen=0)
        return self.stamps

    def _readable(self) -> Iterator[AnyPacket]:
        try:
            yield from self._source
        except DecodeError:
            self.is_torn = True


def read_stamps(
    source: Source, container: InputContainer, stream: VideoStream, reading: Reading, look: Look
) -> list[Stamp]:
    """Take the stamps from the sample table where there is one to be trusted, else read on."""
    if is_mov(container) and look.is_clean:
        with translated(source.uri), open_bytes(source.place) as file:
            stamps = stamps_from_table(file, stream, reading.stamps)
        if stamps is not None:
            return stamps
    return reading.finish()


def survey(
    source: Source, container: InputContainer, stream: VideoStream, look: Look, stamps: list[Stamp]
) -> Timeline:
    """Plan from the stamps; read the file again where they cannot be taken as they are.

    Raises:
        ProbeError: no frame that can be decoded has a timestamp.
    """
    tick = stream.time_base
    assert tick is not None  # FFmpeg gives every stream one when it is found
    codec = stream.codec.canonical_name
    access = judge_access(
        stamps,
        format_name=container.format.name,
        codec=codec,
        is_reordered=bool(stream.codec_context.has_b_frames),
        time_base=tick,
        decoded_pts=look.pts,
        extradata=stream.codec_context.extradata,
    )
    plan = partial(
        plan_timeline,
        time_base=tick,
        rate=header_rate(stream),
        first_pts=min(look.pts, default=None),
    )
    if is_repaired(container, access):
        raw, stamps = stamps, _read_again(source, access)
        # Leaps that are pauses leave nothing to repair, and spans can be sought as ever.
        access = "seek" if stamps == raw else access
    if access != "ordinal" and not any(_is_planned(stamp, look) for stamp in stamps):
        raise ProbeError("no frame that can be decoded has a timestamp", uri=source.uri)
    timeline = plan(stamps, access=access)
    if _may_be_fields(codec, look, timeline) or not _is_confirmed(timeline, look):
        log.info("packets of %s are not its frames; counting them by decoding", source.uri)
        timeline = plan(_count_by_decoding(source, access), access=access)
    return timeline


def _is_planned(stamp: Stamp, look: Look) -> bool:
    return stamp.pts is not None and bool(look.pts) and stamp.pts >= min(look.pts)


def _read_again(source: Source, access: Access) -> list[Stamp]:
    with open_source(source.uri, open_path=source.path) as container:
        stream = main_video(container, source.uri)
        return Reading(container, stream, access, source.uri).finish()


def _count_by_decoding(source: Source, access: Access) -> list[Stamp]:
    """Decode the whole stream; slow, and right whatever the packets look like."""
    with open_source(source.uri, open_path=source.path) as container:
        stream = main_video(container, source.uri)
        read_only(container, stream)
        packets = video_packets(container, stream, access, uri=source.uri)
        frames = decoded_frames(packets, stream, lambda _pts: None)
        return [Stamp(frame.pts, None, 0, frame.key_frame) for frame in frames]


def _is_confirmed(timeline: Timeline, look: Look) -> bool:
    """Whether the first frames came as planned; damaged ones prove nothing."""
    if timeline.access == "ordinal" or not look.is_clean:
        return True
    shown = tuple(dict.fromkeys(look.pts))
    return shown == timeline.pts[: len(shown)]


def _may_be_fields(codec: str, look: Look, timeline: Timeline) -> bool:
    """Whether some packets may hold single fields, which only H.264 has."""
    if codec != "h264" or look.field_order == "progressive":
        return False
    steps = {b - a for a, b in pairwise(timeline.pts)}
    return timeline.access == "ordinal" or 3 * min(steps, default=1) <= 2 * max(steps, default=1)


def header_rate(stream: VideoStream) -> Fraction:
    """Return the frames per second that the header states or FFmpeg guesses, 25 if neither."""
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return next((rate for rate in rates if rate), Fraction(25))
