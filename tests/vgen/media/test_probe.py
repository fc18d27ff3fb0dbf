"""A probe says what is in a file, as the ffmpeg program sees it, and refuses what is no video."""

import random
import subprocess
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.media_factory import FFMPEG, frame_lines, made, run_ffmpeg
from tests.spans import ref_of
from vgen import storage
from vgen.config import Limits
from vgen.errors import ProbeError
from vgen.media.facts import VideoInfo
from vgen.media.look import look_at
from vgen.media.packets import read_packets
from vgen.media.probe import probe_video
from vgen.media.source import open_source
from vgen.media.stamps import Stamp
from vgen.media.survey import Source, survey
from vgen.media.timeline import Timeline
from vgen.records import VideoRef


def info_of(path, **limits) -> VideoInfo:
    return probe_video(ref_of(path), Limits(**limits))[0]


def timeline_of(path) -> Timeline:
    return probe_video(ref_of(path), Limits())[1]


def refusal(path, **limits) -> str:
    with pytest.raises(ProbeError) as caught:
        probe_video(ref_of(path), Limits(**limits))
    return caught.value.message


def test_a_clock_may_start_days_after_zero(media, tmp_path):
    """The header of mkv counts from zero; the limit is on what is shown."""
    path = tmp_path / "late.mkv"
    run_ffmpeg("-i", media["h264_mp4"], "-map", "0:v", "-c", "copy", "-output_ts_offset", "200000",
               path)  # fmt: skip
    assert info_of(path).duration_s == pytest.approx(3, abs=0.1)
    assert "are more than limits.max_duration_s 2" in refusal(path, max_duration_s=2)


def test_frames_that_others_hide_are_told(tmp_path):
    """Matroska's ticks are milliseconds: of 1,500 pictures a second every third has no own."""
    path = tmp_path / "fast.mkv"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=1500", "-frames:v", "30", "-c:v", "ffv1",
               "-fps_mode", "passthrough", path)  # fmt: skip
    info = info_of(path)
    stamps = [line.pts for line in frame_lines(path, Fraction(1, 1000))]
    assert (len(stamps), info.num_frames) == (30, len(set(stamps)))
    hidden = 30 - info.num_frames
    assert hidden
    assert info.notes[-1].endswith(f"have their time stamps: {hidden}")


def first_frame(path, key) -> str:
    """What the program's showinfo filter says of the first frame after ``key``."""
    done = subprocess.run(
        [FFMPEG, "-hide_banner", "-nostdin", "-noautorotate", "-i", str(path), "-frames:v", "1",
         "-vf", "showinfo", "-f", "null", "-"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    line = next(line for line in done.stderr.splitlines() if key in line and "showinfo" in line)
    return line.split(key)[1].split()[0]


@pytest.mark.parametrize(
    ("clip", "container", "codec", "access", "is_copied"),
    [
        ("h264_mp4", "mp4", "h264", "seek", False),
        ("faststart_mp4", "mp4", "h264", "seek", False),
        ("fragmented_mp4", "mp4", "h264", "seek", True),
        ("h264_mov", "mov", "h264", "seek", False),
        ("h264_mkv", "mkv", "h264", "seek", False),
        ("vp9_webm", "webm", "vp9", "seek", False),
        ("av1_mp4", "mp4", "av1", "seek", False),
        ("hevc_ts", "mpegts", "hevc", "seek", True),
        ("mpeg2_ps", "mpeg", "mpeg2video", "seek", True),
        ("mpeg4_avi", "avi", "mpeg4", "seek", True),
        ("h264_avi", "avi", "h264", "ordinal", True),
        ("h264_raw", "other", "h264", "ordinal", True),
        ("mpeg2_raw", "other", "mpeg2video", "sequential", True),
        ("gif", "other", "gif", "sequential", True),
        ("joined.ts", "mpegts", "h264", "sequential", True),
        ("jumped.ts", "mpegts", "h264", "sequential", True),
        ("slideshow.mkv", "mkv", "h264", "seek", False),
        ("nut", "other", "h264", "seek", True),
    ],
)
def test_container_codec_and_the_way_to_the_frames(
    media, clip, container, codec, access, is_copied
):
    info = info_of(media[clip])
    assert (info.container, info.video.codec) == (container, codec)
    assert (info.access, info.needs_local_copy) == (access, is_copied)


@pytest.mark.parametrize(
    ("clip", "size", "pixel_format", "planar_format"),
    [
        ("h264_mp4", (64, 48), "yuv420p", "yuv420p"),
        ("odd_size_mkv", (63, 47), "yuv444p", "yuv444p"),
        ("ten_bit_mkv", (64, 48), "yuv420p10le", "yuv420p10le"),
        ("full_range_mp4", (64, 48), "yuvj420p", "yuv420p"),
        ("rgb_mkv", (64, 48), "bgr0", "gbrp"),
        ("gray_mkv", (64, 48), "gray", "gray"),
    ],
)
def test_size_and_pixel_format(media, clip, size, pixel_format, planar_format):
    video = info_of(media[clip]).video
    assert (video.width, video.height) == size
    assert (video.pixel_format, video.planar_format) == (pixel_format, planar_format)
    assert not video.has_alpha


def test_alpha_is_noted(media):
    info = info_of(media["alpha_mov"])
    assert info.video.has_alpha
    assert "its transparency (alpha) is dropped" in info.notes


def test_alpha_beside_the_picture_is_noted(tmp_path):
    source = tmp_path / "alpha.webm"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.2,format=yuva420p", "-c:v", "libvpx-vp9",
        "-cpu-used", "8", "-deadline", "realtime", source,
    )  # fmt: skip
    assert info_of(source).video.has_alpha
    run_ffmpeg("-i", source, "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", tmp_path / "plain.webm")
    assert not info_of(tmp_path / "plain.webm").video.has_alpha


@pytest.mark.parametrize(
    ("clip", "rate"),
    [("h264_mp4", 25), ("ntsc_mp4", Fraction(30_000, 1001)), ("h264_ts", 25), ("gif", 10),
     ("slideshow.mkv", Fraction(1, 15))],
)  # fmt: skip
def test_steady_rates_are_exact(media, clip, rate):
    assert info_of(media[clip]).video.average_rate == rate


def test_an_uneven_rate_is_that_of_the_frames(media):
    info, timeline = probe_video(ref_of(media["vfr_mp4"]), Limits())
    video = info.video
    assert video.average_rate == len(timeline) / (timeline.duration * video.time_base)
    assert info.num_frames == len(timeline)
    assert info.duration_s == float(timeline.duration * video.time_base)


@pytest.mark.parametrize("clip", ["h264_mp4", "open_gop_ts", "hevc_open_gop_mp4", "edit_list.mp4"])
def test_keyframes_are_where_the_program_sees_them(media, clip):
    timeline = timeline_of(media[clip])
    text = run_ffmpeg(
        "-copyts", "-i", media[clip], "-map", "0:v", "-vf", "select=key", "-fps_mode",
        "passthrough", "-enc_time_base", f"1:{timeline.time_base.denominator}", "-f", "framehash",
        "-hash", "crc32", "-",
    )  # fmt: skip
    keys = {int(row.split(",")[2]) for row in text.splitlines() if not row.startswith("#")}
    shown = {timeline.pts[frame] for frame in timeline.keyframes}
    # The first frame counts as one even where an edit list cuts into a GOP.
    assert shown - {timeline.pts[0]} == keys - {timeline.pts[0]}


def test_packets_are_not_frames_where_fields_are_coded_alone(media):
    timeline = timeline_of(media["paff.ts"])
    assert timeline.pts == tuple(
        line.pts for line in frame_lines(media["paff.ts"], Fraction(1, 90_000))
    )
    assert len(timeline) == 12
    assert info_of(media["paff.ts"]).video.field_order == "tff"


def test_field_coded_frames_without_stamps_are_counted_by_decoding(media):
    assert media["paff.ts"]
    assert len(timeline_of(media["paff.h264"])) == 12


def test_a_recording_starts_with_its_first_frame_that_decodes(media):
    timeline = timeline_of(media["cut_start.ts"])
    shown = frame_lines(media["cut_start.ts"], timeline.time_base)
    assert timeline.pts == tuple(line.pts for line in shown)


@pytest.mark.parametrize(
    ("clip", "order", "shows"),
    [("interlaced_tff_ts", "tff", "T"), ("interlaced_bff_mkv", "bff", "B"),
     ("h264_mp4", "progressive", "P")],
)  # fmt: skip
def test_the_order_of_fields_is_the_frames_own(media, clip, order, shows):
    assert first_frame(media[clip], " i:") == shows
    assert info_of(media[clip]).video.field_order == order


def test_pixel_aspect_and_rotation(media):
    assert info_of(media["anamorphic_mp4"]).video.sample_aspect_ratio == Fraction(16, 11)
    upright = info_of(media["h264_mp4"]).video
    assert (upright.sample_aspect_ratio, upright.rotation_deg) == (1, 0)
    assert upright.display_matrix is None
    turned = info_of(media["rotated.mp4"]).video
    assert turned.rotation_deg == 90
    one = 1 << 16
    assert turned.display_matrix[:5] == (0, -one, 0, one, 0)
    assert turned.display_matrix[8] == 1 << 30


def test_static_hdr_metadata_are_in_the_encoders_words(media):
    hdr = info_of(media["hdr10_mkv"]).video.hdr10
    assert hdr.mastering_display == (
        "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    )
    assert hdr.max_cll == "1000,400"
    assert info_of(media["ten_bit_mkv"]).video.hdr10 is None


def test_tagged_colour_is_taken_as_it_is(media):
    video = info_of(media["hdr10_mkv"]).video
    assert (video.tagged.matrix, video.tagged.primaries, video.tagged.transfer) == (9, 9, 16)
    assert video.color == video.tagged
    full = info_of(media["full_range_mp4"])
    assert full.video.tagged.is_full_range
    assert (full.video.tagged.matrix, full.notes) == (1, ())


@pytest.mark.parametrize(
    ("lines", "matrix", "primaries", "name"),
    [(480, 6, 6, "BT.601"), (576, 5, 5, "BT.601"), (718, 6, 6, "BT.601"), (720, 1, 1, "BT.709")],
)
def test_unspecified_colour_is_resolved_by_its_lines(tmp_path, lines, matrix, primaries, name):
    path = tmp_path / "untagged.mkv"
    picture = f"color=gray:size=16x{lines}:rate=5:duration=0.4"
    run_ffmpeg(*made("-c:v", "ffv1", "-pix_fmt", "yuv420p", picture=picture), path)
    info = info_of(path)
    assert (info.video.tagged.matrix, info.video.tagged.is_full_range) == (2, False)
    assert (info.video.color.matrix, info.video.color.primaries) == (matrix, primaries)
    assert not info.video.color.is_full_range
    assert info.notes == (f"no colour matrix in the file; {name} assumed from its {lines} lines",)


def test_rgb_has_no_matrix_and_full_range(media):
    info = info_of(media["rgb_mkv"])
    assert (info.video.color.matrix, info.video.color.is_full_range) == (0, True)
    assert info.notes == ()


def test_gray_needs_no_matrix(media):
    assert info_of(media["gray_mkv"]).notes == ()


def test_other_streams_are_listed_with_their_language(media):
    others = info_of(media["multitrack.mkv"]).others
    assert [(other.type, other.label) for other in others] == [
        ("audio", "audio 1 (aac, eng)"),
        ("audio", "audio 2 (aac, fra)"),
        ("subtitle", "subtitle 1 (subrip, deu)"),
        ("attachment", "attachment 1"),
    ]
    assert [other.index for other in others] == [1, 2, 3, 4]


def test_a_cover_is_never_the_video(media):
    info = info_of(media["cover.mp4"])
    assert (info.video.width, info.num_frames) == (64, 75)
    assert "cover 1 (png)" in [other.label for other in info.others]


def test_the_larger_track_is_the_video_unless_another_is_the_default(media):
    assert info_of(media["two_sizes_mkv"]).video.index == 1
    assert info_of(media["default_second_mkv"]).video.index == 1
    assert info_of(media["default_second_mkv"]).video.width == 32


@pytest.mark.parametrize(
    ("clip", "says"),
    [
        ("audio_only_m4a", "not a video: the file holds sound or data and no picture"),
        ("cover.m4a", "only a cover picture"),
        ("still_gif", "a still picture, not a video"),
        ("still_png", "pictures and sound files are refused"),
        ("truncated.mp4", "repair it with an untrunc tool"),
        ("empty.mp4", "the file is empty"),
        ("text.mp4", "not a video file that can be read"),
    ],
)
def test_what_is_no_video_is_refused(media, clip, says):
    assert says in refusal(media[clip])


def test_a_codec_without_decoder_is_named(media, tmp_path):
    path = tmp_path / "unknown.mkv"
    path.write_bytes(media["h264_mkv"].read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    assert refusal(path) == "no decoder for the codec of its video stream"


def test_a_video_of_which_nothing_decodes_is_refused(media):
    says = "not one frame of the video stream can be decoded"
    assert refusal(media["zeros.mp4"]) == says


def test_frames_larger_than_their_header_says_are_refused(media):
    path = str(media["h264_mp4"])
    with open_source(path) as container:
        stream = container.streams.video[0]
        packets = read_packets(container, (stream,), uri=path)
        with pytest.raises(ProbeError, match=r"64x48 pixels are more than limits\.max_pixels 3000"):
            look_at(packets, stream, max_pixels=3000, uri=path)


def test_frames_without_any_timestamp_are_refused(media):
    path = str(media["h264_mkv"])
    with open_source(path) as container:
        stream = container.streams.video[0]
        packets = read_packets(container, (stream,), uri=path)
        look = look_at(packets, stream, max_pixels=10**6, uri=path)
        with pytest.raises(ProbeError, match="no frame that can be decoded has a timestamp"):
            survey(
                Source(uri=path, path=None), container, stream, replace(look, pts=()),
                [Stamp(0, 0, 1, True)],
            )  # fmt: skip


def test_a_video_of_one_frame_is_a_video(media):
    info, timeline = probe_video(ref_of(media["one_frame_mp4"]), Limits())
    assert (info.num_frames, len(timeline), timeline.last_duration) == (1, 1, 512)


def test_a_file_that_breaks_off_is_planned_as_far_as_it_goes(media, tmp_path):
    path = tmp_path / "torn.mp4"
    whole = media["faststart_mp4"].read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    timeline = timeline_of(path)
    shown = frame_lines_of_torn(path, timeline.time_base)
    assert set(shown) <= set(timeline.pts)
    assert len(shown) < 75


def frame_lines_of_torn(path, time_base):
    return [line.pts for line in frame_lines(path, time_base)]


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max_size_bytes": 1000}, "bytes are more than limits.max_size_bytes 1000"),
        ({"max_pixels": 64 * 48 - 1}, "64x48 pixels are more than limits.max_pixels 3071"),
        ({"max_duration_s": 2.5}, "3 s are more than limits.max_duration_s 2"),
    ],
)
@pytest.mark.parametrize("clip", ["h264_mp4", "h264_ts", "h264_raw"])
def test_a_source_over_a_limit_is_refused(media, clip, limits, says):
    assert says in refusal(media[clip], **limits)


def test_a_source_at_the_limit_is_taken(media):
    size_bytes = media["h264_mp4"].stat().st_size
    assert info_of(
        media["h264_mp4"], max_size_bytes=size_bytes, max_pixels=64 * 48, max_duration_s=3.0
    )


def test_a_pixel_format_without_a_planar_form_is_named(tmp_path):
    path = tmp_path / "float.mkv"
    run_ffmpeg(
        *made("-c:v", "ffv1", "-strict", "-2", "-pix_fmt", "gbrpf32le", "-frames:v", "3"), path
    )
    assert refusal(path) == "pixel format gbrpf32le is not supported"


def test_objects_are_probed_as_files_are(media):
    for clip in ("h264_mp4", "h264_ts", "mpeg4_avi", "joined.ts"):
        path = media[clip]
        uri = f"memory://probe-test/{path.name}"
        storage.write_bytes(uri, path.read_bytes())
        ref = VideoRef(uri=uri, relative_path="x", etag="x", size_bytes=path.stat().st_size)
        assert probe_video(ref, Limits()) == probe_video(ref_of(path), Limits())


@pytest.mark.parametrize("clip", ["h264_mp4", "h264_mkv", "h264_ts", "mpeg4_avi", "h264_flv"])
def test_random_damage_ends_in_a_plan_or_in_a_probe_error(media, tmp_path, clip):
    whole = media[clip].read_bytes()
    dice = random.Random(clip)
    path = tmp_path / media[clip].name
    num_planned = 0
    for _ in range(25):
        torn = bytearray(whole)
        for _ in range(dice.choice((1, 10, 200))):
            torn[dice.randrange(len(torn))] = dice.randrange(256)
        path.write_bytes(torn[: dice.randrange(len(torn) // 4, len(torn))])
        try:
            info, timeline = probe_video(ref_of(path), Limits())
        except ProbeError:
            continue
        num_planned += 1
        assert info.num_frames == len(timeline)
    assert num_planned or clip == "h264_mp4"  # whose index lies at the end that is cut off


@pytest.mark.real
def test_real_clips_have_the_frames_that_the_program_decodes(real_clips):
    num_compared = 0
    for path in real_clips:
        if path.name.startswith("corrupt") or path.stat().st_size > 900_000:
            continue
        info, timeline = probe_video(ref_of(path), Limits())
        shown = frame_lines(path, info.video.time_base, stream=f"0:{info.video.index}")
        assert timeline.pts == tuple(line.pts for line in shown), path.name
        num_compared += 1
    print(f"{num_compared} real clips compared")
    assert num_compared
