"""Write into a finished Matroska file what PyAV has no way to tell FFmpeg's muxer, in place.

That is the pixel aspect of pictures, where the muxer writes "unknown" and players then believe the
codec (AV1, ProRes and FFV1 say nothing); and the delay of sound, the samples at its start that
a decoder needs and nobody is to hear, which mp4 keeps in an edit list.

Matroska is EBML (RFC 8794, RFC 9559): elements of an id, a size and a payload. The ``Tracks``
element is taken apart and written again, without checksum and padding, and padded to its old
length, so that nothing behind it moves.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_SEGMENT, _TRACKS, _TRACK, _VIDEO = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0"
_TRACK_UID, _CODEC_DELAY = b"\x73\xc5", b"\x56\xaa"
_WIDTH, _HEIGHT = b"\xb0", b"\xba"
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
_CHECKSUM, _VOID = b"\xbf", b"\xec"
_PIXELS, _RATIO = 0, 3  # values of DisplayUnit
_MAX_HEAD_BYTES = 1 << 22

_Element = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPatch:
    """What is to be written into one track."""

    pixel_aspect: Fraction | None = None
    """Width over height of a pixel, of a video track."""
    codec_delay_s: Fraction | None = None
    """Seconds by which the stamps of its blocks are late; as long as what is not to be heard."""


def patch_tracks(path: Path, patches: Mapping[int, TrackPatch]) -> None:
    """Change tracks of a file that FFmpeg's muxer wrote; its length stays the same.

    Args:
        path: The finished file.
        patches: What to write, by the track's place in the file.

    Raises:
        ValueError: the file is laid out in another way than FFmpeg does it.
    """
    with path.open("r+b") as file:
        offset, old = _find_tracks(file)
        tracks = list(_elements(old))
        places = [at for at, (kind, _) in enumerate(tracks) if kind == _TRACK]
        for track, patch in patches.items():
            at = places[track]
            tracks[at] = (_TRACK, _patched(tracks[at][1], patch))
        new = _packed(tracks)
        file.seek(offset)
        file.write(new + _padding(len(old) - len(new)))


def _find_tracks(file: BinaryIO) -> tuple[int, bytes]:
    """Return where the payload of ``Tracks`` starts, and the payload."""
    head = file.read(_MAX_HEAD_BYTES)
    offset = 0
    while offset < len(head):
        kind, size_bytes, offset = _header(head, offset)
        if kind == _TRACKS:
            return offset, head[offset : offset + size_bytes]
        offset += 0 if kind == _SEGMENT else size_bytes
    raise ValueError("no tracks at the head of the file")


def _patched(track: bytes, patch: TrackPatch) -> bytes:
    children = []
    for kind, payload in _elements(track):
        if kind == _TRACK_UID:
            children.append((kind, payload.lstrip(b"\0")))  # makes room
        elif kind == _VIDEO and patch.pixel_aspect is not None:
            children.append((kind, _with_aspect(payload, patch.pixel_aspect)))
        elif kind != _CODEC_DELAY or patch.codec_delay_s is None:
            children.append((kind, payload))
    if patch.codec_delay_s is not None:
        children.append((_CODEC_DELAY, _number(round(patch.codec_delay_s * 10**9))))
    return _packed(children)


def _with_aspect(payload: bytes, aspect: Fraction) -> bytes:
    video = dict(_elements(payload))
    width, height = (int.from_bytes(video[kind], "big") for kind in (_WIDTH, _HEIGHT))
    for kind, number in _display(width, height, aspect):
        video[kind] = _number(number)
    return _packed(video.items())


def _number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _display(width: int, height: int, aspect: Fraction) -> list[tuple[bytes, int]]:
    """Return the shown size, in pixels where that is exact, else as a ratio."""
    unit, shown = _PIXELS, (width * aspect, Fraction(height))
    if shown[0].denominator != 1:
        shown = (Fraction(width), height / aspect)
    if shown[1].denominator != 1:
        ratio = width * aspect / height
        unit, shown = _RATIO, (Fraction(ratio.numerator), Fraction(ratio.denominator))
    return [
        (_DISPLAY_WIDTH, int(shown[0])),
        (_DISPLAY_HEIGHT, int(shown[1])),
        (_DISPLAY_UNIT, unit),
    ]


def _elements(payload: bytes) -> Iterator[_Element]:
    offset = 0
    while offset < len(payload):
        kind, size_bytes, offset = _header(payload, offset)
        if kind not in (_CHECKSUM, _VOID):
            yield kind, payload[offset : offset + size_bytes]
        offset += size_bytes


def _header(data: bytes, offset: int) -> tuple[bytes, int, int]:
    """Return an element's id, the size of its payload, and where that starts."""
    id_bytes = _vint_bytes(data, offset)
    kind = data[offset : offset + id_bytes]
    offset += id_bytes
    size_bytes = _vint_bytes(data, offset)
    size = int.from_bytes(data[offset : offset + size_bytes], "big") & ~(1 << 7 * size_bytes)
    return kind, size, offset + size_bytes


def _vint_bytes(data: bytes, offset: int) -> int:
    if offset >= len(data) or data[offset] == 0:
        raise ValueError("not laid out as a Matroska file")
    return 9 - data[offset].bit_length()


def _packed(elements: Iterable[_Element]) -> bytes:
    return b"".join(kind + _size(len(payload)) + payload for kind, payload in elements)


def _size(size: int) -> bytes:
    num_bytes = max(1, -(-(size + 1).bit_length() // 7))  # all ones would mean unknown
    return (size | 1 << 7 * num_bytes).to_bytes(num_bytes, "big")


def _padding(num_bytes: int) -> bytes:
    if num_bytes == 0:
        return b""
    if num_bytes < 2:
        raise ValueError(f"no room in the tracks: {num_bytes} bytes are left")
    width = 1 if num_bytes < 128 else 8
    size = num_bytes - 1 - width
    return _VOID + (size | 1 << 7 * width).to_bytes(width, "big") + bytes(size)
