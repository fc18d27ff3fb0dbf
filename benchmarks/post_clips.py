"""Real clips as arrays, and what an independent ffmpeg's filters make of arrays.

Axes: t time, h height, w width, c channel.
"""

import os
import subprocess
from functools import cache
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
Clip = NDArray[np.uint8]
"""``[T, H, W, 3]`` RGB."""


@cache
def clip_paths() -> dict[str, Path]:
    """Files of the folder named by VGEN_REAL_CLIPS and of its neighbour train, by stem."""
    folder = Path(os.environ["VGEN_REAL_CLIPS"])
    files = [*folder.iterdir(), *folder.parent.glob("train/clips/*")]
    return {file.stem: file for file in sorted(files) if file.suffix != ".csv"}


def training_clips() -> list[str]:
    """Return the stems of the clips in the neighbouring folder train."""
    return [stem for stem, path in clip_paths().items() if path.parent.parent.name == "train"]


def stills() -> list[Path]:
    """Return the training stills."""
    return sorted(Path(os.environ["VGEN_REAL_CLIPS"]).parent.glob("train/bsds400_jpg/*.jpg"))


def picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture, BGR ``[H, W, 3]``."""
    picture_hwc = cv2.imread(str(path))
    if picture_hwc is None:
        raise ValueError(f"{path} is no picture")
    return np.asarray(picture_hwc, np.uint8)


def read_still(path: Path, *, height: int) -> Clip:
    """Read a picture as a clip of one frame, its shorter side scaled to ``height``."""
    whole_hwc = picture(path)
    share = height / min(whole_hwc.shape[:2])
    small_hwc = cv2.resize(whole_hwc, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small_hwc[None, ..., ::-1])


def read_clip(name: str, *, num_frames: int, height: int = 360, every_s: float = 0) -> Clip:
    """Decode the first frames of a clip, or one each ``every_s`` seconds, scaled to ``height``."""
    rate = [f"fps={1 / every_s}"] if every_s else []
    steps = ",".join([*rate, f"scale=-2:{height}:flags=area"])
    frames = "-frames:v", str(num_frames), "-vf", steps
    return _piped("-threads", "1", "-i", str(clip_paths()[name]), *frames)


def read_folder(folder: Path, *, num_frames: int) -> Clip:
    """Read a sequence of stills named by their numbers, which need not have leading zeros."""
    files = sorted(folder.iterdir(), key=lambda file: int(file.stem))[:num_frames]
    return np.stack([picture(file)[..., ::-1] for file in files])


def sequence(name: str) -> Path:
    """Return the folder of one of the training sequences."""
    return Path(os.environ["VGEN_REAL_CLIPS"]).parent / "train" / "seq" / name


def filtered(clip: Clip, steps: str, *, cwd: Path | None = None) -> Clip:
    """Send a clip through ffmpeg's filters, as RGB on both sides and at 25 frames a second."""
    size = f"{clip.shape[2]}x{clip.shape[1]}"
    raw = "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "25", "-i", "-"
    return _piped(*raw, "-vf", steps, given=clip.tobytes(), size=clip.shape[1:3], cwd=cwd)


def _piped(
    *arguments: str,
    given: bytes | None = None,
    size: tuple[int, int] | None = None,
    cwd: Path | None = None,
) -> Clip:
    # PPM pictures say their own size.
    coded = ["-f", "rawvideo"] if size else ["-f", "image2pipe", "-c:v", "ppm"]
    command = [FFMPEG, "-v", "error", *arguments, "-pix_fmt", "rgb24", *coded, "-"]
    done = subprocess.run(command, input=given, capture_output=True, check=True, cwd=cwd)
    if size:
        return np.frombuffer(done.stdout, np.uint8).reshape(-1, *size, 3)
    _, extent, _ = done.stdout.split(b"\n", 3)[:3]
    width, height = map(int, extent.split())
    header = len(b"P6\n") + len(extent) + len(b"\n255\n")
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, header + width * height * 3)
    return frames[:, header:].reshape(-1, height, width, 3)
