"""Deinterlacing against the truth: ``python -m benchmarks.deinterlace``.

Clips of 50 and 60 frames a second are interlaced without loss by the independent ffmpeg program,
so that the picture at the time of each field is known. Compared in the same run: vgen's plan and
filter as a run applies them, the program's bwdif on every frame, its yadif, and the frames left
woven. "mixed" is interlaced to the middle and whole from there, every frame flagged interlaced.
PSNR of luma at field rate; CPU milliseconds a source frame of 1 thread, decoding left out.
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.post_clips import FFMPEG, clip_paths
from vgen.config import Limits
from vgen.media.decode import DecodeStats, decode_span
from vgen.media.deinterlace import decode_pictures
from vgen.media.field_survey import survey_fields
from vgen.media.fields import plan_fields, presented, presented_span
from vgen.media.pixels import planes_of
from vgen.media.probe import probe_video
from vgen.records import Span, VideoRef

CLIPS = {"dark_1080p50_pcm": (720, 576), "bbb_1080p60_audio": (720, 480)}
LARGE = (1920, 1080)
FRAMES = 40
WHOLE = "select=not(mod(n\\,2)),setpts=N/(25*TB),fps=25,setfield=tff"
KINDS = {
    "top field first": "interlace=scan=tff:lowpass=off",
    "bottom field first": "interlace=scan=bff:lowpass=off",
    "not flagged": "interlace=scan=tff:lowpass=off,setfield=prog",
    "whole, flagged": WHOLE,
    "mixed": (
        f"split[a][b];[a]interlace=scan=tff:lowpass=off,trim=end_frame={FRAMES // 2}[i];"
        f"[b]{WHOLE},trim=start_frame={FRAMES // 2},setpts=PTS-STARTPTS[w];[i][w]concat"
    ),
}
Luma = NDArray[np.uint8]
"""``[T, H, W]``."""


def main() -> None:
    """Print a table."""
    print("clip | kind | vgen | bwdif | yadif | woven, dB | what vgen decides")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for clip, size in CLIPS.items():
            for kind, steps in KINDS.items():
                row = compared(clip, size, kind, steps, folder)
                print(f"{clip} {size[0]}x{size[1]} | {kind} | {row}", flush=True)
        print("size | survey, s a video | measure and bwdif, ms a frame: frame rate | field rate")
        for size in (CLIPS["bbb_1080p60_audio"], LARGE):
            print(f"{size[0]}x{size[1]} | {cost(size, folder)}", flush=True)


def compared(clip: str, size: tuple[int, int], kind: str, steps: str, folder: Path) -> str:
    """Return the line of one clip and kind."""
    path = interlaced(clip, size, steps, folder)
    truth = raw_luma(size, "-i", str(clip_paths()[clip]), "-vf", scaled(size), folder=folder)
    truth = truth[: 2 * FRAMES].copy()
    whole = {"whole, flagged": 0, "mixed": FRAMES}.get(kind, len(truth))
    truth[whole + 1 :: 2] = truth[whole::2]
    order = "bff" if kind.startswith("bottom") else "tff"
    made, note = by_vgen(path)
    figures = [
        raw_luma(size, "-i", str(path), "-vf", f"{other}=send_field:{order}", folder=folder)
        for other in ("bwdif", "yadif")
    ]
    figures.append(raw_luma(size, "-i", str(path), folder=folder).repeat(2, axis=0))
    return " | ".join([*(f"{psnr_db(one, truth):.2f}" for one in (made, *figures)), note])


def scaled(size: tuple[int, int]) -> str:
    """Return the filter that brings a clip to a size."""
    return f"scale={size[0]}:{size[1]}:flags=area,format=yuv420p"


def interlaced(clip: str, size: tuple[int, int], steps: str, folder: Path) -> Path:
    """Interlace a clip without loss."""
    path = folder / "fields.mkv"
    graph = f"{scaled(size)},settb=1/50,setpts=N,{steps}"
    source = ("-i", str(clip_paths()[clip]), "-an", "-sn", "-dn", "-filter_complex", graph)
    coded = ("-frames:v", str(FRAMES), "-c:v", "ffv1", "-level", "3", "-g", "10")
    subprocess.run([FFMPEG, "-v", "error", "-y", *source, *coded, str(path)], check=True)
    return path


def by_vgen(path: Path) -> tuple[Luma, str]:
    """Plan and deinterlace as a run does, at field rate; return luma and the note."""
    frames, note = pictures(path, "field")
    return np.stack([planes_of(frame)[0].copy() for frame in frames]), note


def pictures(path: Path, mode: str) -> tuple[Iterator[av.VideoFrame], str]:
    """Return the frames of a file, deinterlaced, and what was decided."""
    info, timeline = probe_video(ref_of(path), Limits())
    plan, notes = plan_fields(info, survey_fields(str(path), info, timeline), mode)  # type: ignore[arg-type]
    assert plan is not None
    span = presented_span(whole_span(timeline.pts), plan, timeline.last_duration)
    frames = decode_pictures(
        str(path),
        presented(info, plan),
        span,
        plan=plan,
        last_duration=timeline.last_duration,
        threads=1,
        salvage=True,
        stats=DecodeStats(),
    )
    return frames, notes[0]


def cost(size: tuple[int, int], folder: Path) -> str:
    """Return what a survey and a frame cost at a size."""
    path = interlaced("bbb_1080p60_audio", size, KINDS["top field first"], folder)
    info, timeline = probe_video(ref_of(path), Limits())
    began = time.process_time()
    survey_fields(str(path), info, timeline)
    survey_s = time.process_time() - began
    span = whole_span(timeline.pts)
    decoding = spent_s(
        decode_span(str(path), info, span, threads=1, salvage=True, stats=DecodeStats())
    )
    rates = [spent_s(pictures(path, mode)[0]) - decoding for mode in ("frame", "field")]
    return " | ".join([f"{survey_s:.2f}", *(f"{1e3 * one / FRAMES:.1f}" for one in rates)])


def spent_s(frames: Iterator[av.VideoFrame]) -> float:
    """Return the CPU seconds of drawing all frames."""
    began = time.process_time()
    for _ in frames:
        pass
    return time.process_time() - began


def ref_of(path: Path) -> VideoRef:
    """List one file."""
    size_bytes = path.stat().st_size
    return VideoRef(uri=str(path), relative_path=path.name, etag="", size_bytes=size_bytes)


def whole_span(pts: tuple[int, ...]) -> Span:
    """Return the span of all frames."""
    return Span(
        start=0,
        stop=len(pts),
        pts=pts,
        begin_pts=None,
        start_pts=None,
        stop_pts=None,
        end_pts=None,
    )


def raw_luma(size: tuple[int, int], *arguments: str, folder: Path) -> Luma:
    """Decode the luma of what ``arguments`` say with the independent program."""
    width, height = size
    raw = folder / "luma.raw"
    passed = ("-fps_mode", "passthrough", "-frames:v", str(2 * FRAMES), "-an", "-sn", "-dn")
    shape = ("-f", "rawvideo", "-pix_fmt", "yuv420p", str(raw))
    subprocess.run([FFMPEG, "-v", "error", "-y", *arguments, *passed, *shape], check=True)
    return np.fromfile(raw, np.uint8).reshape(-1, height * 3 // 2, width)[:, :height]


def psnr_db(one: Luma, other: Luma) -> float:
    """Return the PSNR over all frames."""
    error = np.mean((one[: len(other)].astype(np.float32) - other[: len(one)]) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


if __name__ == "__main__":
    main()
