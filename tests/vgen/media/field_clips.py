"""Clips of fields whose frames are known: a moving picture, interlaced by the independent program.

Lossless, so that what comes back differs from the truth by the deinterlacing alone. ``truth`` has
50 frames a second; a frame of an interlaced clip holds every other line of two of them.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.media_factory import FFMPEG, run_ffmpeg

WIDTH, HEIGHT, RATE = 160, 96, 50
_MOVING = (
    f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}:duration=4,trim=end_frame=1,loop=-1:1,"
    "scroll=horizontal=0.013:vertical=0.006,setpts=N/(50*TB),"
)
_WHOLE = "select=not(mod(n\\,2)),setpts=N/(25*TB),fps=25"
_FFV1 = ("-c:v", "ffv1", "-level", "3", "-pix_fmt", "yuv420p", "-threads", "1")

Luma = NDArray[np.uint8]
"""``[T, H, W]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldClip:
    """A clip, and the true picture at the time of each field."""

    path: Path
    truth_thw: Luma
    """Two a frame."""


def interlaced(folder: Path, *, order="tff", flag: str | None = None, frames=40) -> FieldClip:
    """Interlace the moving picture; ``flag`` names what frames say of themselves, if not that."""
    said = f",setfield={flag}" if flag else ""
    steps = f"interlace=scan={order}:lowpass=off{said}"
    return _made(folder / f"{order}-{flag}-{frames}.mkv", steps, frames)


def progressive(folder: Path, *, flag="prog", frames=40) -> FieldClip:
    """Keep every other frame whole, whatever ``flag`` says."""
    clip = _made(folder / f"whole-{flag}-{frames}.mkv", f"{_WHOLE},setfield={flag}", frames)
    return FieldClip(path=clip.path, truth_thw=clip.truth_thw[::2].repeat(2, axis=0))


def mixed(folder: Path, *, flag: str | None = None, frames=80, whole_from=30) -> FieldClip:
    """Interlaced frames, then whole ones: a programme that goes from studio to film."""
    said = f",setfield={flag}" if flag else ""
    steps = (
        f"split[a][b];[a]interlace=scan=tff:lowpass=off,trim=end_frame={whole_from}[i];"
        f"[b]{_WHOLE},setfield=prog,trim=start_frame={whole_from},setpts=PTS-STARTPTS[w];"
        f"[i][w]concat{said}"
    )
    clip = _made(folder / f"mixed-{flag}-{frames}.mkv", steps, frames)
    truth = clip.truth_thw.copy()
    truth[2 * whole_from + 1 :: 2] = truth[2 * whole_from :: 2]
    return FieldClip(path=clip.path, truth_thw=truth)


def telecined(folder: Path, *, order="tff", flag: str | None = None, frames=60) -> FieldClip:
    """Spread 20 film frames a second over 25 by 3:2 pulldown; the truth are the film frames."""
    first = {"tff": "top", "bff": "bottom"}[order]
    steps = f"{_WHOLE},telecine=first_field={first}:pattern=23,setfield={flag or order}"
    clip = _made(folder / f"telecined-{order}-{flag}-{frames}.mkv", steps, frames)
    return FieldClip(path=clip.path, truth_thw=clip.truth_thw[::2])


def blind(clip: FieldClip, rate: str, folder: Path, parity="auto") -> Luma:
    """What the independent program's bwdif makes of every frame."""
    steps = f"bwdif=mode=send_{rate}:parity={parity}"
    return luma_of("-i", str(clip.path), "-vf", steps, "-fps_mode", "passthrough", folder=folder)


def luma_of(*arguments: str, folder: Path) -> Luma:
    """Decode what ``arguments`` say with the independent program."""
    raw = folder / "luma.raw"
    run_ffmpeg("-threads", "1", *arguments, "-an", "-f", "rawvideo", "-pix_fmt", "yuv420p", raw)
    planes = np.fromfile(raw, np.uint8).reshape(-1, HEIGHT * 3 // 2 * WIDTH)
    raw.unlink()
    return planes[:, : HEIGHT * WIDTH].reshape(-1, HEIGHT, WIDTH)


def psnr_db(one_thw: Luma, other_thw: Luma) -> float:
    """Peak signal to noise ratio over all frames."""
    error = np.mean((one_thw.astype(float) - other_thw) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def _made(path: Path, steps: str, frames: int) -> FieldClip:
    if not path.exists():
        graph = ("-filter_complex", f"{_MOVING}format=yuv420p,{steps}")
        command = [FFMPEG, "-v", "error", "-y", *graph, "-frames:v", str(frames), *_FFV1]
        subprocess.run([*command, str(path)], check=True, timeout=120)
    picture = ("-f", "lavfi", "-i", f"{_MOVING}format=yuv420p", "-frames:v", str(2 * frames))
    return FieldClip(path=path, truth_thw=luma_of(*picture, folder=path.parent))
