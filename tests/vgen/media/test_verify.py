"""The gate lets through what was planned, and names what differs."""

import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.logging
import pytest

from tests.chunked import Copied, copied
from tests.media_factory import run_ffmpeg
from vgen.config import EncodeSettings
from vgen.errors import VerifyError
from vgen.media.verify import VerifyFacts, _logged_errors, verify_output

REAL = [
    "airplane_360p_bad_audio.mp4", "anamorphic_sar2x1_360p.mp4", "cea608_captions_360p.ts",
    "derived_interlaced_480i_mpeg2.mpg", "derived_multitrack_2audio_2subs_chapters.mkv",
    "gopro_karma_drone_480p_audio_telemetry.mp4", "nasa_multistream_180p.mp4",
    "phone_1080p_hlg10_hevc_rot90_audio.mp4", "phone_motion_photo_two_hevc_tracks_rot90.mp4",
    "phone_portrait_hdr10_av1_audio.mp4", "small_ass_subtitles.mkv", "small_pgs_subtitles.mkv",
]  # fmt: skip


@pytest.fixture(scope="module")
def copies(media, tmp_path_factory):
    """Copies of a few clips, made once."""
    made: dict[tuple[str, str], Copied] = {}

    def copy_of(clip: str, codec: str = "h264") -> Copied:
        if (clip, codec) not in made:
            settings = EncodeSettings(codec=codec, preset="ultrafast", crf=35)
            made[clip, codec] = copied(media[clip], tmp_path_factory.mktemp("copy"), settings)
        return made[clip, codec]

    return copy_of


@dataclass
class Promise:
    """The arguments of one verification, to be bent."""

    copy: Copied

    def verify(self, path: Path | None = None, frame_pts=None, plan=None, video=None, **result):
        info = self.copy.info
        info = info.model_copy(update={"video": info.video.model_copy(update=video or {})})
        return verify_output(
            path or self.copy.path,
            info,
            self.copy.plan.model_copy(update=plan or {}),
            self.copy.frame_pts if frame_pts is None else frame_pts,
            self.copy.result.model_copy(update=result),
            uri="clip",
        )


@pytest.fixture
def promise(copies) -> Promise:
    return Promise(copies("h264_mp4"))


def remuxed(copy: Copied, folder: Path, *arguments: str) -> Path:
    path = folder / copy.path.name
    run_ffmpeg("-i", copy.path, "-c", "copy", *arguments, path)
    return path


def test_what_was_planned_passes(promise):
    facts = promise.verify()
    assert isinstance(facts, VerifyFacts)
    assert facts.num_frames == 75
    assert facts.duration_s == 3.0
    assert facts.size_bytes == promise.copy.path.stat().st_size
    assert facts.num_streams == 2


@pytest.mark.parametrize(
    ("clip", "codec"),
    [
        ("multitrack.mkv", "h264"), ("cover.mp4", "h264"), ("cover.mp4", "ffv1"),
        ("rotated.mp4", "h264"), ("rotated.mp4", "ffv1"), ("anamorphic_mp4", "ffv1"),
        ("anamorphic_mp4", "av1"), ("full_range_mp4", "hevc"), ("hdr10_mkv", "hevc"),
        ("hdr10_mkv", "av1"), ("gray_mkv", "h264"), ("rgb_mkv", "h264"), ("alpha_mov", "prores"),
        ("interlaced_tff_ts", "h264"), ("interlaced_bff_mkv", "ffv1"), ("vfr_mp4", "hevc"),
        ("one_frame_mp4", "h264"), ("damaged.ts", "h264"), ("default_second_mkv", "h264"),
        ("nut", "h264"), ("slideshow.mkv", "h264"),
    ],
)  # fmt: skip
def test_all_kinds_of_clips_pass(clip, codec, copies):
    Promise(copies(clip, codec)).verify()


def test_a_frame_too_few_or_too_many_is_found(promise):
    pts = promise.copy.frame_pts
    with pytest.raises(VerifyError, match=r"frames: planned 76, the output has 75 \(clip\)"):
        promise.verify(frame_pts=(*pts, pts[-1] + 512))
    with pytest.raises(VerifyError, match="frames: planned 74, the output has 75"):
        promise.verify(frame_pts=pts[:-1])


@pytest.mark.parametrize("number", [0, 1, 40, 74])
def test_one_frame_shown_a_tick_late_is_found(number, promise):
    pts = list(promise.copy.frame_pts)
    pts[number] += 1
    with pytest.raises(VerifyError, match=rf"time of frame {number}: planned \d\.\d+ s, the out"):
        promise.verify(frame_pts=pts)


def test_matroska_may_round_to_a_millisecond_and_no_more(copies):
    promise = Promise(copies("ntsc_mp4", "ffv1"))
    promise.verify()
    pts, tick = list(promise.copy.frame_pts), promise.copy.plan.time_base
    pts[7] += round(Fraction(2, 1000) / tick)
    with pytest.raises(VerifyError, match="time of frame 7"):
        promise.verify(frame_pts=pts)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"width": 66}, r"frame size: planned \(66, 48\), the output has \(64, 48\)"),
        ({"sample_aspect_ratio": Fraction(2)}, "pixel aspect: planned 2"),
        ({"pixel_format": "yuv422p"}, "pixel format: planned yuv422p, the output has yuv420p"),
        ({"field_order": "tff"}, "interlaced: planned True, the output has False"),
    ],
)
def test_a_picture_of_another_shape_is_found(plan, message, promise):
    with pytest.raises(VerifyError, match=message):
        promise.verify(plan=plan)


def test_other_colours_are_found(promise):
    color = promise.copy.plan.color
    for change, message in (
        ({"matrix": 9}, r"colour matrix, primaries and transfer: planned \(9, 2, 2\)"),
        ({"transfer": 16}, r"colour matrix, primaries and transfer: planned \(2, 2, 16\)"),
        ({"is_full_range": True}, "full range: planned True, the output has False"),
    ):
        with pytest.raises(VerifyError, match=message):
            promise.verify(plan={"color": color.model_copy(update=change)})


def test_a_lost_rotation_is_found(promise):
    with pytest.raises(VerifyError, match="rotation: planned 90, the output has 0"):
        promise.verify(video={"rotation_deg": 90})


def test_lost_hdr_metadata_are_found(copies):
    hdr10 = copies("hdr10_mkv", "hevc").plan.hdr10
    promise = Promise(copies("ten_bit_mkv", "hevc"))
    with pytest.raises(VerifyError, match="HDR10 metadata: planned mastering_display="):
        promise.verify(plan={"hdr10": hdr10})


def test_a_missing_or_another_stream_is_found(promise, tmp_path):
    silent = remuxed(promise.copy, tmp_path, "-an")
    with pytest.raises(VerifyError, match="streams: planned video h264, audio aac, the output has"):
        promise.verify(silent)
    (audio,) = promise.copy.result.carried
    with pytest.raises(VerifyError, match="streams: planned video h264, audio opus"):
        promise.verify(carried=(audio.model_copy(update={"codec": "opus"}),))
    with pytest.raises(VerifyError, match="streams: planned video h264, the output has video h264"):
        promise.verify(carried=())
    cover = audio.model_copy(update={"type": "cover", "is_track": False})
    with pytest.raises(VerifyError, match="cover pictures: planned 1, the output has 0"):
        promise.verify(carried=(audio, cover))
    font = audio.model_copy(update={"type": "attachment", "is_track": False})
    with pytest.raises(VerifyError, match="attachments: planned 1, the output has 0"):
        promise.verify(carried=(audio, font))
    with pytest.raises(VerifyError, match="chapters: planned 2, the output has 0"):
        promise.verify(num_chapters=2)


def test_sound_out_of_step_or_cut_short_is_found(promise, tmp_path):
    (audio,) = promise.copy.result.carried
    late = audio.model_copy(update={"first_pts_s": audio.first_pts_s + Fraction(2, 1000)})
    with pytest.raises(
        VerifyError, match=r"start of audio 1 \(aac, und\)|start of audio 1 \(aac\)"
    ):
        promise.verify(carried=(late,))
    never = tmp_path / "late.mp4"
    run_ffmpeg("-i", promise.copy.path, "-itsoffset", "0.1", "-i", promise.copy.path, "-map", "0:v",
               "-map", "1:a", "-c", "copy", never)  # fmt: skip
    with pytest.raises(VerifyError, match="start of audio 1"):
        promise.verify(never)
    more = audio.model_copy(update={"num_packets": audio.num_packets + 1})
    with pytest.raises(VerifyError, match="packets of audio 1"):
        promise.verify(carried=(more,))


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_another_duration_is_found(codec, copies):
    promise = Promise(copies("h264_mp4", codec))
    with pytest.raises(VerifyError, match=r"duration.*: planned 4\.6, the output has 3\.0"):
        promise.verify(last_duration=41 * promise.copy.result.last_duration)


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        ("ffv1", r"damaged near frame [34]\d: slice CRC mismatch"),
        ("h264", r"frame 3\d of the output is damaged"),
    ],
)
def test_damage_is_found(codec, message, copies, tmp_path):
    copy = copies("h264_mkv", codec)
    whole = bytearray(copy.path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(whole)
    with pytest.raises(VerifyError, match=message):
        Promise(copy).verify(damaged)


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(5000)])
def test_what_is_no_video_is_refused(content, promise, tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(content)
    with pytest.raises(VerifyError, match="the output cannot be decoded"):
        promise.verify(path)


def test_a_file_cut_off_is_found(copies, tmp_path):
    copy = copies("h264_mkv", "ffv1")
    whole = copy.path.read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(VerifyError, match=r"frames: planned 75|cannot be decoded|damaged"):
        Promise(copy).verify(path)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_clips_pass_with_all_they_hold(name, real_clips, tmp_path):
    by_name = {path.name: path for path in real_clips}
    if name not in by_name:
        pytest.fail(f"{name} is not among the real clips")
    copy = copied(by_name[name], tmp_path, EncodeSettings(preset="ultrafast", crf=45))
    verify_output(copy.path, copy.info, copy.plan, copy.frame_pts, copy.result, uri=name)
    with av.open(str(copy.path)) as made, av.open(str(by_name[name])) as source:
        languages = [[s.language for s in f.streams if s.type != "data"] for f in (made, source)]
        assert [x or "und" for x in languages[0]] == [x or "und" for x in languages[1]]
        assert len(made.chapters()) == len(source.chapters())
        assert made.metadata.get("title") == source.metadata.get("title")
    if name.startswith("gopro"):
        assert copy.plan.dropped == ("data 3 (eng)",)
    elif name.startswith("phone_motion"):
        assert copy.plan.dropped == ("data 1 (eng)", "data 2 (eng)")
    elif name.startswith("phone_1080p"):
        assert copy.plan.dropped == ("data 1", "data 2")
    else:
        assert copy.plan.dropped == ()
    assert copy.result.notes == ()


def test_threads_that_verify_side_by_side_leave_the_log_as_it_was():
    """With a level left behind, a decoder with threads now and then waits for ever."""
    before = av.logging.get_level()
    inside, let_go = ([threading.Event() for _ in range(2)] for _ in range(2))

    def listen(number: int) -> None:
        with _logged_errors():
            inside[number].set()
            let_go[number].wait()

    threads = [threading.Thread(target=listen, args=(number,), daemon=True) for number in range(2)]
    threads[0].start()
    assert inside[0].wait(10)
    threads[1].start()
    inside[1].wait(0.2)  # time enough to come in, if it were let in
    for number in range(2):
        let_go[number].set()
        threads[number].join(10)
    assert av.logging.get_level() == before
