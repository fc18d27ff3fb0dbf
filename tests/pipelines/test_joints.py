"""Neighbouring spans have to agree on the frame at their joint before a video is assembled."""

import pytest

from pipelines.assemble import check_joints
from pipelines.probing import probe_source
from pipelines.release_files import resolve_release
from tests.spans import ref_of, spans_at
from vgen.config import Limits, Recipe
from vgen.errors import VerifyError
from vgen.media.decode import DecodeStats, decode_span
from vgen.media.probe import probe_video
from vgen.records import ChunkFacts


@pytest.fixture
def facts(media):
    """Facts of three spans with a frame of context, as their decoding leaves them."""
    info, timeline = probe_video(ref_of(media["h264_mp4"]), Limits())
    made = []
    for span in spans_at(timeline, (10, 30), lead=1, tail=1):
        stats = DecodeStats()
        for _ in decode_span(
            str(media["h264_mp4"]), info, span, threads=1, salvage=False, stats=stats
        ):
            pass
        made.append(
            ChunkFacts(
                start=span.start,
                stop=span.stop,
                frame_pts=(),
                packet_pts=(),
                first_crc=stats.first_crc,
                after_crc=stats.after_crc,
            )
        )
    return made


def test_spans_of_a_sound_file_agree(facts):
    assert facts[0].after_crc == facts[1].first_crc is not None
    assert facts[1].after_crc == facts[2].first_crc is not None
    check_joints(facts, uri="clip.mp4")


def test_spans_that_saw_different_pictures_are_not_joined(facts):
    pts, crc = facts[1].after_crc
    facts[1] = facts[1].model_copy(update={"after_crc": (pts, crc ^ 1)})
    with pytest.raises(VerifyError, match=r"frame 30 decodes differently .* --span-frames \d+"):
        check_joints(facts, uri="clip.mp4")


def test_the_remedy_of_a_joint_decodes_the_video_in_one_go(media):
    """As many frames a span as the video has make one span, though they would not by size."""
    ref, spec = ref_of(media["h264_mp4"]), resolve_release("identity").spec
    assert len(probe_source(ref, Recipe(), spec, None).spans) > 1
    assert len(probe_source(ref, Recipe(), spec, 74).spans) > 1
    assert [(span.start, span.stop) for span in probe_source(ref, Recipe(), spec, 75).spans] == [
        (0, 75)
    ]
    assert len(probe_source(ref, Recipe(), spec, 75, row_bytes=64 * 48 * 75).spans) > 1


def test_a_joint_that_only_one_span_saw_cannot_be_judged(facts):
    facts[1] = facts[1].model_copy(update={"after_crc": None})
    check_joints(facts, uri="clip.mp4")
