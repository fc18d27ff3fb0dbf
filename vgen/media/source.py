"""Open a source for reading: the one door between hostile files and FFmpeg.

Only demuxers on ``FORMATS`` are let near a file. Playlists, scripts and picture sequences are
refused because they make FFmpeg open further files and URLs that their author chose. The check is
FFmpeg's own ``format_whitelist``: it is made after the content probe and before the demuxer reads
its header, so a refused format has opened nothing. ``protocol_whitelist`` is the second lock: a
demuxer that tries to open something else finds only protocols that do not exist. External data
references of QuickTime files stay off, as FFmpeg has them by default.

Every exception of PyAV, FFmpeg and the file underneath becomes a ``MediaError`` in ``translated``.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import av.error
from av.container import InputContainer

from vgen.errors import EncodeError, FullError, MediaError, ProbeError
from vgen.storage import NO_ROOM, is_local, local_path, open_read

FORMATS = (
    # Containers with an index or timestamps of their own.
    "mov", "matroska", "mpegts", "mpeg", "avi", "flv", "asf", "ogg", "nut", "mxf", "rm", "gxf",
    "wtv", "nsv", "dv", "ivf", "gif", "yuv4mpegpipe",
    # Raw elementary streams.
    "h264", "hevc", "vvc", "m4v", "mpegvideo", "vc1", "obu", "av1", "h261", "h263", "cavsvideo",
    "dirac", "dnxhd",
)  # fmt: skip
"""FFmpeg demuxers that may read a source; mov is the whole mp4, m4v, 3gp family, mpeg holds vob."""

_REMOTE_BUFFER = 1 << 18  # bytes asked of object storage at a time: few requests, little waste
_FAR = {"probesize": str(100 << 20), "analyzeduration": str(600_000_000)}
"""Bytes and microseconds; what is read so is held in memory."""
FOREIGN_ERRORS = (av.error.FFmpegError, OSError, ValueError, IndexError, OverflowError, EOFError)
"""What PyAV, FFmpeg and files raise; use ``translated`` unless the error is to be passed over."""


@contextmanager
def translated(uri: str, kind: type[MediaError] = ProbeError, *, what: str = "") -> Iterator[None]:
    """Turn what PyAV, FFmpeg or the file raises inside the block into ``kind`` for ``uri``.

    ``what`` says what was not possible, where it is not that the file cannot be read or written.

    Keep the block around foreign calls only: a ``ValueError`` of our own would be hidden in it.

    Raises:
        MediaError: of class ``kind``, with one sentence that says what the library said.
        FullError: a disk is full, which is no fault of the file.
    """
    try:
        yield
    except FOREIGN_ERRORS as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise FullError(
                f"{error.strerror} while working on {uri!r}; "
                "free some, or let VGEN_SCRATCH name a folder on another disk"
            ) from error
        usual = "cannot be written" if kind is EncodeError else "cannot be read"
        raise kind(_sentence(error, what or usual), uri=uri) from error


@contextmanager
def open_source(
    uri: str,
    *,
    size_bytes: int | None = None,
    open_path: str | None = None,
    is_thorough: bool = False,
) -> Iterator[InputContainer]:
    """Open a source's container for reading; it is closed when the block ends.

    Args:
        uri: Path or URI of the source; it names the source in every error.
        size_bytes: Its size where known; 0 is refused without a request.
        open_path: A local copy to read instead.
        is_thorough: Whether to look far into formats that list no streams in a header, so that
            sound that begins late is found. Streams that are found without keep their numbers.

    Raises:
        ProbeError: missing, not a plain file, empty, of a format not on ``FORMATS``, or broken.
    """
    if size_bytes == 0:
        raise ProbeError("the file is empty", uri=uri)
    place = open_path or uri
    with ExitStack() as stack:
        container = stack.enter_context(_opened(uri, place, stack, {}))
        # Such formats are worked on as local copies, so nothing is fetched for a longer look.
        if is_thorough and is_local(place) and _may_hold_more(container):
            container = stack.enter_context(_opened(uri, place, stack, _FAR))
        yield container


def _may_hold_more(container: InputContainer) -> bool:
    """Whether a longer look may find streams, or the rate of a sound that has not begun.

    A programme stream tells of a stream by its first packet alone, a transport stream of all in
    its tables.
    """
    name = container.format.name
    if name == "mpeg":
        return True
    sounds = container.streams.audio if name == "mpegts" else ()
    return any(getattr(sound, "sample_rate", None) == 0 for sound in sounds)


def _opened(uri: str, place: str, stack: ExitStack, options: dict[str, str]) -> InputContainer:
    if is_local(place):
        return _open_local(uri, local_path(place), options)
    return _open_remote(uri, place, stack, options)


def open_bytes(uri: str) -> BinaryIO:
    """Open a source's bytes for random reads; the caller closes it."""
    return local_path(uri).open("rb") if is_local(uri) else open_read(uri)


def _open_local(uri: str, path: Path, options: dict[str, str]) -> InputContainer:
    with translated(uri):
        status = path.stat()
    # A pipe or device could block for ever; a folder has a worse message of its own.
    if not stat.S_ISREG(status.st_mode):
        raise ProbeError("not a plain file", uri=uri)
    if status.st_size == 0:
        raise ProbeError("the file is empty", uri=uri)
    try:
        # The prefix keeps a name such as "concat:a|b" from being read as a protocol.
        return av.open(
            f"file:{path}", "r", options=_locks("file") | options, metadata_errors="replace"
        )
    except FOREIGN_ERRORS as error:
        with translated(uri), path.open("rb") as file:
            message = _refusal(error, file)
        raise ProbeError(message, uri=uri) from error


def _open_remote(uri: str, place: str, stack: ExitStack, options: dict[str, str]) -> InputContainer:
    with translated(uri):
        file = stack.enter_context(open_read(place))
    try:
        # PyAV reads through the file object, so FFmpeg needs no protocol at all.
        return av.open(
            file,
            "r",
            options=_locks("none") | options,
            metadata_errors="replace",
            buffer_size=_REMOTE_BUFFER,
        )
    except FOREIGN_ERRORS as error:
        with translated(uri):
            message = _refusal(error, file)
        raise ProbeError(message, uri=uri) from error


def _locks(protocols: str) -> dict[str, str]:
    return {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": protocols}


def _refusal(error: Exception, file: BinaryIO) -> str:
    """Say why a file did not open, from the error and the file's first boxes."""
    file.seek(0)
    if not file.read(1):
        return "the file is empty"
    if _lacks_index(file):
        return (
            "an mp4 without its index (moov): the recording was cut off; "
            "repair it with an untrunc tool"
        )
    if isinstance(error, av.error.ArgumentError):
        return "not a video container: playlists, scripts, pictures and sound files are refused"
    if isinstance(error, av.error.InvalidDataError):
        return "not a video file that can be read"
    return _sentence(error)


def _lacks_index(file: BinaryIO) -> bool:
    """Whether the file starts as mp4 or mov and no top-level ``moov`` follows."""
    size_bytes = file.seek(0, os.SEEK_END)
    place = 0
    kinds: list[bytes] = []
    while place + 8 <= size_bytes and len(kinds) < 64:
        file.seek(place)
        head = file.read(16)
        kinds.append(head[4:8])
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            break
        place += length
    return bool(kinds) and kinds[0] in (b"ftyp", b"wide", b"mdat") and b"moov" not in kinds


def _sentence(error: Exception, what: str = "cannot be read") -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "not allowed to read the file"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    said = error.strerror if isinstance(error, av.error.FFmpegError | OSError) else str(error)
    return f"{what}: {said or type(error).__name__}"
