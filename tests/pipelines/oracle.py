"""What an independent ffmpeg program sees in a file: the judge of every output here."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tests.media_factory import run_ffmpeg

MKV_TICK_S = Fraction(1, 1000)
"""Matroska rounds every time to a millisecond."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The frames of a file's first video stream, in the order in which they are shown."""

    times_s: tuple[Fraction, ...]
    hashes: tuple[str, ...]
    """MD5 of the samples in the stream's own pixel format, line padding left out."""


def shown(path: Path) -> Shown:
    """Decode ``path`` in sequence, with one thread, and return what is to be seen when."""
    text = run_ffmpeg(
        "-threads", "1", "-copyts", "-noautorotate", "-i", f"file:{path}", "-map", "0:V:0",
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
