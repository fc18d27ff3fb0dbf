"""What of a recipe's post-processing fits one video."""

from vgen.media.facts import VideoStream
from vgen.post_options import PostSettings

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""TransferCharacteristics of ITU-T H.273 under which usual code values are others than in SDR."""


def fitting(settings: PostSettings, video: VideoStream) -> tuple[PostSettings, tuple[str, ...]]:
    """Return the steps that make sense for ``video``, and notes on those that do not.

    What ``color`` knows of usual pictures holds for SDR: an HDR source is left alone by it, and
    where that is asked for, only what is set by hand is done.
    """
    hdr = HDR_TRANSFERS.get(video.color.transfer)
    if hdr is None or "color" not in settings.steps:
        return settings, ()
    if not settings.color.hdr:
        return settings.without("color"), (f"color: left alone, as the source is HDR ({hdr})",)
    by_hand = settings.color.model_copy(
        update={"white_balance": 0.0, "exposure": 0.0, "reference": None}
    )
    note = f"color: only as set by hand and by table, as the source is HDR ({hdr})"
    return settings.model_copy(update={"color": by_hand}), (note,)


def shown_aspect(video: VideoStream) -> float:
    """Return width by height of the picture as it lies in the stream, with square pixels."""
    return float(video.width * video.sample_aspect_ratio / video.height)
