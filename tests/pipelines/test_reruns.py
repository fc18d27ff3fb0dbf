"""Running the same command again does what is left to do, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from tests.media_factory import Media
from tests.pipelines.archive import add_good, files_of, outputs_of, spans_of
from tests.pipelines.oracle import assert_same_times, shown
from tests.pipelines.processes import RAY_MARKS, Ran, Vgen

pytestmark = RAY_MARKS


@pytest.fixture
def enhance(vgen: Vgen, tmp_path):
    """Run identity from ``tmp_path / "in"`` to ``tmp_path / "out"``."""

    def run(*flags: str) -> Ran:
        return vgen(
            "enhance", tmp_path / "in", tmp_path / "out", "--json", "--release", "identity",
            "--encode.preset", "ultrafast", *flags,
        )  # fmt: skip

    return run


def statuses(ran: Ran) -> dict[str, str]:
    return {Path(one.source_uri).name: one.status for one in ran.report.videos}


def sources_of(destination: Path) -> dict[str, str]:
    """Name of the source by output, as the manifests say."""
    found = (destination / "_vgen" / "manifests").rglob("*.json")
    manifests = [json.loads(path.read_bytes()) for path in found]
    return {one["output"]: Path(one["source_uri"]).name for one in manifests}


def test_a_finished_run_again_makes_no_chunk_and_touches_no_output(media: Media, enhance, tmp_path):
    add_good(tmp_path / "in", media, {"a.mp4": "vfr_mp4", "b.avi": "mpeg4_avi"})
    assert enhance().status == 0
    outputs = outputs_of(tmp_path / "out")
    manifests = files_of(tmp_path / "out" / "_vgen" / "manifests")
    again = enhance()
    assert again.status == 0
    assert statuses(again) == {"a.mp4": "skipped", "b.avi": "skipped"}
    assert again.report.totals.model_dump() == {
        "listed": 2, "done": 0, "skipped": 2, "failed": 0, "frames": 0, "source_seconds": 0.0
    }  # fmt: skip
    assert spans_of(tmp_path / "out") == []
    assert outputs_of(tmp_path / "out") == outputs
    assert files_of(tmp_path / "out" / "_vgen" / "manifests") == manifests


def test_a_changed_source_is_replaced_and_others_are_not(media: Media, enhance, tmp_path):
    add_good(tmp_path / "in", media, {"a.mp4": "av1_mp4", "b.mp4": "vfr_mp4"})
    enhance()
    before = outputs_of(tmp_path / "out")
    shutil.copyfile(media["one_frame_mp4"], tmp_path / "in" / "a.mp4")
    assert statuses(enhance()) == {"a.mp4": "done", "b.mp4": "skipped"}
    after = outputs_of(tmp_path / "out")
    assert after["b.mp4"] == before["b.mp4"]
    assert_same_times(tmp_path / "out" / "a.mp4", media["one_frame_mp4"])
    assert statuses(enhance()) == {"a.mp4": "skipped", "b.mp4": "skipped"}


def test_another_recipe_replaces_what_was_published(media: Media, enhance, tmp_path, capfd):
    add_good(tmp_path / "in", media, {"a.mp4": "vfr_mp4"})
    enhance()
    [before] = outputs_of(tmp_path / "out").values()
    again = enhance("--encode.crf", "40")
    assert statuses(again) == {"a.mp4": "done"}
    told = " ".join(capfd.readouterr().err.split())
    assert "1 replace outputs of another recipe, release or source" in told
    [after] = outputs_of(tmp_path / "out").values()
    assert len(after[1]) < len(before[1])
    assert sources_of(tmp_path / "out") == {"a.mp4": "a.mp4"}
    assert statuses(enhance("--encode.crf", "40")) == {"a.mp4": "skipped"}


def test_a_lost_output_is_made_again(media: Media, enhance, tmp_path):
    add_good(tmp_path / "in", media, {"a.mp4": "vfr_mp4"})
    enhance()
    output = tmp_path / "out" / "a.mp4"
    content = output.read_bytes()
    output.unlink()
    assert statuses(enhance()) == {"a.mp4": "done"}
    assert output.read_bytes() == content


def test_a_file_of_somebody_else_is_replaced_only_when_asked(media: Media, enhance, tmp_path):
    add_good(tmp_path / "in", media, {"a.mp4": "vfr_mp4", "b.mp4": "av1_mp4"})
    foreign = tmp_path / "out" / "a.mp4"
    foreign.parent.mkdir()
    foreign.write_bytes(b"somebody's work")
    ran = enhance()
    assert ran.status == 1
    assert statuses(ran) == {"a.mp4": "failed", "b.mp4": "done"}
    [error] = [one.error for one in ran.report.videos if one.error]
    assert error.stage == "plan", "before any work went into it"
    assert str(foreign) in error.message
    assert "--overwrite" in error.message
    assert foreign.read_bytes() == b"somebody's work"
    assert sources_of(tmp_path / "out") == {"b.mp4": "b.mp4"}
    asked = enhance("--overwrite")
    assert asked.status == 0
    assert statuses(asked) == {"a.mp4": "done", "b.mp4": "skipped"}
    assert_same_times(foreign, media["vfr_mp4"])


def test_two_sources_of_one_name_are_told_apart(media: Media, enhance, tmp_path):
    add_good(tmp_path / "in", media, {"a.avi": "mpeg4_avi", "a.webm": "vp9_webm"})
    assert enhance().status == 0
    assert sources_of(tmp_path / "out") == {"a.avi.mkv": "a.avi", "a.webm.mkv": "a.webm"}
    for name, clip in {"a.avi.mkv": "mpeg4_avi", "a.webm.mkv": "vp9_webm"}.items():
        assert_same_times(tmp_path / "out" / name, media[clip])


def test_an_added_video_changes_nothing_for_the_others(media: Media, enhance, tmp_path):
    """Not even where it would have taken the name of one that is published."""
    add_good(tmp_path / "in", media, {"a.avi": "mpeg4_avi", "c.mp4": "vfr_mp4"})
    enhance()
    before = outputs_of(tmp_path / "out")
    add_good(tmp_path / "in", media, {"a.webm": "vp9_webm"})
    assert statuses(enhance()) == {"a.avi": "skipped", "a.webm": "done", "c.mp4": "skipped"}
    after = outputs_of(tmp_path / "out")
    assert set(after) - set(before) == {"a.webm.mkv"}
    assert {name: after[name] for name in before} == before
    assert len(shown(tmp_path / "out" / "a.webm.mkv").times_s) == 75
