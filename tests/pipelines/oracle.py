"""What an independent ffmpeg program sees in a file: the judge of every output here."""

import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tests.media_factory import FFMPEG, run_ffmpeg

_FIELDS = {"progressive", "top first", "bottom first", "top coded first (swapped)",
           "bottom coded first (swapped)"}  # fmt: skip
MKV_TICK_S = Fraction(1, 1000)
"""Matroska rounds every time to a millisecond."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a file says of the video stream that a player takes."""

    size: str
    pixel_aspect: str
    color: tuple[str, ...]
    """Range, then matrix, primaries and transfer; empty where nothing is said."""
    rotation_deg: float


@dataclass(frozen=True, slots=True)
class Shown:
    """The frames of the video stream that a player takes, in the order in which they are shown."""

    times_s: tuple[Fraction, ...]
    hashes: tuple[str, ...]
    """MD5 of the samples in the stream's own pixel format, line padding left out."""


def shown(path: Path) -> Shown:
    """Decode ``path`` in sequence, with one thread, and return what is to be seen when."""
    text = run_ffmpeg(
        "-threads", "1", "-copyts", "-noautorotate", "-i", f"file:{path}", "-an", "-sn", "-dn",
        "-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "framehash", "-hash", "md5",
        "-",
    )  # fmt: skip
    found = re.search(r"^#tb 0: (\d+)/(\d+)$", text, re.MULTILINE)
    assert found, text[:400]
    time_base = Fraction(int(found[1]), int(found[2]))
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    return Shown(
        times_s=tuple(int(row[2]) * time_base for row in rows),
        hashes=tuple(row[5].strip() for row in rows),
    )


def decodes(path: Path) -> str:
    """Decode all video of ``path`` and return what the program complains about."""
    command = [
        FFMPEG, "-nostdin", "-v", "error", "-copyts", "-i", f"file:{path}", "-map", "0:v",
        "-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "null", "-",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    return done.stderr


def shows(path: Path) -> bool:
    """Whether the program decodes at least one frame of video."""
    command = [
        FFMPEG, "-nostdin", "-v", "quiet", "-i", f"file:{path}", "-an", "-sn", "-dn",
        "-frames:v", "1", "-f", "framehash", "-",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return any(line.startswith("0,") for line in done.stdout.splitlines())


def described(path: Path) -> Described:
    """Return what the program says of the stream it would play, once it has decoded a frame.

    Limited range and none told are the same to every player.
    """
    command = [
        FFMPEG, "-hide_banner", "-nostdin", "-noautorotate", "-i", f"file:{path}", "-an", "-sn",
        "-dn", "-frames:v", "1", "-f", "null", "-",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    source, _, shown_as = done.stderr.partition("Output #0")
    chosen = re.search(r"Stream #0:(\d+)\S* -> #0:0", done.stderr)
    assert chosen, done.stderr
    below = source.split(f"Stream #0:{chosen[1]}", 1)[1].split("\n  Stream #")[0]
    turned = re.search(r"rotation of (-?[\d.]+)", below)
    line = next(line for line in shown_as.splitlines() if "Stream #0:0" in line)
    size, aspect = re.search(r", (\d+x\d+)", line), re.search(r"SAR (\d+:\d+)", line)
    color = re.search(r"[a-z0-9]+\(((?:[^()]|\([^()]*\))*)\), \d+x\d+", line)
    words = color[1].split(", ") if color else []
    assert size
    return Described(
        size=size[1],
        pixel_aspect=aspect[1] if aspect else "1:1",
        color=tuple(word for word in words if word not in {*_FIELDS, "tv"}),
        rotation_deg=float(turned[1]) if turned else 0.0,
    )


def assert_same_times(output: Path, source: Path, *, is_shifted: bool = False) -> None:
    """Hold the number of frames and the time of each against the source's.

    Args:
        output: What was published.
        source: What it was made from.
        is_shifted: Compare times from the first frame on, for sources that store none.
    """
    made, wanted = shown(output).times_s, shown(source).times_s
    assert len(made) == len(wanted)
    shift_s = made[0] - wanted[0] if is_shifted else 0
    tolerance_s = MKV_TICK_S if output.suffix == ".mkv" else 0
    pairs = enumerate(zip(made, wanted, strict=True))
    wrong = [(n, one, due) for n, (one, due) in pairs if abs(one - due - shift_s) > tolerance_s]
    assert not wrong, f"{len(wrong)} frames at other times, the first: {wrong[0]}"
