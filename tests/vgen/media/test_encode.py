"""Encodings follow from source and settings; a chunk holds its frames, timed and described."""

import os
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.codec import UnknownCodecError
from hypothesis import given
from hypothesis import strategies as st

from tests.chunked import UNTAGGED, moving_frames, planned, video_info
from tests.media_factory import FFMPEG, frame_lines, run_ffmpeg
from vgen.config import EncodeSettings
from vgen.errors import ConfigError, DecodeError, EncodeError
from vgen.media import encoders
from vgen.media.codecs import CODECS, codec_of
from vgen.media.encode import encode_chunk
from vgen.media.encoders import check_encoder, resolve_encoding
from vgen.media.facts import ColorTags, Hdr10
from vgen.media.pixels import planar_format, planes_of, to_planar

BT709 = ColorTags(matrix=1, primaries=1, transfer=1, is_full_range=False, chroma_location=1)
PQ = ColorTags(matrix=9, primaries=9, transfer=16, is_full_range=False)
MASTERING = Hdr10(
    mastering_display="G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)",
    max_cll="1000,400",
)
PLANAR = [
    "gray", "gray10le", "gray12le", "gray16le", "gbrp", "gbrp10le", "gbrp12le", "gbrp16le",
    "yuv410p", "yuv411p", "yuv440p", "yuv420p", "yuv422p", "yuv444p", "yuv420p9le", "yuv420p10le",
    "yuv422p10le", "yuv444p10le", "yuv422p12le", "yuv444p12le", "yuv444p14le", "yuv420p16le",
]  # fmt: skip
UNEVEN = (100, 103, 104, 110, 111, 112, 120, 121, 125, 126, 127, 140)


def encode(plan, path, pts=UNEVEN, seed=7):
    return encode_chunk(moving_frames(plan, pts, seed), plan, path, uri="source")


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_a_chunk_may_be_shorter_than_the_encoder_reorders(num_frames, tmp_path):
    """x265 leaves decoding times of one or two frames to chance, so this is tried repeatedly."""
    plan = planned("auto", "yuv420p10le", width=320, height=180)
    assert plan.encoder == "libx265"
    for attempt in range(4):
        path = tmp_path / f"{attempt}.mp4"
        made = encode(plan, path, UNEVEN[:num_frames])
        assert made.frame_pts == UNEVEN[:num_frames]
        assert len(decoded(path)) == num_frames


def shown(path: Path) -> str:
    """What the independent program says of the first frame."""
    command = ["-i", path, "-frames:v", "1", "-vf", "showinfo", "-f", "null", "-"]
    done = subprocess.run(
        [FFMPEG, "-hide_banner", *map(str, command)], capture_output=True, text=True, check=True
    )
    return done.stderr


@pytest.mark.parametrize(
    ("pixel_format", "transfer", "encoder"),
    [
        ("yuv420p", 1, "libx264"),
        ("gray", 2, "libx264"),
        ("gbrp", 2, "libx264rgb"),
        ("yuv420p10le", 1, "libx265"),
        ("yuv420p", 16, "libx265"),
        ("yuv420p", 18, "libx265"),
    ],
)
def test_auto_is_h264_for_8_bit_sdr_and_hevc_for_more_bits_or_hdr(pixel_format, transfer, encoder):
    tags = UNTAGGED.model_copy(update={"transfer": transfer})
    assert planned("auto", pixel_format, tagged=tags).encoder == encoder


def test_a_named_pixel_format_decides_auto_too():
    settings = EncodeSettings(pixel_format="yuv420p10")
    plan = resolve_encoding(video_info("yuv420p"), settings, scale=1)
    assert (plan.encoder, plan.pixel_format) == ("libx265", "yuv420p10le")


@pytest.mark.parametrize(
    ("codec", "source", "width", "written"),
    [
        ("h264", "yuv411p", 64, "yuv422p"),
        ("h264", "yuv410p", 64, "yuv420p"),
        ("h264", "yuv440p", 64, "yuv444p"),
        ("h264", "yuv420p", 63, "yuv444p"),
        ("h264", "yuv420p9le", 64, "yuv420p10le"),
        ("h264", "gbrp10le", 64, "yuv444p10le"),
        ("h264", "gray", 63, "gray"),
        ("hevc", "yuv422p", 63, "yuv444p"),
        ("hevc", "gray16le", 64, "gray12le"),
        ("hevc", "gbrp14le", 64, "gbrp12le"),
        ("av1", "yuv444p", 64, "yuv420p"),
        ("av1", "gray", 64, "yuv420p"),
        ("av1", "gbrp10le", 64, "yuv420p10le"),
        ("prores", "yuv420p", 64, "yuv422p10le"),
        ("prores", "gbrp", 64, "yuv444p10le"),
        ("ffv1", "yuv411p", 63, "yuv411p"),
        ("ffv1", "gbrp", 63, "gbrp"),
    ],
)
def test_the_nearest_format_the_codec_takes_is_written(codec, source, width, written):
    plan = planned(codec, source, width)
    assert plan.pixel_format == written
    assert any(written in note for note in plan.notes) == (written != source)


@given(
    codec=st.sampled_from(sorted(CODECS)),
    source=st.sampled_from(PLANAR),
    width=st.integers(16, 40),
    height=st.integers(16, 40),
)
def test_nothing_is_lost_where_the_codec_has_a_way_to_lose_nothing(codec, source, width, height):
    plan = planned(codec, source, width, height)
    assert plan.pixel_format in CODECS[codec].formats
    asked, made = planar_format(source), planar_format(plan.pixel_format)

    def usable(target):
        whole = not (width % (1 << target.log2_chroma_w) or height % (1 << target.log2_chroma_h))
        return whole or not CODECS[codec].crops_by_chroma

    def holds(target):
        if target.bit_depth < asked.bit_depth or target.is_rgb != asked.is_rgb:
            return False
        if asked.is_gray:
            return True
        finer = target.log2_chroma_w <= asked.log2_chroma_w
        return finer and target.log2_chroma_h <= asked.log2_chroma_h and not target.is_gray

    lossless = [f for f in map(planar_format, CODECS[codec].formats) if usable(f) and holds(f)]
    assert usable(made)
    assert holds(made) or not lossless
    assert any("with loss" in note for note in plan.notes) == (not holds(made))


def test_colour_tags_are_written_as_the_file_has_them():
    assert planned("h264", tagged=BT709).color == BT709


def test_rgb_is_tagged_as_rgb_and_what_replaces_it_is_not():
    rgb = UNTAGGED.model_copy(update={"matrix": 0, "is_full_range": True})
    kept = planned("ffv1", "gbrp", tagged=rgb).color
    assert (kept.matrix, kept.is_full_range) == (0, True)
    changed = planned("av1", "gbrp", tagged=rgb).color
    assert (changed.matrix, changed.is_full_range) == (1, False)
    wide = planned("av1", "gbrp", tagged=rgb.model_copy(update={"primaries": 9})).color
    assert wide.matrix == 9


def test_an_untagged_matrix_is_named_where_the_size_changes():
    info = video_info(color=UNTAGGED.model_copy(update={"matrix": 6}))
    assert resolve_encoding(info, EncodeSettings(), scale=1).color.matrix == 2
    enlarged = resolve_encoding(info, EncodeSettings(), scale=4)
    assert enlarged.color.matrix == 6
    assert (enlarged.width, enlarged.height) == (256, 192)
    assert "untagged colour matrix" in enlarged.notes[0]


def test_prores_has_limited_range_only():
    plan = planned("prores", "yuv422p10le", tagged=BT709.model_copy(update={"is_full_range": True}))
    assert not plan.color.is_full_range
    assert "full range is written as limited range" in plan.notes[0]


@pytest.mark.parametrize(
    ("codec", "height", "field_order"),
    [
        ("h264", 48, "tff"), ("h264", 50, "unknown"), ("hevc", 48, "unknown"),
        ("av1", 48, "unknown"), ("prores", 50, "tff"), ("ffv1", 50, "tff"),
    ],
)  # fmt: skip
def test_fields_are_kept_where_the_codec_has_them(codec, height, field_order):
    plan = planned(codec, height=height, field_order="tff")
    assert plan.field_order == field_order
    assert any("interlaced" in note for note in plan.notes) == (field_order == "unknown")


@pytest.mark.parametrize(
    ("asked", "source", "codec", "container", "is_noted"),
    [
        ("source", "mp4", "h264", "mp4", False),
        ("source", "mov", "h264", "mov", False),
        ("source", "mkv", "prores", "mkv", False),
        ("source", "webm", "h264", "mkv", False),
        ("source", "mpegts", "h264", "mkv", False),
        ("source", "mp4", "prores", "mkv", True),
        ("source", "mov", "av1", "mkv", True),
        ("mp4", "mkv", "h264", "mp4", False),
        ("mp4", "mkv", "ffv1", "mkv", True),
        ("mov", "mp4", "prores", "mov", False),
    ],
)
def test_the_container_stays_where_it_carries_the_codec(asked, source, codec, container, is_noted):
    settings = EncodeSettings(container=asked, codec=codec)
    plan = resolve_encoding(video_info(container=source), settings, scale=1)
    assert plan.container == container
    assert bool(plan.notes) == (is_noted or codec == "prores")


@pytest.mark.parametrize("name", sorted(CODECS))
def test_every_container_named_for_a_codec_takes_its_header(name, tmp_path):
    codec = CODECS[name]
    muxers = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}
    made = tmp_path / "chunk"
    encode(planned(name), made, pts=range(3))
    for container in codec.containers:
        with (
            av.open(str(made)) as source,
            av.open(str(tmp_path / container), "w", format=muxers[container]) as output,
        ):
            output.add_stream_from_template(source.streams.video[0], opaque=True)
            output.start_encoding()


def test_alpha_and_hdr_metadata_are_named_where_they_are_dropped():
    plan = planned("ffv1", "yuv420p10le", has_alpha=True, hdr10=MASTERING)
    assert plan.dropped == ("alpha channel", "static HDR metadata (HDR10)")
    assert plan.hdr10 is None
    assert planned("hevc", "yuv420p10le", hdr10=MASTERING).dropped == ()


def test_presets_are_translated_for_av1():
    presets = EncodeSettings.model_fields["preset"].annotation.__args__
    made = [
        int(resolve_encoding(video_info(), EncodeSettings(codec="av1", preset=p), scale=1)
            .options["preset"])
        for p in presets
    ]  # fmt: skip
    assert made == sorted(made, reverse=True)
    assert len(set(made)) == len(presets)


def test_odd_rates_are_bounded_for_the_encoders_only():
    assert planned("av1", average_rate=Fraction(1000)).average_rate == 240
    assert planned("h264", average_rate=Fraction(600)).average_rate == 600
    assert planned("h264", average_rate=Fraction(1, 15)).average_rate == 1
    assert planned("h264", average_rate=Fraction(30_000, 1001)).average_rate == Fraction(
        30_000, 1001
    )


def test_the_display_matrix_grows_with_the_picture():
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, 1080 * one, 0, 1 << 30)
    info = video_info(display_matrix=matrix)
    assert resolve_encoding(info, EncodeSettings(), scale=1).display_matrix == matrix
    larger = resolve_encoding(info, EncodeSettings(), scale=2).display_matrix
    assert larger == (0, one, 0, -one, 0, 0, 2160 * one, 0, 1 << 30)
    assert resolve_encoding(info, EncodeSettings(), scale=40).display_matrix[6] == 0
    assert planned("h264").display_matrix is None


def test_every_encoder_of_the_table_is_in_this_build():
    for codec in CODECS:
        check_encoder(EncodeSettings(codec=codec))
    check_encoder(EncodeSettings(pixel_format="yuv420p10le"))


@pytest.mark.parametrize(("codec", "crf"), [("auto", 52), ("h264", 60), ("hevc", 63), ("av1", 0)])
def test_a_crf_out_of_the_codecs_range_is_refused(codec, crf):
    with pytest.raises(ConfigError, match=rf"crf of \w+ is [01] to \d\d, got {crf}"):
        check_encoder(EncodeSettings(codec=codec, crf=crf))


def test_an_unknown_or_unfit_pixel_format_is_refused():
    with pytest.raises(ConfigError, match="'yuv42p' is not a planar"):
        check_encoder(EncodeSettings(pixel_format="yuv42p"))
    with pytest.raises(ConfigError, match="'yuv444p' is not taken by av1, which take yuv420p"):
        check_encoder(EncodeSettings(codec="av1", pixel_format="yuv444p"))
    settings = EncodeSettings(codec="h264", pixel_format="gray16le")
    with pytest.raises(ConfigError, match="'gray16le' is not taken by h264"):
        resolve_encoding(video_info(), settings, scale=1)


def test_an_encoder_that_the_build_lacks_is_refused(monkeypatch):
    def absent(name, mode):
        raise UnknownCodecError(name)

    monkeypatch.setattr(encoders.av, "Codec", absent)
    with pytest.raises(ConfigError, match="no encoder libx264 for h264"):
        check_encoder(EncodeSettings())


def test_an_encoder_of_no_codec_is_a_bug():
    with pytest.raises(ValueError, match="'libxvid' is not an encoder known here"):
        codec_of("libxvid")


LOSSY = [
    ("h264", "yuv420p", 64, 48), ("h264", "yuv422p", 64, 48), ("h264", "yuv444p", 63, 47),
    ("h264", "yuv420p10le", 64, 48), ("h264", "gray", 63, 47), ("h264", "gbrp", 63, 47),
    ("hevc", "yuv420p", 64, 64), ("hevc", "yuv422p10le", 64, 64), ("hevc", "yuv444p12le", 65, 67),
    ("hevc", "gray12le", 34, 34), ("hevc", "gbrp10le", 40, 40),
    ("av1", "yuv420p", 65, 67), ("av1", "yuv420p10le", 64, 64),
    ("prores", "yuv422p10le", 65, 47), ("prores", "yuv444p10le", 64, 48),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "pixel_format", "width", "height"), LOSSY)
def test_frames_come_back_at_their_times_and_look_the_same(
    codec, pixel_format, width, height, tmp_path
):
    plan = planned(codec, pixel_format, width, height, crf=10)
    assert plan.pixel_format == pixel_format
    made = encode(plan, tmp_path / "chunk")
    assert made.frame_pts == UNEVEN
    assert sorted(made.packet_pts) == list(UNEVEN)
    assert made.size_bytes == (tmp_path / "chunk").stat().st_size
    frames = decoded(tmp_path / "chunk")
    times = [frame.pts * frame.time_base for frame in frames]
    assert times == [(pts - 100) * plan.time_base for pts in UNEVEN]
    for frame, source in zip(frames, moving_frames(plan, UNEVEN), strict=True):
        luma, wanted = planes_of(to_planar(frame))[0], planes_of(source)[0]
        depths = (frame.format.components[0].bits, source.format.components[0].bits)
        error = luma / (1 << depths[0] - 8) - wanted / (1 << depths[1] - 8)
        assert np.abs(error).mean() < 3
    assert run_ffmpeg("-xerror", "-i", tmp_path / "chunk", "-f", "null", "-") == ""


@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuv411p", "yuv440p", "yuv444p16le", "gray", "gray9le", "gbrp",
                     "gbrp16le"]
)  # fmt: skip
@pytest.mark.parametrize("size", [(64, 64), (17, 15), (2, 2)])
def test_ffv1_gives_back_every_sample(pixel_format, size, tmp_path):
    plan = planned("ffv1", pixel_format, *size)
    encode(plan, tmp_path / "chunk")
    frames = decoded(tmp_path / "chunk")
    for frame, source in zip(frames, moving_frames(plan, UNEVEN), strict=True):
        back = to_planar(frame)
        assert back.format.name == pixel_format
        for plane, wanted in zip(planes_of(back), planes_of(source), strict=True):
            assert np.array_equal(plane, wanted)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_the_same_frames_give_the_same_bytes(codec, tmp_path):
    plan = planned(codec, width=128, height=96)
    for name in "ab":
        encode(plan, tmp_path / name, pts=range(0, 1200, 40))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert plan.threads == 1


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_keyframes_come_at_least_every_120_frames_and_the_first_owns_the_first_time(
    codec, tmp_path
):
    plan = planned(codec, width=64, height=64, crf=40)
    made = encode(plan, tmp_path / "chunk", pts=range(130))
    with av.open(str(tmp_path / "chunk")) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert keys[0] == 0
    assert max(np.diff([*keys, 130])) <= 120
    assert made.packet_pts[0] == 0


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_no_thread_becomes_real_time(tmp_path):
    def policies(frames):
        for frame in frames:
            yield frame
            seen.update(
                os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()
            )

    seen: set[int] = set()
    plan = planned("av1")
    encode_chunk(policies(moving_frames(plan, UNEVEN, 7)), plan, tmp_path / "av1", uri="source")
    assert not seen & {os.SCHED_FIFO, os.SCHED_RR}


def test_the_sources_picture_types_are_not_repeated(tmp_path):
    plan = planned("h264")

    def typed():
        for frame in moving_frames(plan, range(10)):
            frame.pict_type = av.video.frame.PictureType.I
            yield frame

    encode_chunk(typed(), plan, tmp_path / "chunk", uri="source")
    kinds = [frame.pict_type for frame in decoded(tmp_path / "chunk")]
    assert kinds.count(av.video.frame.PictureType.I) < 3


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "prores", "ffv1"])
def test_the_picture_is_described_in_the_chunk(codec, tmp_path):
    plan = planned(codec, tagged=BT709, sample_aspect_ratio=Fraction(16, 11), width=64, height=64)
    encode(plan, tmp_path / "chunk", pts=range(3))
    said = shown(tmp_path / "chunk")
    assert "sar:16/11" in said
    if codec != "ffv1":  # NUT holds no colour; the output gets it when it is assembled
        for what in ("color_range:tv", "color_space:bt709", "color_primaries:bt709"):
            assert what in said
        assert "color_trc:bt709" in said


@pytest.mark.parametrize("codec", ["h264", "prores", "ffv1"])
@pytest.mark.parametrize(("field_order", "letter"), [("tff", "T"), ("bff", "B")])
def test_the_order_of_fields_is_coded(codec, field_order, letter, tmp_path):
    plan = planned(codec, field_order=field_order)
    encode(plan, tmp_path / "chunk", pts=range(3))
    assert re.search(r" i:(\w) ", shown(tmp_path / "chunk"))[1] == letter


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_static_hdr_metadata_is_coded(codec, tmp_path):
    plan = planned(codec, "yuv420p10le", 64, 64, tagged=PQ, hdr10=MASTERING)
    encode(plan, tmp_path / "chunk", pts=range(3))
    said = shown(tmp_path / "chunk")
    assert "color_trc:smpte2084" in said
    assert re.search(r"Mastering display.*max_luminance=1000\.0+", said, re.DOTALL)
    assert re.search(r"MaxCLL=1000.*MaxFALL=400", said)


def test_no_frames_give_an_empty_file(tmp_path):
    made = encode(planned(), tmp_path / "chunk", pts=())
    assert (made.frame_pts, made.packet_pts, made.size_bytes) == ((), (), 0)
    assert (tmp_path / "chunk").read_bytes() == b""


def test_what_an_encoder_refuses_is_told_and_leaves_nothing_behind(tmp_path):
    with pytest.raises(EncodeError, match=r"^libx265 refuses 8x8 yuv420p: .*\(source\)"):
        encode(planned("hevc", width=8, height=8), tmp_path / "chunk")
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_frames_passes_through_and_leaves_nothing_behind(tmp_path):
    plan = planned("h264")

    def torn():
        yield from moving_frames(plan, range(60))
        raise DecodeError("torn", uri="source")

    with pytest.raises(DecodeError, match="torn"):
        encode_chunk(torn(), plan, tmp_path / "chunk", uri="source")
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_drops_frames_is_found(tmp_path):
    rate = {"b": "1000", "minrate": "1000", "maxrate": "1000", "bufsize": "1000"}
    options = {"deadline": "realtime", "drop-threshold": "100", "rc_init_occupancy": "10"} | rate
    plan = planned("ffv1").model_copy(update={"encoder": "libvpx", "options": options})
    with pytest.raises(EncodeError, match=r"libvpx made \d+ packets of 60 frames"):
        encode(plan, tmp_path / "chunk", pts=range(0, 216_000, 3600))
    assert not list(tmp_path.iterdir())


def test_frames_that_were_not_planned_are_a_bug(tmp_path):
    plan = planned("ffv1")
    other = planned("ffv1", "yuv444p")
    with pytest.raises(ValueError, match=r"frame is \('yuv444p', 64, 48\), planned is"):
        encode_chunk(moving_frames(other, (1,)), plan, tmp_path / "chunk", uri="source")
    with pytest.raises(ValueError, match="frame pts 5 does not follow"):
        encode(plan, tmp_path / "chunk", pts=(5, 5))
    assert not list(tmp_path.iterdir())


def test_frames_are_taken_as_the_encoder_needs_them(tmp_path):
    """The file grows while frames are still to come: nothing is gathered first."""
    plan = planned("ffv1", width=256, height=256)
    sizes = []

    def watched():
        for frame in moving_frames(plan, range(20)):
            path = tmp_path / "chunk"
            sizes.append(path.stat().st_size if path.exists() else 0)
            yield frame

    encode_chunk(watched(), plan, tmp_path / "chunk", uri="source")
    assert sizes[-1] > sizes[10] > 0


def test_the_independent_program_sees_the_frames_that_were_coded(tmp_path):
    plan = planned("h264", crf=30)
    encode(plan, tmp_path / "chunk")
    lines = frame_lines(tmp_path / "chunk", plan.time_base)
    assert [line.pts for line in lines] == [pts - 100 for pts in UNEVEN]
