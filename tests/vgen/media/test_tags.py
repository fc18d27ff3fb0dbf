"""What hangs on frames and cannot be carried is named, and looking at it keeps no frame alive."""

import re
import sys

import av
import pytest

from tests.media_factory import run_ffmpeg
from tests.spans import ref_of, whole
from vgen.config import Limits
from vgen.media.decode import DecodeStats, decode_span
from vgen.media.probe import probe_video
from vgen.media.tags import display_matrix, static_hdr, uncarried

# ATSC A/53 Part 4, section 6.2.3: user data "GA94" of type 3, one pair of CEA-608 bytes.
_CAPTION = bytes.fromhex("b50031") + b"GA94" + bytes.fromhex("03c1fffc9420ff")
_SEI = b"\0\0\1\6\4" + bytes([len(_CAPTION)]) + _CAPTION + b"\x80"


@pytest.fixture
def captioned(media, tmp_path):
    """The raw H.264 clip with a caption before each of its pictures."""
    path = tmp_path / "captioned.h264"
    # A slice, IDR or not, whose first macroblock is the picture's first.
    first_slice = re.compile(rb"\x00\x00\x01[\x01\x05\x21\x25\x41\x45\x61\x65][\x80-\xff]")
    path.write_bytes(first_slice.sub(lambda found: _SEI + found[0], media["h264_raw"].read_bytes()))
    return path


def test_closed_captions_are_named(captioned):
    assert decoded_stats(captioned).uncarried == {
        "closed captions inside the picture (CEA-608/708)"
    }


def test_a_shape_that_changes_in_mid_stream_is_named(tmp_path):
    """A broadcast goes from 4:3 to 16:9; an output has one shape, the first."""
    path = tmp_path / "broadcast.ts"
    parts = [tmp_path / "part0.ts", tmp_path / "part1.ts"]
    for number, (part, shape) in enumerate(zip(parts, ("4:3", "16:9"), strict=True)):
        run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1", "-aspect", shape, "-c:v",
                   "mpeg2video", "-output_ts_offset", str(number), part)  # fmt: skip
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert decoded_stats(path).uncarried == {"changes of the pixel aspect ratio in mid-stream"}
    assert decoded_stats(parts[1]).uncarried == set()


def test_colour_tags_that_change_in_mid_stream_are_named(tmp_path):
    path = tmp_path / "tags.h264"
    for matrix in ("smpte170m", "bt709"):
        part = tmp_path / f"{matrix}.h264"
        run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1", "-c:v", "libx264",
                   "-preset", "ultrafast", "-colorspace", matrix, part)  # fmt: skip
        with path.open("ab") as whole_file:
            whole_file.write(part.read_bytes())
    assert decoded_stats(path).uncarried == {"changes of the colour tags in mid-stream"}


def decoded_stats(path) -> DecodeStats:
    info, timeline = probe_video(ref_of(path), Limits())
    stats, span = DecodeStats(), whole(timeline)
    for _ in decode_span(str(path), info, span, threads=1, salvage=True, stats=stats):
        pass
    return stats


def test_two_views_in_one_picture_are_named(media, tmp_path):
    path = tmp_path / "views.mkv"
    run_ffmpeg("-i", media["h264_mp4"], "-map", "0:v", "-c", "copy", "-metadata:s:v:0",
               "stereo_mode=top_bottom", path)  # fmt: skip
    with av.open(str(path)) as container:
        told = uncarried(next(container.decode(video=0)))
    assert told == {"how two views lie in the picture (stereo 3D)"}


def test_a_frame_without_side_data_has_nothing_to_name(media):
    with av.open(str(media["h264_mp4"])) as container:
        assert uncarried(next(container.decode(video=0))) == set()


def test_a_frame_that_was_looked_at_is_free_at_once(captioned):
    with av.open(str(captioned)) as container:
        frame = next(container.decode(video=0))
        before = sys.getrefcount(frame)
        assert uncarried(frame)
        assert static_hdr(frame) is None
        assert display_matrix(frame) is None
        assert sys.getrefcount(frame) == before
