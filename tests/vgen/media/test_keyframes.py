"""Keyframes alone are what a decode of everything shows."""

from fractions import Fraction

import numpy as np
import pytest

from tests.spans import ref_of
from vgen.config import Limits
from vgen.media.decode import frame_crc
from vgen.media.pixels import to_planar
from vgen.media.probe import probe_video
from vgen.media.reader import FrameReader

CLIPS = ["h264_mp4", "open_gop_mkv", "open_gop_ts", "vfr_mp4", "mpeg2_ps", "vp9_webm", "av1_mp4"]


def keyframes_of(path, distance=0):
    info, _ = probe_video(ref_of(path), Limits())
    damage = []
    reader = FrameReader(
        uri=str(path),
        info=info,
        threads=1,
        path=None,
        on_damage=damage.append,
        on_suspicion=damage.append,
    )
    frames = [(frame.pts, frame_crc(to_planar(frame))) for frame in reader.keyframes(distance)]
    assert not damage
    return info, frames


@pytest.mark.parametrize("name", CLIPS)
def test_keyframes_are_those_of_the_whole_decode(media, name):
    info, frames = keyframes_of(media[name])
    reader = FrameReader(
        uri=str(media[name]), info=info, threads=1, path=None, on_damage=print, on_suspicion=print
    )
    whole = [(one.pts, frame_crc(to_planar(one)), one.key_frame) for one in reader.from_start()]
    assert frames == [(pts, crc) for pts, crc, is_key in whole if is_key]
    assert 1 <= len(frames) < len(whole) / 4


def test_where_every_frame_is_a_keyframe_some_are_left_out(media):
    info, every = keyframes_of(media["ffv1_mkv"])
    assert len(every) == 75
    _, few = keyframes_of(media["ffv1_mkv"], round(Fraction(1, 2) / info.video.time_base))
    assert set(few) < set(every)
    apart_s = np.diff([pts for pts, _ in few]) * float(info.video.time_base)
    assert apart_s.min() >= 0.5
    assert apart_s.max() < 0.6
