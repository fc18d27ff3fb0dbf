"""Which stream of a container is the video, and what the others are."""

from collections import Counter
from pathlib import PurePosixPath
from typing import Literal

from av.container import Container, InputContainer
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from vgen.errors import ProbeError
from vgen.media.facts import OtherStream

ContainerKind = Literal["mp4", "mov", "mkv", "webm", "mpegts", "mpeg", "avi", "other"]
StreamKind = Literal["video", "audio", "subtitle", "attachment", "data", "cover"]
_CONTAINERS: dict[str, ContainerKind] = {"mpegts": "mpegts", "mpeg": "mpeg", "avi": "avi"}
_KINDS: dict[str, StreamKind] = {
    "video": "video",
    "audio": "audio",
    "subtitle": "subtitle",
    "attachment": "attachment",
}
_MP4_SUFFIXES = (".mp4", ".m4v", ".3gp", ".3g2")
_MOV_SUFFIXES = (".mov", ".qt")
_PICTURE_BRANDS = ("avif", "heic", "heix", "heim", "heis", "mif1", "MiHE")


def main_video(container: InputContainer, uri: str) -> VideoStream:
    """Return the stream to enhance: never cover art, a default track first, then the largest.

    Raises:
        ProbeError: there is no moving picture, or no decoder for it.
    """
    pictures = list(container.streams.video)
    moving = [s for s in pictures if not s.disposition & Disposition.attached_pic]
    if not moving:
        what = "only a cover picture" if pictures else "no picture"
        raise ProbeError(f"not a video: the file holds sound or data and {what}", uri=uri)
    main = max(moving, key=_importance)
    if not has_decoder(main):
        raise ProbeError("no decoder for the codec of its video stream", uri=uri)
    return main


def read_only(container: InputContainer, main: VideoStream) -> None:
    """Have the demuxer skip all streams but ``main``, unread where the container allows it.

    Damage in the sound of an mp4 would otherwise end the reading of its picture too.
    """
    for stream in container.streams:
        if stream.index != main.index:
            stream.discard = Discard.all


def _importance(stream: VideoStream) -> tuple[bool, bool, int]:
    if not has_decoder(stream):
        return (False, False, 0)
    size = stream.codec_context.width * stream.codec_context.height * max(1, stream.frames)
    return (True, bool(stream.disposition & Disposition.default), size)


def has_decoder(stream: Stream) -> bool:
    """Whether FFmpeg here can decode the stream; if not, it has no codec context at all."""
    return getattr(stream, "codec_context", None) is not None


def other_streams(container: InputContainer, main: VideoStream) -> tuple[OtherStream, ...]:
    """Describe all streams but ``main``, in the container's order."""
    counts: Counter[str] = Counter()
    others = []
    for stream in container.streams:
        if stream.index == main.index:
            continue
        is_cover = bool(stream.disposition & Disposition.attached_pic)
        kind = "cover" if is_cover else _KINDS.get(stream.type, "data")
        counts[kind] += 1
        codec = stream.codec.canonical_name if has_decoder(stream) else None
        language = stream.language if stream.language not in (None, "und") else None
        details = ", ".join(part for part in (codec, language) if part)
        label = f"{kind} {counts[kind]}" + (f" ({details})" if details else "")
        others.append(OtherStream(index=stream.index, type=kind, codec=codec, label=label))
    return tuple(others)


def is_mov(container: Container) -> bool:
    """Whether FFmpeg reads it as mp4 or mov, which are one format to it."""
    return container.format.name.startswith("mov,")


def container_kind(container: InputContainer, uri: str) -> ContainerKind:
    """Return the container's family.

    Of mp4 and mov the name decides, because the output gets its suffix; then the brand.
    """
    name = container.format.name
    if is_mov(container):
        suffix = PurePosixPath(uri).suffix.lower()
        if suffix in _MP4_SUFFIXES or suffix in _MOV_SUFFIXES:
            return "mp4" if suffix in _MP4_SUFFIXES else "mov"
        # QuickTime files older than brands have none.
        return "mov" if container.metadata.get("major_brand", "qt").strip() == "qt" else "mp4"
    if name.startswith("matroska"):
        return "webm" if PurePosixPath(uri).suffix.lower() == ".webm" else "mkv"
    return _CONTAINERS.get(name, "other")


def needs_local_copy(container: InputContainer, main: VideoStream) -> bool:
    """Whether reading an object by ranges would cost more than fetching it once.

    mp4, mov and Matroska have an index and serve a span with a few requests. AVI is read several
    times over, MPEG-TS is searched, and a fragmented mp4, which lists no frames in its header,
    is walked fragment by fragment.
    """
    is_matroska = container.format.name.startswith("matroska")
    return not is_matroska and (not is_mov(container) or main.frames == 0)


def is_picture_file(container: InputContainer) -> bool:
    """Whether the format is one that still pictures come in; one frame of it is no video."""
    brand = container.metadata.get("major_brand", "").strip()
    return container.format.name == "gif" or brand in _PICTURE_BRANDS
