import struct
import subprocess
from collections import Counter

import cv2
import numpy as np
import pytest

from tests.media_factory import FFMPEG, frame_lines, run_ffmpeg
from vgen.config import Limits
from vgen.errors import DecodeError, ProbeError
from vgen.media.probe import probe_video
from vgen.records import VideoRef
from vgen.storage import stat
from vgen.training.gather import OpenedVideo, halved, is_still, still_clips, video_clips
from vgen.training.selection import DatasetSettings, FitnessLimits

ANY = FitnessLimits(min_brightness=0, min_change=0, max_blur=1, max_blockiness=1000)
SMALL = DatasetSettings(frames=5, clips_per_video=4, min_side_px=32, fitness=ANY)
SIDE = (48, 64)
LUMA = np.array([0.299, 0.587, 0.114])


def opened(path, **more):
    found = stat(str(path))
    ref = VideoRef(
        uri=found.uri, relative_path=path.name, etag=found.etag, size_bytes=found.size_bytes
    )
    info, timeline = probe_video(ref, Limits())
    return OpenedVideo(uri=ref.uri, info=info, timeline=timeline, **more)


def taken(video, settings=SMALL, seed=0):
    rejected = Counter()
    rng = np.random.default_rng(seed)
    return list(video_clips(video, settings, rng, rejected)), dict(rejected)


def rgb_frames(path):
    """All frames as the ffmpeg program decodes them; exact for RGB sources."""
    command = [FFMPEG, "-v", "error", "-i", path, "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, *SIDE, 3)


@pytest.mark.parametrize("seed", range(3))
def test_clips_are_the_frames_that_their_numbers_and_times_name(media, seed):
    path = media["rgb_mkv"]
    video = opened(path)
    clips, rejected = taken(video, seed=seed)
    frames = rgb_frames(path)
    shown = [line.pts for line in frame_lines(path, video.timeline.time_base)]
    assert len(clips) == 4
    assert rejected == {}
    for clip in clips:
        assert np.array_equal(clip.frames_thwc, frames[clip.start : clip.start + 5])
        assert list(clip.pts) == shown[clip.start : clip.start + 5]
        assert clip.time_base == video.timeline.time_base


@pytest.mark.parametrize("name", ["h264_mp4", "h264_ts", "vfr_mp4", "vp9_webm", "ten_bit_mkv"])
def test_colours_are_those_of_another_decoder(media, name):
    path = media[name]
    clips, _ = taken(opened(path))
    frames = rgb_frames(path)
    assert clips
    for clip in clips:
        same = frames[clip.start : clip.start + 5].astype(float)
        # swscale interpolates chroma otherwise at edges, so light is compared at every pixel and
        # colour on average.
        assert np.abs((clip.frames_thwc - same) @ LUMA).mean() < 2
        assert np.abs((clip.frames_thwc - same).mean(axis=(1, 2))).max() < 4


def test_clips_come_one_from_each_part_of_the_video(media):
    video = opened(media["h264_mp4"])
    borders = [len(video.timeline) * part // 4 for part in range(5)]
    for seed in range(6):
        starts = [clip.start for clip in taken(video, seed=seed)[0]]
        for start, first, stop in zip(starts, borders, borders[1:], strict=False):
            assert first <= start <= stop - 5
        assert len(starts) == 4


def test_the_seed_decides_where(media):
    video = opened(media["h264_mp4"])
    starts = [tuple(clip.start for clip in taken(video, seed=seed)[0]) for seed in (1, 1, 2, 3)]
    assert starts[0] == starts[1]
    assert len(set(starts)) == 3


def two_scenes(path, first, second):
    """Two pictures that drift sideways, one after the other."""
    for number, frames in enumerate((first, second)):
        rng = np.random.default_rng(number)
        small = rng.integers(0, 256, (27, 48, 3)).astype(np.uint8)
        wide = cv2.resize(small, (256, 144), interpolation=cv2.INTER_CUBIC)
        for frame in range(frames):
            view = wide[48:96, 40 + 2 * frame : 104 + 2 * frame]
            cv2.imwrite(str(path / f"{number * first + frame:03d}.png"), view)
    run_ffmpeg("-i", path / "%03d.png", "-c:v", "ffv1", "-pix_fmt", "bgr0", path / "two.mkv")
    return path / "two.mkv"


@pytest.mark.parametrize("seed", range(4))
def test_no_clip_holds_a_cut(tmp_path, seed):
    video = opened(two_scenes(tmp_path, 12, 13))
    clips, _ = taken(video, SMALL.model_copy(update={"clips_per_video": 1}), seed=seed)
    assert len(clips) == 1
    assert clips[0].start + 5 <= 12 or clips[0].start >= 12


def test_a_shot_too_short_for_a_clip_is_counted(tmp_path):
    video = opened(two_scenes(tmp_path, 4, 6))
    settings = SMALL.model_copy(update={"clips_per_video": 1})
    found = [taken(video, settings, seed=seed) for seed in range(12)]
    assert {rejected.get("too short", 0) for _, rejected in found} == {1}
    assert {clip.start for clips, _ in found for clip in clips} <= {4, 5}


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("one_frame_mp4", {}, {"too short": 1}),
        ("h264_mp4", {"min_side_px": 49}, {"too small"}),
        ("h264_mp4", {"fitness": FitnessLimits(min_brightness=255)}, {"dark"}),
        ("interlaced_tff_ts", {}, {"interlaced": 1}),
    ],
)
def test_what_is_not_taken_is_counted_by_reason(media, name, changes, expected):
    clips, rejected = taken(opened(media[name]), SMALL.model_copy(update=changes))
    assert clips == []
    assert rejected == expected or set(rejected) == expected


def test_in_a_part_whose_start_is_unfit_a_later_clip_is_taken(tmp_path):
    dark_then_bright = (
        "color=black:size=64x48:rate=25:duration=0.4[a];"
        "testsrc2=size=64x48:rate=25:duration=1.6[b];[a][b]concat=n=2"
    )
    path = tmp_path / "fade.mkv"
    run_ffmpeg("-filter_complex", dark_then_bright, "-c:v", "ffv1", "-pix_fmt", "bgr0", path)
    settings = SMALL.model_copy(
        update={"clips_per_video": 1, "fitness": ANY.model_copy(update={"min_brightness": 40})}
    )
    clips, rejected = zip(
        *(taken(opened(path), settings, seed=seed) for seed in range(24)), strict=True
    )
    assert all(len(found) == 1 and found[0].start >= 10 for found in clips)
    assert any("dark" in counts for counts in rejected)


def test_damage_costs_its_part_alone(media):
    clips, rejected = taken(opened(media["damaged.mp4"]))
    assert 1 <= len(clips) <= 3
    assert rejected["damaged"] == 4 - len(clips)


def test_a_video_that_is_damaged_wherever_it_is_read_fails(media):
    whole = SMALL.model_copy(update={"clips_per_video": 1, "frames": 60})
    with pytest.raises(DecodeError, match="not salvaged"):
        taken(opened(media["damaged.mp4"]), whole)


def test_a_video_that_takes_too_long_fails(media):
    with pytest.raises(DecodeError, match="took longer than limits"):
        taken(opened(media["h264_mp4"], deadline=0.0))


def test_large_pictures_are_halved_and_cut_to_size():
    picture = np.random.default_rng(0).integers(0, 256, (401, 600, 3)).astype(np.uint8)
    settings = DatasetSettings(halve_from_px=400, crop_px=128, fitness=ANY)
    half = halved(picture, settings)
    means = picture[:400].astype(float).reshape(200, 2, 300, 2, 3).mean(axis=(1, 3))
    assert half.shape == (200, 300, 3)
    assert np.abs(halved(picture[:400], settings) - means).max() <= 0.51
    content = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
    [clip] = still_clips(content, "x.png", settings, np.random.default_rng(0), Counter())
    assert clip.frames_thwc.shape == (1, 128, 128, 3)
    windows = np.lib.stride_tricks.sliding_window_view(half, (128, 128, 3))[:, :, 0]
    assert any((window == clip.frames_thwc[0]).all() for row in windows for window in row)


@pytest.mark.parametrize("threshold", [0, 402])
def test_other_pictures_keep_their_size(threshold):
    picture = np.zeros((401, 600, 3), np.uint8)
    assert halved(picture, DatasetSettings(halve_from_px=threshold)) is picture


def still(suffix, picture, *parameters):
    return cv2.imencode(suffix, picture, parameters)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp", ".jpg"])
def test_stills_of_every_kind_are_read_in_rgb(suffix):
    picture = np.zeros((64, 80, 3), np.uint8)
    picture[..., 2], picture[:32, :, 1] = 200, 90  # OpenCV writes B, G, R
    quality = {".jpg": (cv2.IMWRITE_JPEG_QUALITY, 100), ".webp": (cv2.IMWRITE_WEBP_QUALITY, 101)}
    content = still(suffix, picture, *quality.get(suffix, ()))
    [clip] = still_clips(content, "x", SMALL, np.random.default_rng(0), Counter())
    assert np.abs(clip.frames_thwc[0].astype(int) - picture[..., ::-1]).mean() < 2
    assert clip.pts == ()


def test_stills_are_turned_as_their_exif_says():
    jpeg = still(".jpg", NOISE, cv2.IMWRITE_JPEG_QUALITY, 100)
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation, as a camera held upright
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    marked = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    lying, upright = (
        next(still_clips(content, "x.jpg", SMALL, np.random.default_rng(0), Counter())).frames_thwc
        for content in (jpeg, marked)
    )
    assert np.array_equal(upright[0], np.rot90(lying[0], -1))


def test_grey_and_deep_stills_become_rgb_of_8_bits():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    [clip] = still_clips(still(".png", ramp), "x", SMALL, np.random.default_rng(0), Counter())
    assert np.abs(clip.frames_thwc[0, ..., 0] - ramp / 257.0).max() <= 1
    assert (clip.frames_thwc[..., 0] == clip.frames_thwc[..., 2]).all()


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "content",
    [b"no picture", b"\xff\xd8\xff", still(".png", NOISE)[:2000], still(".tiff", NOISE)[:2000]],
)
def test_what_is_no_whole_picture_fails_with_its_name(content):
    with pytest.raises(ProbeError, match=r"read.*x\.png"):
        list(still_clips(content, "x.png", SMALL, np.random.default_rng(0), Counter()))


def test_an_empty_file_is_no_picture():
    with pytest.raises(ProbeError, match=r"refused.*x\.png|read whole.*x\.png"):
        list(still_clips(b"", "x.png", SMALL, np.random.default_rng(0), Counter()))


def test_a_picture_over_the_limit_is_refused():
    settings = SMALL.model_copy(update={"limits": Limits(max_pixels=4000)})
    with pytest.raises(ProbeError, match=r"more than limits\.max_pixels 4000 \(x\.png\)"):
        list(
            still_clips(
                still(".png", NOISE), "x.png", settings, np.random.default_rng(0), Counter()
            )
        )


@pytest.mark.parametrize(("name", "expected"), [("a.JPG", True), ("a.tif", True), ("a.mp4", False)])
def test_stills_are_known_by_their_suffix(name, expected):
    assert is_still(name) == expected
