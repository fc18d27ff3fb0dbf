"""Curves of a video as lines that a page can draw: numbers and nothing else."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from vgen.records import Curves

WIDTH, HEIGHT = 400, 60
"""Size of a plot in its own units."""
LEAST_SPANS = {"luma": 4.0, "right": 0.5, "down": 0.5, "turned": 0.2}
"""Smallest range that fills a plot's height, so that nothing looks like much."""

Points = Sequence[tuple[int, float, float]]
"""A frame's number, and a value before and after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One value over the frames of a video, before and after."""

    title: str
    unit: str
    low: str
    """The value at the bottom."""
    high: str
    """The value at the top."""
    before: str
    """An SVG path in ``WIDTH`` by ``HEIGHT``, broken at cuts."""
    after: str
    cuts: tuple[float, ...]
    """Where shots start, across, but for the first."""


def plots_of(curves: Curves) -> tuple[Plot, ...]:
    """Return the plots that a video's curves give; none where nothing was measured."""
    plots = []
    if len(curves.luma) > 1:
        plots.append(_plot("luma", "levels", curves.luma, curves.shots))
    if len(curves.path) > 1:
        for at, (title, unit) in enumerate(
            (("right", "% of width"), ("down", "% of width"), ("turned", "degrees")), start=1
        ):
            points = [(row[0], float(row[at]), float(row[at + 3])) for row in curves.path]
            plots.append(_plot(title, unit, points, curves.shots))
    return tuple(plots)


def _plot(title: str, unit: str, points: Points, shots: Sequence[int]) -> Plot:
    values = [value for _, *both in points for value in both]
    low, high = min(values), max(values)
    missing = max(LEAST_SPANS[title] - (high - low), 0.0) / 2
    low, high = low - missing, high + missing
    first, last = points[0][0], points[-1][0]

    def across(frame: int) -> float:
        return round(WIDTH * (frame - first) / (last - first), 1)

    def drawn(which: int) -> str:
        shot, parts = -1, []
        for point in points:
            is_new = bisect_right(shots, point[0]) != shot
            shot = bisect_right(shots, point[0])
            y = round(HEIGHT * (high - point[which]) / (high - low), 1)
            parts.append(f"{'M' if is_new else 'L'}{across(point[0])} {y}")
        return "".join(parts)

    return Plot(
        title=title,
        unit=unit,
        low=f"{low:.1f}",
        high=f"{high:.1f}",
        before=drawn(1),
        after=drawn(2),
        cuts=tuple(across(shot) for shot in shots if first < shot <= last),
    )
