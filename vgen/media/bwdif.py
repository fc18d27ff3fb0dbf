"""FFmpeg's bwdif as an object that takes frames and gives pictures.

bwdif (T. Mundt, after the BBC's w3fdif and M. Niedermayer's yadif) interpolates the lines of one
field from the frame and its two neighbours; of the first and the last frame, which have one, from
the field alone.
"""

import av
import av.error
from av.filter import Graph

from vgen.media.facts import VideoStream
from vgen.media.fields import FieldPlan, Order

_UNSPECIFIED = (2, 0)  # FFmpeg's matrix and range, as the graphs are told


class Bwdif:
    """The filter with its state; what it yields lags one frame behind what it is given."""

    def __init__(self, video: VideoStream, plan: FieldPlan) -> None:
        """Be ready for planar frames of ``video``; yield ``plan.pictures`` for each."""
        self._marks = {order: _graph(video, ("setfield", order)) for order in ("tff", "bff")}
        mode = "send_field" if plan.rate == "field" else "send_frame"
        # It answers every frame: skipping those flagged progressive would leave the state of
        # its first frame, and so the picture, to where a span begins.
        self._graph = _graph(video, ("bwdif", f"mode={mode}:parity=auto:deint=all"))

    def push(self, frame: av.VideoFrame, order: Order) -> list[av.VideoFrame]:
        """Give it a frame, which stays as it is; return the pictures that are ready."""
        tags = frame.colorspace, frame.color_range
        frame.colorspace, frame.color_range = _UNSPECIFIED
        mark = self._marks[order]
        mark.vpush(frame)
        self._graph.vpush(mark.vpull())
        frame.colorspace, frame.color_range = tags
        return self._pulled()

    def finish(self) -> list[av.VideoFrame]:
        """Return the last pictures."""
        self._graph.vpush(None)
        return self._pulled()

    def _pulled(self) -> list[av.VideoFrame]:
        pictures = []
        while True:
            try:
                pictures.append(self._graph.vpull())
            except (av.error.BlockingIOError, av.error.EOFError):
                return pictures


def _graph(video: VideoStream, filter_and_arguments: tuple[str, str]) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=video.width,
        height=video.height,
        format=av.VideoFormat(video.planar_format),
        time_base=video.time_base,
    )
    graph.link_nodes(source, graph.add(*filter_and_arguments), graph.add("buffersink")).configure()
    return graph
