"""When each frame of a video stream is shown.

All times are integers in the stream's own time base. Seconds appear only in reports: a float
cannot hold 1001/30000, and one rounded PTS is one duplicated or lost frame.
"""

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from vgen.media.facts import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The displayable frames of one video stream, in presentation order.

    Frame ``i`` is shown at ``pts[i] * time_base`` seconds. Steps may be uneven (variable frame
    rate); the first PTS may be positive (edit lists) or negative (wrapped MPEG-TS clocks).
    """

    pts: tuple[int, ...]
    """Presentation timestamps in ticks, strictly increasing."""
    keyframes: tuple[int, ...]
    """Indices into ``pts`` where decoding may start, strictly increasing, first 0."""
    time_base: Fraction
    """Seconds per tick, e.g. ``Fraction(1, 90_000)``."""
    access: Access
    """How the frames are reached; see ``vgen.media.facts.Access``."""
    last_duration: int
    """How long the last frame is shown, in ticks, at least 1."""
    num_hidden: int = 0
    """Frames of the stream that are no frames here, as an earlier one has their PTS."""

    def __post_init__(self) -> None:
        if not self.pts:
            raise ValueError("a timeline has at least one frame")
        if not self.keyframes or self.keyframes[0] != 0:
            raise ValueError("a timeline starts on a keyframe; drop undecodable leading frames")
        if any(a >= b for a, b in pairwise(self.keyframes)) or self.keyframes[-1] >= len(self.pts):
            raise ValueError("keyframes must be strictly increasing indices of frames")
        if any(a >= b for a, b in pairwise(self.pts)):
            raise ValueError("pts must be strictly increasing; sort packets by PTS, not DTS")
        if self.last_duration < 1 or self.time_base <= 0:
            raise ValueError(f"{self.last_duration=} and {self.time_base=} must be positive")

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def duration(self) -> int:
        """Ticks from the first frame's PTS to the end of the last frame."""
        return self.pts[-1] - self.pts[0] + self.last_duration

    def keyframe_at_or_before(self, frame: int) -> int:
        """Index of the last keyframe at or before frame ``frame``.

        Raises:
            IndexError: there is no such frame.
        """
        if not 0 <= frame < len(self.pts):
            raise IndexError(f"frame {frame} is not one of {len(self.pts)}")
        return self.keyframes[bisect_right(self.keyframes, frame) - 1]
