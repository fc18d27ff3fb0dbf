"""Sound that no container takes as it is can still be heard, sample for sample where it is PCM."""

import subprocess

import numpy as np
import pytest

from tests.chunked import copied, probed
from tests.media_factory import FFMPEG, run_ffmpeg
from vgen.config import EncodeSettings
from vgen.media.encoders import resolve_encoding
from vgen.media.passthrough import resolve_container
from vgen.media.verify import verify_output

PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=2")
SETTINGS = EncodeSettings(preset="ultrafast", crf=40)
KINDS = {
    "wmav2.wmv": ("-c:v", "wmv2", "-c:a", "wmav2", "-ar", "44100"),
    "adpcm.avi": ("-c:v", "mpeg4", "-c:a", "adpcm_ms"),
    "alaw.avi": ("-c:v", "mpeg4", "-c:a", "pcm_alaw", "-ar", "8000"),
    "nellymoser.flv": ("-c:v", "flv1", "-c:a", "nellymoser", "-ar", "11025"),
    "disc.m2ts": ("-c:v", "mpeg2video", "-c:a", "pcm_bluray", "-ar", "48000", "-sample_fmt", "s32"),
    "phone.3gp": ("-c:v", "libx264", "-c:a", "libopencore_amrnb", "-ar", "8000"),
}
"""File name, and how it is coded."""


def made(name, folder, *, late_s=0.0):
    """A clip with two seconds of a tone that rises, mono."""
    path = folder / name
    tone = "aevalsrc=0.4*sin(2*PI*(200+150*t)*t):duration=2:sample_rate=48000"
    late = ("-itsoffset", str(late_s), "-f", "lavfi", "-i", tone)
    run_ffmpeg(*PICTURE, *late, *KINDS[name], "-ac", "1", path)
    return path


def heard(path, *, rate) -> np.ndarray:
    """The sound as the independent program plays it, silence before its start included."""
    command = [FFMPEG, "-v", "error", "-copyts", "-i", str(path), "-map", "0:a:0", "-af",
               "aresample=async=1:first_pts=0", "-ar", str(rate), "-f", "s32le", "-"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, "<i4").astype(np.float64) / 2**31


@pytest.mark.parametrize("name", KINDS)
def test_sound_that_matroska_does_not_take_is_written_as_flac_and_said_so(name, tmp_path):
    source = made(name, tmp_path)
    copy = copied(source, tmp_path, SETTINGS)
    verify_output(copy.path, copy.info, copy.plan, copy.frame_pts, copy.result, uri="copy")
    assert copy.path.suffix == ".mkv"
    assert copy.plan.dropped == copy.result.dropped == ()
    (label,) = [other.label for other in copy.info.others]
    assert f"{label} is written as flac: mkv does not carry it as it is" in copy.plan.notes
    rate = 11025 if "nelly" in name else 8000
    before, after = heard(source, rate=rate), heard(copy.path, rate=rate)
    assert abs(len(before) - len(after)) <= rate // 50
    common = min(len(before), len(after))
    assert common > 1.5 * rate
    assert np.abs(before[:common] - after[:common]).max() < 2e-3


@pytest.mark.parametrize(("name", "digest"), [("alaw.avi", "s16le"), ("disc.m2ts", "s24le")])
def test_whole_numbers_come_through_bit_for_bit(name, digest, tmp_path):
    source = made(name, tmp_path)
    copy = copied(source, tmp_path, SETTINGS)

    def samples(path):
        codec = ("-map", "0:a:0", "-c:a", f"pcm_{digest}", "-f", "md5", "-")
        return run_ffmpeg("-i", path, *codec)

    assert samples(copy.path) == samples(source)


def test_sound_that_starts_late_stays_late(tmp_path):
    source = made("phone.3gp", tmp_path, late_s=0.5)
    before = heard(source, rate=8000)
    after = heard(copied(source, tmp_path, SETTINGS).path, rate=8000)
    assert np.abs(before[:3000]).max() < 1e-3 < np.abs(before[4800:]).max()
    # Matroska rounds to a millisecond, which is eight samples here.
    lags = range(-8, 9)
    errors = [np.abs(before[5000:15000] - after[5000 + n : 15000 + n]).max() for n in lags]
    assert min(errors) < 2e-3


def test_a_container_that_takes_the_sound_keeps_it_as_it_is(media):
    info, _ = probed(media["h264_mp4"])
    plan = resolve_container(
        str(media["h264_mp4"]), info, resolve_encoding(info, SETTINGS, scale=1)
    )
    assert not any("flac" in note for note in plan.notes)


def test_damaged_sound_is_counted_and_the_rest_is_kept(tmp_path):
    source = made("wmav2.wmv", tmp_path)
    content = bytearray(source.read_bytes())
    third = len(content) // 3
    for place in range(third, 2 * third, 97):
        content[place] ^= 0xFF
    source.write_bytes(content)
    copy = copied(source, tmp_path, SETTINGS)
    verify_output(copy.path, copy.info, copy.plan, copy.frame_pts, copy.result, uri="copy")
    assert any("could not be carried" in note for note in copy.result.notes)
    assert np.abs(heard(copy.path, rate=8000)).max() > 0.2
