"""A chunk object: the encoded media, followed by the facts about it.

One chunk is one object, so that it exists whole or not at all. The facts stand in a footer:
JSON, its length in 8 bytes (little-endian), and 8 bytes of magic. Readers trust none of it.
"""

import hashlib
import io
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from vgen.errors import DamagedError
from vgen.records import ChunkFacts, Record

_MAGIC = b"vgenchk1"
_TAIL_BYTES = 8 + len(_MAGIC)
_MAX_FOOTER_BYTES = 1 << 26
_BLOCK_BYTES = 1 << 20


class _Footer(Record):
    media_size_bytes: int
    media_sha256: str
    facts: ChunkFacts


def seal(path: Path, facts: ChunkFacts) -> None:
    """Append ``facts`` to the encoded file at ``path``, which makes it a chunk object.

    Raises:
        ValueError: the facts contradict themselves.
    """
    fault = _contradiction(facts)
    if fault:
        raise ValueError(fault)
    with path.open("r+b") as file:
        digest = hashlib.sha256()
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
        footer = _Footer(media_size_bytes=file.tell(), media_sha256=digest.hexdigest(), facts=facts)
        text = footer.model_dump_json().encode()
        file.write(text + len(text).to_bytes(8, "little") + _MAGIC)
        file.flush()
        os.fsync(file.fileno())


def read_facts(file: BinaryIO, *, name: str = "chunk") -> ChunkFacts:
    """Read the facts of a chunk object; two small reads at its end.

    Raises:
        DamagedError: the object is cut off, not a chunk, or contradicts itself.
    """
    return _read_footer(file, name).facts


def media_reader(file: BinaryIO, *, name: str = "chunk") -> BinaryIO:
    """Return the media part of a chunk object as a read-only, seekable file of its own.

    Closing it closes ``file``.

    Raises:
        DamagedError: as ``read_facts``.
    """
    size_bytes = _read_footer(file, name).media_size_bytes
    return io.BufferedReader(_Window(file, size_bytes), _BLOCK_BYTES)


def checked_media(file: BinaryIO, *, name: str = "chunk") -> BinaryIO:
    """Return the media part as ``media_reader`` does, once its digest is seen to be right.

    The object is read once. One that is not a file of this machine is copied to a temporary
    file on the way, so that it is not fetched again. Closing what is returned closes ``file``.

    Raises:
        DamagedError: the object was damaged after it was written, or as ``read_facts``.
    """
    footer = _read_footer(file, name)
    copy = None if _is_local(file) else tempfile.TemporaryFile()  # noqa: SIM115 - is returned
    file.seek(0)
    digest = hashlib.sha256()
    left = footer.media_size_bytes
    while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
        digest.update(block)
        left -= len(block)
        if copy is not None:
            copy.write(block)
    if digest.hexdigest() != footer.media_sha256:
        if copy is not None:
            copy.close()
        raise DamagedError(f"{name} was damaged after it was written")
    if copy is None:
        return io.BufferedReader(_Window(file, footer.media_size_bytes), _BLOCK_BYTES)
    file.close()
    copy.seek(0)
    return copy


def _is_local(file: BinaryIO) -> bool:
    try:
        file.fileno()
    except OSError:
        return False
    return True


def _read_footer(file: BinaryIO, name: str) -> _Footer:
    size_bytes = file.seek(0, io.SEEK_END)
    length = 0
    if size_bytes >= _TAIL_BYTES:
        file.seek(size_bytes - _TAIL_BYTES)
        tail = file.read(_TAIL_BYTES)
        length = int.from_bytes(tail[:8], "little") if tail[8:] == _MAGIC else 0
    if not 0 < length <= min(_MAX_FOOTER_BYTES, size_bytes - _TAIL_BYTES):
        raise DamagedError(f"{name} is cut off or not a chunk")
    file.seek(size_bytes - _TAIL_BYTES - length)
    try:
        footer = _Footer.model_validate_json(file.read(length))
    except ValidationError as error:
        raise DamagedError(
            f"{name} has facts that cannot be read ({error.error_count()} faults)"
        ) from error
    fault = _contradiction(footer.facts)
    if footer.media_size_bytes != size_bytes - _TAIL_BYTES - length:
        fault = f"holds {size_bytes - _TAIL_BYTES - length} bytes of media, not as recorded"
    if fault:
        raise DamagedError(f"{name} contradicts itself: {fault}")
    return footer


def _contradiction(facts: ChunkFacts) -> str:
    if not 0 <= facts.start < facts.stop:
        return f"frames [{facts.start}, {facts.stop})"
    ordered = sorted(facts.packet_pts)
    if list(facts.frame_pts) != ordered or len(set(ordered)) != len(ordered):
        return "frame PTS do not increase, or are not those of the packets"
    return ""


class _Window(io.RawIOBase):
    """The first ``size_bytes`` bytes of a file."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size_bytes}[whence]
        self._place = max(0, origin + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(0, self._size_bytes - self._place))
        self._file.seek(self._place)
        block = self._file.read(wanted)
        buffer[: len(block)] = block
        self._place += len(block)
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
