"""Classical filters to hold a network against: what FFmpeg has, at its best setting.

Each filter is tried at every point of a stated grid on the same damaged frames, and its best
point by mean RGB PSNR counts: no user of the filter can do better without a network. Frames go
through as planes of R, G and B, so that nothing is lost in conversions.

Clips are uint8 RGB arrays ``[T, H, W, 3]``.
"""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.error import BlockingIOError as NothingYetError
from av.error import EOFError as EndError
from av.filter import Graph

from vgen.training.codec import Clip

_NLMEANS_STRENGTHS = (1.0, 30.0)
"""What the filter takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One FFmpeg filter with its parameters."""

    name: str
    arguments: str

    def __str__(self) -> str:
        return f"{self.name}={self.arguments}"


def _filter(name: str, **arguments: float) -> Filter:
    return Filter(
        name=name, arguments=":".join(f"{key}={value:g}" for key, value in arguments.items())
    )


def _averaging(threshold: float) -> Filter:
    """Average over time where frames differ by little; ``threshold`` of the range, 0 to 0.3."""
    lasting = 10 * threshold  # of the sum over frames; the filter's own ratio is two
    parts = [f"{plane}a={threshold:g}:{plane}b={lasting:g}" for plane in range(3)]
    return Filter(name="atadenoise", arguments=":".join(parts))


def noise_filters(sigma: float) -> tuple[Filter, ...]:
    """Return the grid for Gaussian noise of standard deviation ``sigma``, in 8-bit levels.

    The filter's ``sigma`` of BM3D (Dabov et al., 2007) is no standard deviation: it does most at
    three to five times that. Non-local means (Buades, Coll and Morel, 2005) takes 30 at most.
    """
    low, high = _NLMEANS_STRENGTHS
    strengths = sorted({min(max(sigma * factor, low), high) for factor in (0.65, 0.85)})
    return (
        *(_filter("bm3d", sigma=factor * sigma) for factor in (3.0, 3.5, 4.0, 4.5, 5.0)),
        *(_filter("nlmeans", s=strength) for strength in strengths),
        _averaging(0.3),
    )


CODEC_FILTERS = (
    Filter(name="deblock", arguments="filter=weak:block=8"),
    Filter(name="bm3d", arguments="sigma=6"),
    Filter(name="bm3d", arguments="sigma=12"),
    Filter(name="bm3d", arguments="sigma=20"),
    Filter(name="nlmeans", arguments="s=2"),
    Filter(name="nlmeans", arguments="s=4"),
    _averaging(0.02),
)
"""The grid for what a codec did: deblocking, and denoising by little."""


def run_filter(clip_thwc: Clip, chosen: Filter) -> Clip:
    """Return ``clip_thwc`` as the filter gives it back: same length, same order."""
    graph = Graph()
    graph.threads = 1
    height, width = clip_thwc.shape[1:3]
    source = graph.add_buffer(
        width=width, height=height, format=av.VideoFormat("gbrp"), time_base=Fraction(1, 25)
    )
    nodes = [source, graph.add(chosen.name, chosen.arguments), graph.add("buffersink")]
    graph.link_nodes(*nodes).configure()
    made: list[Clip] = []
    for number, picture in enumerate(clip_thwc):
        frame = av.VideoFrame.from_ndarray(picture, format="gbrp")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        graph.push(frame)
        made += _drained(graph)
    graph.push(None)
    made += _drained(graph)
    assert len(made) == len(clip_thwc)
    return np.stack(made)


def _drained(graph: Graph) -> list[Clip]:
    frames: list[Clip] = []
    while True:
        try:
            frame = graph.pull()
        except (NothingYetError, EndError):
            return frames
        assert isinstance(frame, av.VideoFrame)
        frames.append(np.asarray(frame.to_ndarray(), np.uint8))
