"""Archives to enhance: clips of many kinds under awkward names, and files that are no videos."""

import json
import shutil
from pathlib import Path

from pipelines.jobs import read_video
from tests.media_factory import Media, run_ffmpeg

GOOD = {
    "plain.mp4": "h264_mp4",
    "-leading dash.mp4": "fragmented_mp4",
    'it\'s "quoted".mkv': "h264_mkv",
    "\u00fcber \u52d5\u753b.webm": "vp9_webm",
    "new\nline.ts": "h264_ts",
    "100%41.mpg": "mpeg2_ps",
    "a#b?c=d.avi": "mpeg4_avi",
    "[a-z]*.avi": "h264_avi",
    "vfr.mp4": "vfr_mp4",
    "folder.mp4/late.mp4": "late_start_mp4",
    "folder.mp4/rotated.mp4": "rotated.mp4",
    "odd.mkv": "odd_size_mkv",
    "ten_bit.mkv": "ten_bit_mkv",
    "interlaced.ts": "interlaced_tff_ts",
    "rgb.mkv": "rgb_mkv",
    "gray.mkv": "gray_mkv",
    "tracks.mkv": "multitrack.mkv",
}
"""Clip of the factory by its name in the archive."""

BAD = {
    "empty.mp4": "the file is empty",
    "text.mp4": "not a video file that can be read",
    "truncated.mp4": "without its index",
    "sound.mp4": "no picture",
    "still.mp4": "not a video container",
    "concat.mp4": "not a video container: playlists, scripts",
    "playlist.ts": "not a video file that can be read",
    "huge.y4m": "cannot be read",
}
"""What the report must say, by the name of a file that is no video to enhance."""


def add_good(folder: Path, media: Media, names: dict[str, str]) -> None:
    """Copy the clips ``names`` into ``folder``."""
    for name, clip in names.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(media[clip], path)


def add_bad(folder: Path, media: Media) -> None:
    """Put the files of ``BAD`` into ``folder``; some of them point at its ``plain.mp4``."""
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    shutil.copyfile(media["truncated.mp4"], folder / "truncated.mp4")
    shutil.copyfile(media["audio_only_m4a"], folder / "sound.mp4")
    shutil.copyfile(media["still_png"], folder / "still.mp4")
    (folder / "concat.mp4").write_text(f"ffconcat version 1.0\nfile '{folder}/plain.mp4'\n")
    (folder / "playlist.ts").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{folder}/plain.mp4\n#EXT-X-ENDLIST\n"
    )
    (folder / "huge.y4m").write_text("YUV4MPEG2 W60000 H60000 F25:1 Ip A1:1 C420jpeg\nFRAME\n")


def add_long(path: Path, *, seconds: int, size: str = "64x48", rate: int = 25) -> None:
    """Encode a moving picture of a length that takes several spans."""
    path.parent.mkdir(parents=True, exist_ok=True)
    run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}",
        "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-threads", "1",
        "-g", "12", "-bf", "3", "-fflags", "+bitexact", path,
    )  # fmt: skip


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return modification time and content of every file below ``folder``, by relative path."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def outputs_of(destination: Path) -> dict[str, tuple[int, bytes]]:
    """Return ``files_of`` a destination but for what lies in ``_vgen``."""
    own = "_vgen/"
    return {name: one for name, one in files_of(destination).items() if not name.startswith(own)}


def spans_of(destination: Path) -> list[dict[str, int]]:
    """Return a line a span that was handed out in the newest run."""
    newest = max((destination / "_vgen" / "runs").iterdir())
    return [json.loads(line) for line in (newest / "spans.jsonl").read_text().splitlines()]


def names_of_spans(destination: Path) -> list[str]:
    """Return the names of the spans that were handed out in the newest run."""
    plan = str(max((destination / "_vgen" / "runs").iterdir()) / "plan.parquet")
    rows = [(one["row_group"], one["span"]) for one in spans_of(destination)]
    return [read_video(plan, group)[1][span].name for group, span in rows]
