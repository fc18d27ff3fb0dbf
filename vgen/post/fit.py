"""What of a recipe's post-processing fits one video."""

from vgen.media.facts import VideoStream
from vgen.post_options import PostSettings

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""TransferCharacteristics of ITU-T H.273 under which usual code values are others than in SDR."""


def fitting(settings: PostSettings, video: VideoStream) -> tuple[PostSettings, tuple[str, ...]]:
    """Return the steps that make sense for ``video``, and notes on those that do not.

    What ``color`` knows of usual pictures holds for SDR: an HDR source is left alone by it.
    """
    hdr = HDR_TRANSFERS.get(video.color.transfer)
    if hdr is None or "color" not in settings.steps:
        return settings, ()
    return settings.without("color"), (f"color: left alone, as the source is HDR ({hdr})",)


def shown_aspect(video: VideoStream) -> float:
    """Return width by height of the picture as it lies in the stream, with square pixels."""
    return float(video.width * video.sample_aspect_ratio / video.height)
