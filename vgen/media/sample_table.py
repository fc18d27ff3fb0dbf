"""Read when the samples of an mp4 or mov are shown, without reading the samples.

FFmpeg's own index, filled when the file is opened, has each sample's DTS, place and flags with edit
lists applied; what PyAV does not show are the offsets from DTS to PTS. They stand in the ``ctts``
box of the track (ISO/IEC 14496-12, section 8.6.1.3). An archive on object storage is planned from
a few ranges of each file this way. Nothing is taken on trust: sums must agree, every sample must
lie within the file, and the first packets that FFmpeg really delivers must have these very stamps.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vgen.media.stamps import Stamp

_MAX_MOOV_BYTES = 1 << 28
_MAX_BOXES = 10_000
_HIDING_CODECS = ("vp8", "vp9")  # whether a packet is shown stands in the packet itself


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """What the boxes of one track say; one entry a sample, in ticks of the track."""

    offsets: NDArray[np.int64]
    durations: NDArray[np.int64]


def stamps_from_table(
    file: BinaryIO, stream: VideoStream, delivered: Sequence[Stamp]
) -> list[Stamp] | None:
    """Return the stamps of all shown samples of an mp4 or mov, or None where packets must tell.

    Args:
        file: The source, opened beside FFmpeg; its position is moved.
        stream: The open stream.
        delivered: Stamps of the first packets as FFmpeg delivered them, at least one.
    """
    entries = list(stream.index_entries)
    if stream.codec.canonical_name in _HIDING_CODECS or not delivered or not entries:
        return None
    size_bytes = file.seek(0, os.SEEK_END)
    if any(entry.pos + entry.size > size_bytes or entry.size == 0 for entry in entries):
        return None
    table = _read_table(file, stream.id, len(entries))
    # A track may leave the last duration out, and then FFmpeg finds one of its own.
    if table is None or stream.frames != len(entries) or not table.durations.all():
        return None
    stamps: list[Stamp] = []
    is_started = False
    for entry, offset, duration in zip(
        entries, table.offsets.tolist(), table.durations.tolist(), strict=True
    ):
        is_started = is_started or entry.is_keyframe
        if is_started and not entry.is_discard:
            dts = entry.timestamp
            stamps.append(Stamp(dts + offset, dts, duration, entry.is_keyframe))
    return _agreed(stamps, delivered)


def _agreed(stamps: list[Stamp], delivered: Sequence[Stamp]) -> list[Stamp] | None:
    """Shift the table's PTS as FFmpeg does for tracks with negative offsets, if all else agrees."""
    first = delivered[0].pts
    if not stamps or first is None or stamps[0].pts is None:
        return None
    shift = first - stamps[0].pts
    if shift:
        stamps = [s._replace(pts=None if s.pts is None else s.pts + shift) for s in stamps]
    return stamps if stamps[: len(delivered)] == list(delivered) else None


def _read_table(file: BinaryIO, track_id: int, num_samples: int) -> _Table | None:
    moov = _read_moov(file)
    for kind, trak in _boxes(moov):
        if kind == b"trak" and _track_id(trak) == track_id:
            table = trak
            for name in (b"mdia", b"minf", b"stbl"):
                table = _child(table, name) or memoryview(b"")
            durations = _runs(_child(table, b"stts"), "u4", num_samples)
            ctts = _child(table, b"ctts")
            # Version 1 offsets are signed, and many version 0 files hold signed ones as well.
            offsets = (
                np.zeros(num_samples, np.int64) if ctts is None else _runs(ctts, "i4", num_samples)
            )
            if durations is None or offsets is None:
                return None
            return _Table(offsets=offsets, durations=durations)
    return None


def _runs(box: memoryview | None, value_type: str, num_samples: int) -> NDArray[np.int64] | None:
    """Expand a run-length table of (count, value) pairs; None if it does not sum up."""
    if box is None or len(box) < 8:
        return None
    (num_runs,) = struct.unpack_from(">I", box, 4)
    if len(box) < 8 + 8 * num_runs:
        return None
    pairs = np.frombuffer(box, [("count", ">u4"), ("value", f">{value_type}")], num_runs, 8)
    counts = pairs["count"].astype(np.int64)
    if int(counts.sum()) != num_samples:
        return None
    return np.repeat(pairs["value"].astype(np.int64), counts)


def _read_moov(file: BinaryIO) -> memoryview:
    """Return what the top-level ``moov`` box holds, empty if there is none of a sane size."""
    size_bytes = file.seek(0, os.SEEK_END)
    place = 0
    for _ in range(_MAX_BOXES):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            break
        length, kind, start = _head(memoryview(head), size_bytes - place)
        if kind == b"moov" and length <= _MAX_MOOV_BYTES:
            file.seek(place + start)
            return memoryview(file.read(length - start))
        if length < 8:
            break
        place += length
    return memoryview(b"")


def _head(box: memoryview, left: int) -> tuple[int, bytes, int]:
    """Return a box's length with its head, its kind, and where its content starts."""
    length, kind = struct.unpack_from(">I4s", box)
    if length == 1 and len(box) >= 16:
        return struct.unpack_from(">Q", box, 8)[0], kind, 16
    return length or left, kind, 8


def _boxes(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    place = 0
    while place + 8 <= len(content):
        length, kind, start = _head(content[place:], len(content) - place)
        if length < start:
            return
        yield kind, content[place + start : place + length]
        place += length


def _child(content: memoryview, name: bytes) -> memoryview | None:
    return next((box for kind, box in _boxes(content) if kind == name), None)


def _track_id(trak: memoryview) -> int | None:
    header = _child(trak, b"tkhd")
    if header is None or len(header) < 24:
        return None
    is_long = header[0] == 1  # version 1 has 64 bit times before the number
    return int(struct.unpack_from(">I", header, 20 if is_long else 12)[0])
