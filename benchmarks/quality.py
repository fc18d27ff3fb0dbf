"""What ``vgen enhance`` does to held-out stills and clips, as a table of PSNR before and after.

``python -m benchmarks.quality STILLS_FOLDER CLIP [CLIP ...]``: stills whose stem ends in 0 (kept
out of training) become videos of five equal frames, clips give their first frames. Each is
damaged with seed 0, stored as FFV1 4:4:4 8 bit, enhanced by the command line with FFV1 4:4:4
output, and compared with the undamaged picture that went through the same storage.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from benchmarks.post_clips import picture

STILL_FRAMES, CLIP_FRAMES = 5, 24
CLASSES = ("noise25", "x264crf35", "x264crf15")
# Y of BT.601 as the field reports it (Y from 16 to 235 of R'G'B' in 0 to 1).
LUMA = np.array([65.481, 128.553, 24.966]) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stills", type=Path)
    parser.add_argument("clips", type=Path, nargs="*")
    parser.add_argument("--release", default="restore-tiny")
    parser.add_argument("--limit", type=int, help="use this many stills only")
    options = parser.parse_args()
    stills = sorted(p for p in options.stills.glob("*.jpg") if p.stem.endswith("0"))
    stills = stills[: options.limit]
    with tempfile.TemporaryDirectory(prefix="vgen-quality-") as name:
        folder = Path(name)
        clean = {}
        for path in stills:
            still = even(picture(path)[..., ::-1])
            clean[path.stem] = np.repeat(still[None], STILL_FRAMES, axis=0)
        for path in options.clips:
            clean[path.stem] = np.stack([even(f) for f in first_frames(path, CLIP_FRAMES)])
        dice = np.random.default_rng(0)
        for stem, frames in sorted(clean.items()):
            store(folder / "clean" / f"{stem}.mkv", frames)
            for kind in CLASSES:
                store(folder / "in" / kind / f"{stem}.mkv", damaged(frames, kind, dice, folder))
        command = [str(Path(sys.executable).with_name("vgen")), "enhance", str(folder / "in")]
        command += [str(folder / "out"), "--release", options.release, "--address", "local"]
        command += ["--encode.codec", "ffv1", "--report.no-stills"]
        subprocess.run(command, check=True)
        print(f"{len(stills)} stills of {STILL_FRAMES} frames, {len(options.clips)} clips")
        print("| class | what | RGB before | RGB after | gain | Y before | Y after | gain |")
        print("| --- " * 8 + "|")
        for kind in CLASSES:
            for what, stems in (
                ("stills", [p.stem for p in stills]),
                ("clips", [p.stem for p in options.clips]),
            ):
                if stems:
                    print(row(kind, what, stems, folder))


def row(kind: str, what: str, stems: list[str], folder: Path) -> str:
    """Mean over videos of the mean over frames."""
    scores = []
    for stem in stems:
        clean = folder / "clean" / f"{stem}.mkv"
        before = folder / "in" / kind / f"{stem}.mkv"
        after = folder / "out" / kind / f"{stem}.mkv"
        scores.append((*psnr_db(before, clean), *psnr_db(after, clean)))
    rgb_before, y_before, rgb_after, y_after = np.mean(scores, axis=0)
    return (
        f"| {kind} | {what} | {rgb_before:.2f} | {rgb_after:.2f} | {rgb_after - rgb_before:+.2f} "
        f"| {y_before:.2f} | {y_after:.2f} | {y_after - y_before:+.2f} |"
    )


def psnr_db(path: Path, reference_path: Path) -> tuple[float, float]:
    """RGB and Y PSNR, mean over frames."""
    scores = []
    for frame, reference in zip(rgb_frames(path), rgb_frames(reference_path), strict=True):
        error = frame.astype(np.float64) - reference
        scores.append((to_db(np.mean(error**2)), to_db(np.mean((error @ LUMA) ** 2))))
    rgb, luma = np.mean(scores, axis=0)
    return float(rgb), float(luma)


def to_db(mean_square: float) -> float:
    return float(10 * np.log10(255.0**2 / max(mean_square, 1e-6)))


def damaged(
    frames: NDArray[np.uint8], kind: str, dice: np.random.Generator, folder: Path
) -> NDArray[np.uint8]:
    """Damage uint8 RGB frames ``[T, H, W, 3]``."""
    if kind == "noise25":
        noisy = frames + dice.normal(0, 25, frames.shape)
        return np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    path = folder / "coded.mp4"
    crf = kind.removeprefix("x264crf")
    encode(path, frames, ["-c:v", "libx264", "-crf", crf, "-pix_fmt", "yuv420p"])
    return np.stack(list(rgb_frames(path)))


def store(path: Path, frames: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encode(path, frames, ["-c:v", "ffv1", "-pix_fmt", "yuv444p"])


def encode(path: Path, frames: NDArray[np.uint8], coding: list[str]) -> None:
    _, height, width, _ = frames.shape
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo"]
    raw = ["-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
    exact = ["-sws_flags", "accurate_rnd+full_chroma_int+bicubic"]
    command = [*program, *raw, *exact, *coding, str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)


def rgb_frames(path: Path) -> Iterator[np.ndarray]:
    """Decode with the ffmpeg program, not with what is measured."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        width, height = stream.width, stream.height
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
    exact = ["-sws_flags", "accurate_rnd+full_chroma_int+bicubic"]
    command = [*program, *exact, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    size = width * height * 3
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while len(raw := process.stdout.read(size)) == size:
            yield np.frombuffer(raw, np.uint8).reshape(height, width, 3)


def first_frames(path: Path, count: int) -> Iterator[np.ndarray]:
    for number, frame in enumerate(rgb_frames(path)):
        if number == count:
            return
        yield frame


def even(picture: np.ndarray) -> np.ndarray:
    """Crop to even sides, which 4:2:0 coding needs."""
    height, width = picture.shape[:2]
    return picture[: height - height % 2, : width - width % 2]


if __name__ == "__main__":
    main()
