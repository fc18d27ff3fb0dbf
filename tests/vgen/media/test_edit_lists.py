"""What edit lists cut out of sound stays out."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chunked import copied
from tests.media_factory import run_ffmpeg
from vgen.config import EncodeSettings
from vgen.media.verify import verify_output

Stretch = tuple[float, float]
"""Seconds of the movie, and where in the media they start; nothing is shown from -1."""


@pytest.mark.parametrize(
    ("stretches", "codec"),
    [  # 0.32 s are 8 pictures and 15 packets of sound: FFmpeg cuts no packet in the middle
        ([(0.64, 0.0), (0.64, 1.28)], "h264"),
        ([(0.64, 0.0), (0.64, 1.28)], "ffv1"),
        ([(0.32, 0.32), (0.32, 0.96), (0.32, 1.6)], "h264"),
        ([(1.28, 0.32)], "h264"),
    ],
)
def test_sound_is_heard_as_the_edit_list_says(stretches, codec, tmp_path):
    source = tmp_path / "edited.mov"
    plain = tmp_path / "plain.mov"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=2",
        "-f", "lavfi", "-i", "aevalsrc=sin(2000*t*t):s=48000:d=2", "-c:v", "mjpeg",
        "-c:a", "pcm_s16le", plain,
    )  # fmt: skip
    write_edited(plain, source, stretches)
    copy = copied(source, tmp_path, EncodeSettings(codec=codec, preset="ultrafast", crf=30))
    verify_output(copy.path, copy.info, copy.plan, copy.frame_pts, copy.result, uri="copy")
    assert samples_of(copy.path) == samples_of(source)


def test_sound_that_begins_late_has_at_most_a_run_up_before_it(tmp_path):
    source, plain = tmp_path / "edited.mov", tmp_path / "plain.mov"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=2", "-f", "lavfi", "-i",
               "sine=r=48000:d=2", "-c:v", "mjpeg", "-c:a", "pcm_s16le", plain)  # fmt: skip
    write_edited(plain, source, [(0.4, -1), (1.0, 0.5)])
    copy = copied(source, tmp_path, EncodeSettings(codec="h264", preset="ultrafast", crf=30))
    heard_s = len(samples_of(copy.path)) / 2 / 48_000
    assert 1.0 <= heard_s <= 1.15  # all that the track holds before: 1.41


def samples_of(path: Path) -> bytes:
    raw = path.with_suffix(".raw")
    run_ffmpeg("-i", path, "-map", "0:a:0", "-f", "s16le", raw)
    return raw.read_bytes()


def write_edited(source: Path, path: Path, stretches: list[Stretch]) -> None:
    """Write a copy whose tracks all have an edit list; the movie's header has to come last."""
    data = source.read_bytes()
    _, at, begin, end = next(box for box in boxes(data, 0, len(data)) if box[0] == b"moov")
    assert end == len(data)
    inner = list(boxes(data, begin, end))
    (scale,) = (scale_of(data, body) for kind, _, body, _ in inner if kind == b"mvhd")
    moov = b""
    for kind, first, body, stop in inner:
        moov += edited(data, body, stop, scale, stretches) if kind == b"trak" else data[first:stop]
    path.write_bytes(data[:at] + box_of(b"moov", moov))


def edited(data: bytes, begin: int, end: int, scale: int, stretches: list[Stretch]) -> bytes:
    track = list(boxes(data, begin, end))
    media = next(box for box in track if box[0] == b"mdia")
    ticks = next(scale_of(data, b) for kind, _, b, _ in boxes(data, *media[2:]) if kind == b"mdhd")
    entries = b"".join(
        struct.pack(">IiHH", round(lasting * scale), -1 if at < 0 else round(at * ticks), 1, 0)
        for lasting, at in stretches
    )
    edits = box_of(b"edts", box_of(b"elst", struct.pack(">II", 0, len(stretches)) + entries))
    kept = {kind: data[first:stop] for kind, first, _, stop in track if kind != b"edts"}
    return box_of(b"trak", kept.pop(b"tkhd") + edits + b"".join(kept.values()))


def scale_of(data: bytes, body: int) -> int:
    return int.from_bytes(data[body + 12 : body + 16])  # version 0


def box_of(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield kind, start, start of the content and end of each box."""
    while at < end:
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at, at + 8, at + size
        at += size
