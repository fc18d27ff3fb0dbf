"""Tiny videos of many kinds, made by an ffmpeg program that is not the library under test.

``Media`` builds a clip the first time a test asks for it and keeps it for the run. Pictures are 64
by 48, moving, three seconds long unless the name says otherwise; sound is a tone. What the program
shows of a file (``frame_lines``) is the oracle for what we decode.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg

from tests.paff import paff_stream

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
"""Path of the independent ffmpeg program."""

_PICTURE = "testsrc2=size=64x48:rate=25:duration=3"
_FIELDS = "testsrc2=size=64x48:rate=50:duration=3"
_TONE = ("-f", "lavfi", "-i", "sine=frequency=440:duration=3")
_BF = ("-g", "12", "-bf", "3")
_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-threads", "1")
_H264 = (*_X264, *_BF)
_OPEN_GOP = (*_X264, *_BF, "-x264-params", "open-gop=1:scenecut=0:bframes=3:b-pyramid=none")
_X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-threads", "1")
_X265_QUIET = "log-level=none:pools=none:frame-threads=1"
_MPEG2 = ("-c:v", "mpeg2video", "-g", "9", "-bf", "2", "-pix_fmt", "yuv420p", "-q:v", "4")
_AAC = ("-c:a", "aac", "-b:a", "64k")


def run_ffmpeg(*arguments: str | Path) -> str:
    """Run the program and return what it prints; its failure is the test's failure."""
    command = [FFMPEG, "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


def made(*codec: str, picture: str = _PICTURE, sound: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Arguments that encode a synthetic picture, with a tone where ``sound`` names its codec."""
    tone = _TONE if sound else ()
    return ("-f", "lavfi", "-i", picture, *tone, *codec, *sound)


# Name: file name and the arguments that make it.
_ENCODED: dict[str, tuple[str, tuple[str, ...]]] = {
    "h264_mp4": ("h264.mp4", made(*_H264, sound=_AAC)),
    "faststart_mp4": ("faststart.mp4", made(*_H264, "-movflags", "+faststart", sound=_AAC)),
    "fragmented_mp4": (
        "fragmented.mp4",
        made(*_H264, "-movflags", "frag_keyframe+empty_moov", sound=_AAC),
    ),
    "open_gop_mp4": ("open_gop.mp4", made(*_OPEN_GOP)),
    "open_gop_mkv": ("open_gop.mkv", made(*_OPEN_GOP)),
    "open_gop_ts": ("open_gop.ts", made(*_OPEN_GOP)),
    "h264_ts": ("h264.ts", made(*_H264, sound=_AAC)),
    "h264_mkv": ("h264.mkv", made(*_H264, sound=_AAC)),
    "h264_mov": ("h264.mov", made(*_H264, sound=("-c:a", "pcm_s16le"))),
    "h264_flv": ("h264.flv", made(*_H264, sound=_AAC)),
    "h264_avi": ("h264.avi", made(*_H264)),
    "h264_raw": ("raw.h264", made(*_H264)),
    "intra_refresh_mp4": (
        "intra_refresh.mp4",
        made(*_X264, "-g", "12", "-x264-params", "intra-refresh=1:bframes=0"),
    ),
    "hevc_open_gop_mp4": (
        "hevc.mp4",
        made(*_X265, "-x265-params", f"{_X265_QUIET}:keyint=12:min-keyint=12:open-gop=1:bframes=3"),
    ),
    "hevc_ts": ("hevc.ts", made(*_X265, "-x265-params", f"{_X265_QUIET}:keyint=12:bframes=3")),
    "ten_bit_mkv": (
        "ten_bit.mkv",
        made(*_X265, "-pix_fmt", "yuv420p10le", "-x265-params", f"{_X265_QUIET}:keyint=12"),
    ),
    "hdr10_mkv": (
        "hdr10.mkv",
        made(
            *_X265, "-pix_fmt", "yuv420p10le", "-vf",
            "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv",
            "-x265-params",
            f"{_X265_QUIET}:keyint=12:hdr10=1:max-cll=1000,400:master-display="
            "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)",
        ),
    ),
    "vfr_mp4": (
        "vfr.mp4",
        made(
            *_H264, "-vf", r"select='not(mod(n\,7))+not(mod(n\,5))+lt(n\,20)'",
            "-fps_mode", "vfr", "-video_track_timescale", "90000",
        ),
    ),
    "ntsc_mp4": (
        "ntsc.mp4",
        made(*_H264, picture="testsrc2=size=64x48:rate=30000/1001:duration=3", sound=_AAC),
    ),
    "late_start_mp4": ("late.mp4", made(*_H264, "-output_ts_offset", "1.25", sound=_AAC)),
    "negative_ts": ("negative.ts", made(*_H264, "-muxdelay", "0", "-mpegts_copyts", "1")),
    "odd_size_mkv": (
        "odd.mkv",
        made(*_X264, *_BF, "-pix_fmt", "yuv444p", "-vf", "format=yuv444p,crop=63:47:0:0"),
    ),
    "interlaced_tff_ts": (
        "tff.ts",
        made(*_MPEG2, "-flags", "+ildct+ilme", "-vf", "interlace=scan=tff", picture=_FIELDS),
    ),
    "interlaced_bff_mkv": (
        "bff.mkv",
        made(*_H264, "-x264-params", "bff=1", "-vf", "interlace=scan=bff", picture=_FIELDS),
    ),
    "mpeg2_ps": ("mpeg2.mpg", made(*_MPEG2, sound=("-c:a", "mp2"))),
    "mpeg2_raw": ("raw.m2v", made(*_MPEG2)),
    "mpeg4_avi": (
        "mpeg4.avi",
        made("-c:v", "mpeg4", "-g", "12", "-bf", "2", "-q:v", "4", sound=("-c:a", "mp2")),
    ),
    "wmv_asf": ("wmv.wmv", made("-c:v", "wmv2", "-g", "12", "-q:v", "4")),
    "theora_ogv": ("theora.ogv", made("-c:v", "libtheora", "-g", "12", "-q:v", "6")),
    "vp8_webm": (
        "vp8.webm",
        made("-c:v", "libvpx", "-g", "15", "-auto-alt-ref", "1", "-lag-in-frames", "12",
             "-cpu-used", "8", "-b:v", "150k", "-arnr-maxframes", "5"),
    ),
    "vp9_webm": (
        "vp9.webm",
        made("-c:v", "libvpx-vp9", "-g", "40", "-cpu-used", "5", "-row-mt", "0", "-b:v", "100k"),
    ),
    "av1_mp4": (
        "av1.mp4",
        made("-c:v", "libsvtav1", "-preset", "12", "-g", "12", "-crf", "40", "-pix_fmt", "yuv420p",
             picture="testsrc2=size=64x64:rate=25:duration=2"),
    ),
    "ffv1_mkv": ("ffv1.mkv", made("-c:v", "ffv1", "-pix_fmt", "yuv420p", "-g", "1")),
    "rgb_mkv": ("rgb.mkv", made("-c:v", "ffv1", "-pix_fmt", "bgr0", "-g", "1")),
    "alpha_mov": ("alpha.mov", made("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le")),
    "prores_mov": ("prores.mov", made("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le")),
    "gray_mkv": ("gray.mkv", made("-c:v", "ffv1", "-pix_fmt", "gray", "-g", "1")),
    "full_range_mp4": (
        "full.mp4",
        made(*_H264, "-pix_fmt", "yuvj420p", "-vf", "scale=out_range=full:out_color_matrix=bt709,"
             "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=pc"),
    ),
    "anamorphic_mp4": ("anamorphic.mp4", made(*_H264, "-vf", "setsar=16/11")),
    "gif": ("moving.gif", made("-r", "10")),
    "y4m": ("moving.y4m", made("-pix_fmt", "yuv420p")),
    "nut": ("moving.nut", made(*_H264, sound=_AAC)),
    "one_frame_mp4": ("one.mp4", made(*_H264, "-frames:v", "1")),
    "audio_only_m4a": ("sound.m4a", ("-f", "lavfi", "-i", "sine=duration=1", *_AAC)),
    "still_png": ("still.png", made("-frames:v", "1")),
    "still_gif": ("still.gif", made("-frames:v", "1")),
    "two_sizes_mkv": (
        "two_sizes.mkv",
        ("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=25:duration=3", "-f", "lavfi", "-i",
         _PICTURE, "-map", "0", "-map", "1", *_H264, "-disposition:v:0", "0",
         "-disposition:v:1", "0"),
    ),
    "default_second_mkv": (
        "default_second.mkv",
        ("-f", "lavfi", "-i", _PICTURE, "-f", "lavfi", "-i",
         "testsrc2=size=32x32:rate=25:duration=3", "-map", "0", "-map", "1", *_H264,
         "-disposition:v:0", "0", "-disposition:v:1", "default"),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FrameLine:
    """One frame as the ffmpeg program shows it."""

    pts: int
    """In ticks of the stream's time base."""
    crc: str
    """Hash of the samples in the stream's own pixel format, line padding left out."""


class Media:
    """Clips by name, built on demand in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._derived: dict[str, Callable[[Path], None]] = {
            "edit_list.mp4": self._edit_list,
            "rotated.mp4": self._rotated,
            "cover.m4a": self._cover_only,
            "cover.mp4": self._cover,
            "multitrack.mkv": self._multitrack,
            "joined.ts": self._joined,
            "jumped.ts": self._jumped,
            "slideshow.mkv": self._slideshow,
            "cut_start.ts": self._cut_start,
            "changing.ts": self._changing,
            "truncated.mp4": self._truncated,
            "torn.mkv": self._torn,
            "damaged.mp4": self._damaged,
            "damaged.ts": self._damaged_ts,
            "text.mp4": lambda path: path.write_text("not a video\n" * 50) and None,
            "empty.mp4": lambda path: path.touch(),
            "paff.ts": self._paff,
            "vp8_hidden.mkv": self._vp8_hidden,
            "damaged_paff.ts": self._damaged_paff,
            "damaged_ffv1.mkv": self._damaged_ffv1,
            "stray.mkv": self._stray,
            "zeros.mp4": self._zeros,
            "negative_offsets.mp4": self._negative_offsets,
            "wide.mp4": self._wide,
        }

    def __getitem__(self, name: str) -> Path:
        """Path of the clip called ``name``: a key of the recipes, or a derived file's name."""
        if name in _ENCODED:
            file_name, arguments = _ENCODED[name]
            path = self._folder / file_name
            if not path.exists():
                run_ffmpeg(*arguments, "-map_metadata", "-1", "-fflags", "+bitexact", path)
            return path
        path = self._folder / name
        if not path.exists():
            self._derived[name](path)
        return path

    def _copy(self, source: Path, path: Path, *more: str, before: tuple[str, ...] = ()) -> None:
        run_ffmpeg(*before, "-i", source, "-map", "0", "-c", "copy", *more, path)

    def _edit_list(self, path: Path) -> None:
        """A copy that starts in the middle of a GOP: the frames before are kept but not shown."""
        self._copy(self["h264_mp4"], path, before=("-ss", "0.7"))

    def _rotated(self, path: Path) -> None:
        self._copy(self["h264_mp4"], path, before=("-display_rotation", "90"))

    def _cover_only(self, path: Path) -> None:
        run_ffmpeg(
            "-i", self["audio_only_m4a"], "-i", self["still_png"], "-map", "0", "-map", "1",
            "-c", "copy", "-disposition:v:0", "attached_pic", path,
        )  # fmt: skip

    def _cover(self, path: Path) -> None:
        """A cover picture that is larger than the video and comes first."""
        big = self._folder / "big.png"
        run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=256x256", "-frames:v", "1", big)
        run_ffmpeg(
            "-i", big, "-i", self["h264_mp4"], "-map", "0", "-map", "1", "-c", "copy",
            "-disposition:v:0", "attached_pic", path,
        )  # fmt: skip

    def _multitrack(self, path: Path) -> None:
        """Two languages, a subtitle, two chapters and an attachment."""
        subtitle = self._folder / "words.srt"
        subtitle.write_text("1\n00:00:00,500 --> 00:00:01,500\nhello\n")
        chapters = self._folder / "chapters.txt"
        chapters.write_text(
            ";FFMETADATA1\ntitle=tracks\n"
            "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=one\n"
            "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=3000\ntitle=two\n"
        )
        run_ffmpeg(
            "-i", self["h264_mp4"], "-i", self["h264_mkv"], "-i", subtitle, "-i", chapters,
            "-map", "0:v", "-map", "0:a", "-map", "1:a", "-map", "2:s", "-map_metadata", "3",
            "-map_chapters", "3", "-c", "copy", "-metadata:s:a:0", "language=eng",
            "-metadata:s:a:1", "language=fra", "-metadata:s:s:0", "language=deu",
            "-attach", subtitle, "-metadata:s:t", "mimetype=text/plain", path,
        )  # fmt: skip

    def _joined(self, path: Path) -> None:
        """Two recordings in one file: all clocks start again in the middle."""
        once = self["h264_ts"].read_bytes()
        path.write_bytes(once + once)

    def _jumped(self, path: Path) -> None:
        """A clock that leaps ahead by a minute and a half in the middle."""
        later = self._folder / "later.ts"
        self._copy(self["h264_ts"], later, "-output_ts_offset", "90")
        path.write_bytes(self["h264_ts"].read_bytes() + later.read_bytes())

    def _slideshow(self, path: Path) -> None:
        """Pictures that each stay for 15 seconds."""
        run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=1/15:duration=150", *_H264, path)

    def _cut_start(self, path: Path) -> None:
        """A broadcast recorded from the middle: packets no decoder can show come first."""
        whole = self["open_gop_ts"].read_bytes()
        tables = whole[: 188 * 3]
        path.write_bytes(tables + whole[188 * (len(whole) // 188 // 3) :])

    def _changing(self, path: Path) -> None:
        """The picture grows in the middle."""
        large = self._folder / "large.ts"
        run_ffmpeg(
            *made(*_H264, picture="testsrc2=size=96x64:rate=25:duration=2"),
            "-output_ts_offset", "3", large,
        )  # fmt: skip
        small = self._folder / "small.ts"
        run_ffmpeg(*made(*_H264), small)
        path.write_bytes(small.read_bytes() + large.read_bytes())

    def _truncated(self, path: Path) -> None:
        """A recording that was cut off before the index was written."""
        whole = self["h264_mp4"].read_bytes()
        path.write_bytes(whole[: len(whole) // 2])

    def _torn(self, path: Path) -> None:
        whole = self["h264_mkv"].read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])

    def _damaged(self, path: Path) -> None:
        """Zeros over a part of the pictures; the index is whole."""
        path.write_bytes(_overwritten(self["faststart_mp4"].read_bytes(), 0.45, 0.5))

    def _damaged_ts(self, path: Path) -> None:
        path.write_bytes(_overwritten(self["h264_ts"].read_bytes(), 0.45, 0.5))

    def _paff(self, path: Path) -> None:
        """H.264 whose fields are coded as pictures of their own."""
        raw = self._folder / "paff.h264"
        raw.write_bytes(paff_stream(num_frames=12))
        run_ffmpeg("-r", "25", "-f", "h264", "-i", raw, "-c", "copy", path)

    def _damaged_paff(self, path: Path) -> None:
        """Fields are missing, so that FFmpeg shows what its buffers held before."""
        whole = bytearray(self["paff.ts"].read_bytes())
        for packet in range(40, len(whole) // 188 - 20, 23):
            whole[188 * packet + 20 : 188 * packet + 100] = bytes(80)
        path.write_bytes(whole)

    def _damaged_ffv1(self, path: Path) -> None:
        """Single bytes changed, which only the checksum of a slice can tell."""
        whole = bytearray(self["ffv1_mkv"].read_bytes())
        for at in range(len(whole) // 5, len(whole) * 4 // 5, len(whole) // 9):
            whole[at] ^= 0x55
        path.write_bytes(whole)

    def _stray(self, path: Path) -> None:
        """One frame says that it is shown a minute and a half later than it is."""
        self._copy(self["ffv1_mkv"], path, "-bsf:v", r"setts=pts=if(eq(N\,30)\,PTS+90000\,PTS)")

    def _zeros(self, path: Path) -> None:
        """A whole index over media of zeros."""
        whole = self["h264_mp4"].read_bytes()
        start, stop = whole.index(b"mdat") + 4, whole.index(b"moov") - 4
        path.write_bytes(whole[:start] + bytes(stop - start) + whole[stop:])

    def _negative_offsets(self, path: Path) -> None:
        """PTS before DTS, as some cameras write them."""
        self._copy(self["h264_mp4"], path, "-movflags", "+negative_cts_offsets")

    def _wide(self, path: Path) -> None:
        """A copy with a 64 bit length before the media, as in files of more than 4 GiB."""
        whole = self["faststart_mp4"].read_bytes()
        at = whole.index(b"mdat") - 4
        assert whole[at - 8 : at - 4] == (8).to_bytes(4, "big")  # the spare box kept for this
        length = len(whole) - at + 8
        head = (1).to_bytes(4, "big") + b"mdat" + length.to_bytes(8, "big")
        path.write_bytes(whole[: at - 8] + head + whole[at + 8 :])

    def _vp8_hidden(self, path: Path) -> None:
        """Reference pictures in packets of their own; two passes are needed to get any."""
        two_passes = made(
            "-c:v", "libvpx", "-b:v", "100k", "-deadline", "good", "-cpu-used", "2", "-g", "60",
            "-auto-alt-ref", "1", "-lag-in-frames", "25", "-passlogfile", str(path),
        )  # fmt: skip
        run_ffmpeg(*two_passes, "-pass", "1", "-f", "null", "-")
        run_ffmpeg(*two_passes, "-pass", "2", path)


def _overwritten(whole: bytes, start: float, stop: float) -> bytes:
    first, last = int(len(whole) * start), int(len(whole) * stop)
    return whole[:first] + bytes(last - first) + whole[last:]


def frame_lines(
    path: Path, time_base: Fraction, *, stream: str = "0:v:0", pixel_format: str = ""
) -> list[FrameLine]:
    """Return the frames the ffmpeg program decodes of a file, one thread, in its order."""
    text = run_ffmpeg(
        "-threads", "1", "-copyts", "-noautorotate", "-i", path, "-map", stream, "-fps_mode",
        "passthrough", "-enc_time_base", f"{time_base.numerator}:{time_base.denominator}",
        *(("-pix_fmt", pixel_format) if pixel_format else ()),
        "-f", "framehash", "-hash", "crc32", "-",
    )  # fmt: skip
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    return [FrameLine(int(row[2]), row[5].strip()) for row in rows]
