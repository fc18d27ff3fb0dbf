"""The values that travel between stages and into plan, chunk, manifest and report.

All are frozen pydantic models, so each has one JSON form, checked when it is read back.
Times are integer ticks of the source's video stream; anything in seconds ends in ``_s``.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Stage = Literal[
    "list",
    "probe",
    "plan",
    "analyze",
    "decode",
    "enhance",
    "encode",
    "assemble",
    "verify",
    "publish",
]


class Record(BaseModel):
    """Base of all travelling values: frozen, nothing unknown accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class VideoRef(Record):
    """One source object as it was when it was listed."""

    uri: str
    """Absolute path or URI."""
    relative_path: str
    """Where it lies under SOURCE, with forward slashes; names the output."""
    etag: str
    """Changes when the object does; of a local file its size and mtime_ns."""
    size_bytes: int
    """Size when it was listed."""


class Span(Record):
    """Frames ``[start, stop)`` of one video to produce, and the PTS that bound them.

    Frame numbers are those of the planned timeline. What a damaged source really yields may
    differ, so ownership is by PTS: a decoded frame is produced by this span exactly if
    ``start_pts <= pts < stop_pts``; it is context if it lies in ``[begin_pts, end_pts)`` only.
    A bound of ``None`` is open: the first span owns everything before, the last all after.
    """

    start: int
    """First frame to produce."""
    stop: int
    """One past the last frame to produce."""
    lead: int = 0
    """Context frames before ``start``, shown to the network and never written."""
    tail: int = 0
    """Context frames after ``stop``."""
    begin_pts: int | None
    """PTS of frame ``start - lead``; None where that is the first frame."""
    start_pts: int | None
    """PTS of frame ``start``; None for the first span."""
    stop_pts: int | None
    """PTS of frame ``stop``; None for the last span."""
    end_pts: int | None
    """PTS of frame ``stop + tail``; None where the video ends before it."""
    pts: tuple[int, ...]
    """Planned PTS of ``[start - lead, stop + tail)``."""

    def owns(self, pts: int) -> bool:
        """Whether the frame shown at ``pts`` is produced by this span."""
        after = self.start_pts is None or pts >= self.start_pts
        return after and (self.stop_pts is None or pts < self.stop_pts)

    @property
    def name(self) -> str:
        """The span's part of an object key."""
        return span_name(self.start, self.stop)


def span_name(start: int, stop: int) -> str:
    """Name frames ``[start, stop)`` so that names sort as the frames do."""
    return f"{start:09d}-{stop:09d}"


class Fault(Record):
    """Why a video failed."""

    stage: str
    """The stage that found it."""
    kind: str
    """The error's class name."""
    message: str
    """One sentence."""


LumaPoint = tuple[int, float, float]
"""A frame's number, and its mean luma in 8-bit levels before restoration and at the end."""
PathPoint = tuple[int, float, float, float, float, float, float]
"""A frame's number; where the camera is: right and down in percent of the width and turned in
degrees, counted from the start of its shot; and the same where it seems to be afterwards."""

MAX_POINTS = 400
"""Frames of a video that its curves show, at most."""


def point_stride(num_frames: int) -> int:
    """Return n where every n-th frame of a video is a point of its curves."""
    return max(-(-num_frames // MAX_POINTS), 1)


class Curves(Record):
    """What post-processing did to a video over time, at the frames of ``point_stride``."""

    shots: tuple[int, ...] = ()
    """Number of each shot's first frame."""
    path: tuple[PathPoint, ...] = ()
    """Empty where the camera's motion was not measured."""
    luma: tuple[LumaPoint, ...] = ()


class Still(Record):
    """The pair of stills where a span changed most."""

    pts: int
    """PTS of the frame."""
    change: float
    """Mean absolute difference in 8-bit levels, luma."""
    before_jpeg: str
    """Base64 of a small JPEG of the source frame."""
    after_jpeg: str
    """Base64 of a small JPEG of the output frame."""


class ChunkFacts(Record):
    """What one finished chunk holds; stored in the chunk object itself."""

    start: int
    stop: int
    frame_pts: tuple[int, ...]
    """PTS of the frames in the chunk, in presentation order, ticks of the source stream."""
    packet_pts: tuple[int, ...]
    """The same PTS in packet (decoding) order."""
    num_damaged_packets: int = 0
    """Source packets or frames that decoded with errors within this span."""
    num_missing: int = 0
    """Planned frames of this span that the source did not yield."""
    num_unplanned: int = 0
    """Frames that the source yielded although no packet announced them."""
    notes: tuple[str, ...] = ()
    """What a reader of the report should know, such as a step down after out-of-memory."""
    dropped: tuple[str, ...] = ()
    """What the source's frames carried and the restored ones do not."""
    first_crc: tuple[int, int] | None = None
    """PTS and CRC-32 of the first source frame of the span."""
    after_crc: tuple[int, int] | None = None
    """The same of the source frame after the span, where one was decoded as context."""
    stage_cpu_seconds: dict[str, float] = {}
    """CPU seconds by stage: decode, enhance, post, encode."""
    luma: tuple[LumaPoint, ...] = ()
    """Of some of the frames, where they were post-processed."""
    still: Still | None = None


class VideoOutcome(Record):
    """How one listed video ended; a line of the report."""

    source_uri: str
    output_uri: str
    status: Literal["done", "skipped", "failed"]
    frames: int = 0
    duration_s: float = 0.0
    dropped: tuple[str, ...] = ()
    """What could not be carried into the output."""
    notes: tuple[str, ...] = ()
    error: Fault | None = None


class Totals(Record):
    """Counts over a run; ``listed == done + skipped + failed``, always."""

    listed: int
    done: int
    skipped: int
    failed: int
    frames: int
    source_seconds: float


class Speed(Record):
    """How fast a run was, and where its CPU time went."""

    frames_per_second: float
    stage_cpu_seconds: dict[str, float]


class RunReport(Record):
    """Outcome of one run: ``report.json``, and what ``--json`` prints."""

    run_id: str
    release: str
    release_digest: str
    recipe: dict[str, object]
    recipe_digest: str
    started_at: str
    finished_at: str
    totals: Totals
    speed: Speed
    videos: tuple[VideoOutcome, ...]
