"""How an output file is laid out: muxer options, streams, metadata, chapters, zero of time."""

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from vgen.errors import EncodeError
from vgen.media.carry import Passenger, board
from vgen.media.codecs import codec_of
from vgen.media.concat import ChunkSource, open_media
from vgen.media.facts import EncodePlan, VideoInfo
from vgen.media.matroska import TrackPatch, patch_tracks
from vgen.media.passthrough import describe
from vgen.media.source import translated
from vgen.media.streams import has_decoder

if TYPE_CHECKING:
    from av.container.core import Chapter  # in the stubs only

_PRORES_TAGS = {"hq": "apch", "4444": "ap4h"}
_MAX_TIMESCALE = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One video to assemble."""

    source_uri: str
    open_path: str | None
    source: InputContainer
    info: VideoInfo
    plan: EncodePlan
    chunks: tuple[ChunkSource, ...]
    frame_pts: tuple[int, ...]
    last_duration: int
    shift_pts: int

    @property
    def shift_s(self) -> Fraction:
        """Seconds to add to every time."""
        return self.shift_pts * self.plan.time_base


def shift_to_zero(source: InputContainer, info: VideoInfo, first_pts: int) -> int:
    """Return the ticks that bring a source which starts before zero to zero.

    No container holds frames at negative times: mp4 hides them, mkv loses their stamps. All
    streams move alike. Sound alone before zero is its encoder's delay, which stays hidden.
    """
    if first_pts >= 0:
        return 0
    starts = [
        stream.start_time * stream.time_base / info.video.time_base
        for stream in source.streams.audio
        if stream.start_time is not None and stream.time_base
    ]
    return -math.floor(min([Fraction(first_pts), *starts]))


def muxer_options(job: Job) -> dict[str, str]:
    """Return the muxer's options: same bytes every time, starts exact, index first."""
    options = {"fflags": "+bitexact"}  # no random identifiers: same input, same bytes
    if job.plan.container == "mkv":
        # Else the muxer would move all streams by the encoder delay of the sound.
        return options | {"avoid_negative_ts": "disabled"}
    flags = "+faststart"
    if keeps_phone_keys(job):
        flags += "+use_metadata_tags"  # else keys of phones and cameras are left out
    return options | {"movflags": flags, "movie_timescale": str(_movie_timescale(job))}


def phone_keys(job: Job) -> list[str]:
    """Return the entries that mp4 and mov hold only in the metadata that phones and cameras use."""
    return sorted(key for key in job.source.metadata if key.startswith("com."))


def keeps_phone_keys(job: Job) -> bool:
    """Whether the output takes them: that metadata leaves no room for cover pictures."""
    return bool(phone_keys(job)) and not any(one.type == "cover" for one in job.info.others)


def _movie_timescale(job: Job) -> int:
    """Return a timescale in which the starts of all streams are whole numbers, if there is one.

    Edit lists hold the stretch before a stream, and its length without the encoder's delay, in
    units of the movie and not of the stream: rounded, a few samples would be cut off its end.
    Chapters are packets of a track in the same units, and FFmpeg takes none of 2^31 ticks.
    """
    longest_s = max((_length(one) for one in job.source.chapters()), default=Fraction(0))
    most = int(_MAX_TIMESCALE / max(longest_s, Fraction(1)))
    ticks = job.plan.time_base.denominator
    # At least a thousandth, and a whole part of the video's own ticks.
    scale = ticks * -(-1000 // ticks)
    for stream in job.source.streams:
        if isinstance(stream, AudioStream) and has_decoder(stream):
            unit = stream.sample_rate
        else:
            unit = stream.time_base.denominator if stream.time_base and stream.start_time else 1
        wider = math.lcm(scale, unit or 1)
        scale = wider if wider <= most else scale
    return min(scale, most)


def shifted_chapters(job: Job) -> "list[Chapter]":
    """Return the source's chapters on the output's time.

    Of several in mkv that start at the same moment, the longest alone: readers hide the others.
    """
    chapters = job.source.chapters()
    if job.plan.container == "mkv":
        longest = {_moment(one, "start"): one for one in sorted(chapters, key=_length)}
        chapters = [one for one in chapters if longest[_moment(one, "start")] is one]
    for one in chapters:
        if job.plan.container != "mkv":
            # Untitled ones would be missing in the text track, and the next take their places.
            one["metadata"].setdefault("title", "")
        time_base = one["time_base"]
        assert time_base is not None
        shift = round(job.shift_s / time_base)
        one["start"] += shift
        one["end"] += shift
    return chapters


def _moment(chapter: "Chapter", which: Literal["start", "end"]) -> Fraction:
    time_base = chapter["time_base"]
    assert time_base is not None
    return chapter[which] * time_base


def _length(chapter: "Chapter") -> Fraction:
    return _moment(chapter, "end") - _moment(chapter, "start")


def lay_out(output: OutputContainer, job: Job) -> tuple[VideoStream, dict[int, Passenger]]:
    """Add the output's streams in the source's order; passengers by index in the source."""
    passengers: dict[int, Passenger] = {}
    others = {other.index: other for other in job.info.others}
    video: VideoStream | None = None
    for stream in job.source.streams:
        if stream.index == job.info.video.index:
            with open_media(job.chunks[0]) as (_, media), translated(job.source_uri, EncodeError):
                video = _add_video(output, stream, media, job)
        elif stream.index in others:
            with translated(job.source_uri, EncodeError):
                passenger = board(
                    output,
                    job.source,
                    others[stream.index],
                    job.plan.container,
                    source_uri=job.source_uri,
                    open_path=job.open_path,
                )
            if passenger is not None:
                passengers[stream.index] = passenger
    assert video is not None
    return video, passengers


def _add_video(
    output: OutputContainer, stream: Stream, media: VideoStream, job: Job
) -> VideoStream:
    video = output.add_stream_from_template(media, opaque=True)
    video.time_base = job.plan.time_base
    describe(video, stream)
    context = video.codec_context
    if codec_of(job.plan.encoder).name == "hevc" and job.plan.container != "mkv":
        context.codec_tag = "hvc1"  # players of Apple refuse the default, hev1
    elif job.plan.encoder == "prores_ks":
        context.codec_tag = _PRORES_TAGS[job.plan.options["profile"]]  # it names the profile
    # Not every chunk's container keeps the tags of every codec.
    context.color_primaries = job.plan.color.primaries
    context.color_trc = job.plan.color.transfer
    context.colorspace = job.plan.color.matrix
    context.color_range = 2 if job.plan.color.is_full_range else context.color_range
    context.sample_aspect_ratio = job.plan.sample_aspect_ratio
    # Of a template PyAV forgets the rate. In mkv it is the mean; mp4 only counts timecode in it.
    rate = job.info.video.average_rate
    if job.plan.container != "mkv" and isinstance(stream, VideoStream):
        rate = stream.base_rate or rate
    context.framerate = rate
    video.set_display_matrix(job.plan.display_matrix)
    return video


def patch_output(out_path: Path, job: Job, passengers: dict[int, Passenger]) -> None:
    """Write into the finished file what the muxer could not be told."""
    if job.plan.container != "mkv":
        return
    indices = {index for index, one in passengers.items() if one.is_track}
    patches: dict[int, TrackPatch] = {}
    for track, index in enumerate(sorted(indices | {job.info.video.index})):
        stream = job.source.streams[index]
        aspect = stream.sample_aspect_ratio if isinstance(stream, VideoStream) else None
        if index == job.info.video.index:
            aspect = job.plan.sample_aspect_ratio
        if aspect and aspect != 1:
            patches[track] = TrackPatch(pixel_aspect=aspect)
        elif index in indices and passengers[index].delay_s:
            patches[track] = TrackPatch(codec_delay_s=passengers[index].delay_s)
    if patches:
        patch_tracks(out_path, patches)
