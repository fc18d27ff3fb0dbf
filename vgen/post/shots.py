"""Where shots begin and end, as frame numbers."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from vgen.post.stats import FrameStats


def split_shots(stats: Sequence[FrameStats], cuts: Sequence[int]) -> list[Sequence[FrameStats]]:
    """Return the rows of each shot.

    Args:
        stats: A row a frame, in order and without a gap, as ``merge_stats`` gives them.
        cuts: Numbers of the frames that start a shot, in any order; those outside do not count.

    Raises:
        ValueError: a frame is missing.
    """
    if not stats:
        return []
    first, stop = stats[0].frame, stats[0].frame + len(stats)
    if [row.frame for row in stats] != list(range(first, stop)):
        raise ValueError(f"expected a row for each of the frames {first} to {stop - 1}, in order")
    inner = sorted({cut for cut in cuts if first < cut < stop})
    borders = [first, *inner, stop]
    return [stats[a - first : b - first] for a, b in pairwise(borders)]


def shot_of(starts: Sequence[int], frame: int) -> int:
    """Return the index of the shot that holds ``frame``; what lies before is the first's."""
    return max(bisect_right(starts, frame) - 1, 0)
