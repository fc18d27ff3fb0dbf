"""Interlaced sources through a whole run: spans, chunks, sound, times, tags and what is told."""

import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from pipelines.inspection import inspect_file
from pipelines.probing import deinterlacing
from pipelines.release_files import resolve_release
from tests.media_factory import FFMPEG, made, run_ffmpeg
from tests.pipelines.bare import Bare, bare
from tests.pipelines.oracle import shown
from tests.vgen.media import field_clips
from vgen.config import EncodeSettings, Recipe
from vgen.records import VideoOutcome

LOSSLESS = EncodeSettings(codec="ffv1")


def run_of(source: Path, destination: Path, mode="frame", *, span_frames=None, **recipe) -> Bare:
    settings = {"release": "identity", "encode": LOSSLESS} | recipe
    return bare(source, destination, Recipe(deinterlace=mode, **settings), span_frames=span_frames)


def published(source: Path, destination: Path, mode="frame", **more) -> VideoOutcome:
    """Enhance one video with release identity."""
    run = run_of(source, destination, mode, **more)
    assert [row["fault"] for row in run.produce()] == [""] * len(run.spans)
    return run.assemble().outcome


def described(path: Path) -> str:
    """Return what the independent program prints of a file."""
    command = [FFMPEG, "-hide_banner", "-i", f"file:{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory) -> Path:
    """Three seconds of 50 fields with sound, in a container whose ticks hold half frames."""
    path = tmp_path_factory.mktemp("source") / "broadcast.mp4"
    fields = "testsrc2=size=64x48:rate=50:duration=3,interlace=lowpass=off"
    codec = ("-c:v", "libx264", "-x264-params", "tff=1", "-g", "12", "-bf", "2", "-threads", "1")
    run_ffmpeg(*made(*codec, "-pix_fmt", "yuv420p", picture=fields, sound=("-c:a", "aac")), path)
    return path


@pytest.mark.parametrize(("mode", "num_frames"), [("frame", 75), ("field", 150)])
def test_a_run_gives_the_same_frames_for_any_size_of_spans(broadcast, tmp_path, mode, num_frames):
    made_of = {
        size: published(broadcast, tmp_path / str(size), mode, span_frames=size)
        for size in (13, None)
    }
    frames = {size: shown(Path(one.output_uri)) for size, one in made_of.items()}
    assert frames[13] == frames[None]
    assert {one.frames for one in made_of.values()} == {num_frames}
    rate = "field" if mode == "field" else "frame"
    assert made_of[13].notes == made_of[None].notes
    assert f"deinterlaced with bwdif at {rate} rate" in " ".join(made_of[13].notes)


def test_a_span_holds_both_pictures_of_each_frame_and_no_more_than_asked(broadcast, tmp_path):
    run = run_of(broadcast, tmp_path / "out", "field", span_frames=13)
    assert max(span.stop - span.start for span in run.spans) == 12
    assert all(span.start % 2 == span.stop % 2 == 0 for span in run.spans)
    assert run.spans[-1].stop == run.job.info.num_frames == 150


@pytest.mark.parametrize(("mode", "rate"), [("frame", "frame"), ("field", "field")])
def test_times_are_those_of_the_source_and_half_way_between(broadcast, tmp_path, mode, rate):
    """In mp4, whose ticks are exact; the output's frames are those the program's bwdif makes."""
    encode = EncodeSettings(preset="ultrafast", container="mp4")
    outcome = published(broadcast, tmp_path / "out", mode, span_frames=20, encode=encode)
    assert outcome.output_uri.endswith(".mp4")
    source, own = shown(broadcast).times_s, shown(Path(outcome.output_uri)).times_s
    if rate == "frame":
        assert own == source
    else:
        halves = (Fraction(1, 50) + when for when in source)
        assert own == tuple(when for pair in zip(source, halves, strict=True) for when in pair)


def test_the_output_is_tagged_progressive_and_its_sound_is_the_sources(broadcast, tmp_path):
    encode = EncodeSettings(preset="ultrafast")
    outcome = published(broadcast, tmp_path / "out", "field", encode=encode)
    output = Path(outcome.output_uri)
    assert "top first" in described(broadcast)
    assert "top first" not in described(output)
    assert "progressive" in described(output)
    sounds = {
        run_ffmpeg("-i", path, "-map", "0:a", "-c", "copy", "-f", "framehash", "-")
        for path in (broadcast, output)
    }
    assert len(sounds) == 1


@pytest.mark.parametrize(
    ("release", "steps", "mode", "comes_to"),
    [
        ("identity", (), "auto", "never"),
        ("identity", ("sharpen",), "auto", "auto"),
        ("identity", (), "field", "field"),
        ("restore-tiny", (), "auto", "auto"),
        ("restore-tiny", (), "never", "never"),
    ],
)
def test_auto_changes_no_frame_of_a_run_that_changes_none(release, steps, mode, comes_to):
    recipe = Recipe(release=release, deinterlace=mode, post={"steps": steps})
    assert deinterlacing(recipe, resolve_release(release).spec) == comes_to


@pytest.mark.parametrize("mode", ["never", "auto"])
def test_never_and_identity_keep_fields_frames_and_tags(broadcast, tmp_path, mode):
    outcome = published(broadcast, tmp_path / "out", mode)
    output = Path(outcome.output_uri)
    assert shown(output) == shown(broadcast)
    assert not [note for note in outcome.notes if "interlaced" in note]
    encode = EncodeSettings(preset="ultrafast")
    tagged = published(broadcast, tmp_path / "tagged", mode, encode=encode)
    assert "top first" in described(Path(tagged.output_uri))


@pytest.mark.parametrize("mode", ["auto", "frame", "field"])
def test_progressive_sources_pass_bit_for_bit_at_their_own_times(tmp_path, mode):
    clip = field_clips.progressive(tmp_path)
    run = run_of(clip.path, tmp_path / "out", mode)
    assert run.job.fields is None
    run.produce()
    outcome = run.assemble().outcome
    assert shown(Path(outcome.output_uri)) == shown(clip.path)


def test_damage_found_on_a_short_cut_is_deinterlaced_from_the_start(media, tmp_path):
    """The second try of a span starts with fresh flags and counts."""
    clips = {}
    for size in (4, None):
        run = run_of(media["damaged_paff.ts"], tmp_path / str(size), "frame", span_frames=size)
        assert run.job.fields is not None
        run.produce()
        clips[size] = shown(Path(run.assemble().outcome.output_uri))
    assert clips[4] == clips[None]


def test_the_analyze_pass_measures_the_frames_that_come_out(tmp_path):
    clip = field_clips.interlaced(tmp_path, frames=60)
    curves = []
    for size in (17, None):
        run = run_of(
            clip.path, tmp_path / str(size), "field", span_frames=size,
            post={"steps": ["deflicker"]},
        )  # fmt: skip
        assert run.job.info.num_frames == 120
        assert run.analyze() is None
        curves.append(run.analysis().plan)
    assert curves[0] == curves[1]


def test_probing_a_file_says_what_a_run_would_do(broadcast):
    found = inspect_file(str(broadcast))
    assert found.info.video.field_order == "tff"
    assert found.encode.field_order == "progressive"
    assert "by flags: deinterlaced with bwdif at frame rate" in found.info.notes[-1]
