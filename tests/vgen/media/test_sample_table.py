"""The sample table gives the very stamps that reading all packets gives, or nothing."""

import io
import struct

import pytest

from tests.media_factory import made, run_ffmpeg
from vgen.media.packets import read_packets
from vgen.media.sample_table import stamps_from_table
from vgen.media.source import open_source
from vgen.media.stamps import noted
from vgen.media.streams import main_video

INDEXED_CLIPS = [
    "h264_mp4", "faststart_mp4", "open_gop_mp4", "h264_mov", "intra_refresh_mp4",
    "hevc_open_gop_mp4", "vfr_mp4", "ntsc_mp4", "late_start_mp4", "av1_mp4", "alpha_mov",
    "prores_mov", "full_range_mp4", "one_frame_mp4", "edit_list.mp4", "rotated.mp4", "cover.mp4",
    "damaged.mp4", "negative_offsets.mp4", "wide.mp4",
]  # fmt: skip


def by_packets(path):
    """Stamps of all shown packets, and those that the table gives after the first twelve."""
    with open_source(str(path)) as container:
        stream = main_video(container, str(path))
        stamps = []
        packets = read_packets(container, (stream,), uri=str(path))
        for _ in noted(packets, stream.codec.canonical_name, stamps):
            pass
        with path.open("rb") as file:
            return stamps, stamps_from_table(file, stream, stamps[:12])


@pytest.mark.parametrize("clip", INDEXED_CLIPS)
def test_the_table_agrees_with_the_packets(media, clip):
    stamps, from_table = by_packets(media[clip])
    assert from_table == stamps


@pytest.mark.parametrize("clip", ["fragmented_mp4", "h264_mkv", "h264_ts", "mpeg4_avi"])
def test_other_files_have_none(media, clip):
    assert by_packets(media[clip])[1] is None


def test_a_codec_that_hides_pictures_in_its_packets_is_left_to_them(tmp_path):
    path = tmp_path / "vp9.mp4"
    run_ffmpeg(*made("-c:v", "libvpx-vp9", "-cpu-used", "8", "-b:v", "100k"), path)
    assert by_packets(path)[1] is None


def test_a_file_that_breaks_off_is_left_to_its_packets(media, tmp_path):
    path = tmp_path / "torn.mp4"
    whole = media["faststart_mp4"].read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert by_packets(path)[1] is None


def patched(media, name: bytes, change):
    """Open a clip whose file shows another box ``name`` than FFmpeg saw."""
    whole = bytearray(media["h264_mp4"].read_bytes())
    at = whole.index(name) + 4
    change(whole, at)
    with open_source(str(media["h264_mp4"])) as container:
        stream = container.streams.video[0]
        stamps = []
        list(noted(read_packets(container, (stream,), uri="a"), "h264", stamps))
        return stamps_from_table(io.BytesIO(whole), stream, stamps[:12])


def put(value: int, offset: int = 0):
    return lambda whole, at: struct.pack_into(">I", whole, at + offset, value)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (b"ctts", put(10**6, 4)),  # more runs than the box holds
        (b"ctts", put(3, 4)),  # fewer than the samples need
        (b"ctts", put(77, 8)),  # a run that is too long
        (b"ctts", put(5, 12)),  # another offset than FFmpeg delivers
        (b"stts", put(0, 12)),  # durations of nothing
        (b"stts", put(513, 12)),  # other durations
        (b"tkhd", put(9, 12)),  # another track
        (b"moov", put(0x66726565, -4)),  # no moov at all
        (b"trak", put(4, -8)),  # a box shorter than its own head
        (b"mdia", put(0x66726565, -4)),
        (b"stts", put(0x66726565, -4)),
    ],
)
def test_a_table_that_does_not_agree_is_not_used(media, name, change):
    assert patched(media, name, change) is None


def test_the_test_above_would_take_an_unchanged_table(media):
    assert patched(media, b"ctts", lambda whole, at: None) is not None


def test_nothing_is_taken_without_packets_to_compare_with(media):
    with open_source(str(media["h264_mp4"])) as container, media["h264_mp4"].open("rb") as file:
        assert stamps_from_table(file, container.streams.video[0], []) is None


class CountingFile(io.BytesIO):
    num_bytes = 0

    def read(self, size=-1):
        content = super().read(size)
        self.num_bytes += len(content)
        return content


def test_the_media_data_are_not_read(media):
    whole = media["h264_mov"].read_bytes()
    moov = len(whole) - whole.index(b"moov") + 4
    file = CountingFile(whole)
    with open_source(str(media["h264_mov"])) as container:
        stream = container.streams.video[0]
        stamps = []
        list(noted(read_packets(container, (stream,), uri="a"), "h264", stamps))
        assert stamps_from_table(file, stream, stamps[:12]) == stamps
    assert file.num_bytes <= moov + 200 < len(whole) // 10
