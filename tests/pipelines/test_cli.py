"""Refusals come before anything starts: status 2, one sentence with the remedy, no traceback."""

import io
import json
import os
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError
from rich.console import Console

from pipelines.cli import main
from pipelines.dry_run import Outlook, OutlookVideo, show_plan
from pipelines.places import check_apart, check_destination
from pipelines.progress import Progress
from pipelines.run import Request, _seed, idle_settings, prepare
from pipelines.terminal import STOPPED, StoppedError, guarded, say
from tests.media_factory import Media
from vgen.config import Recipe
from vgen.errors import ReleaseError
from vgen.records import Fault


@pytest.fixture
def archive(media: Media, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(media["h264_mp4"].read_bytes())
    return folder


def refused(capsys, *arguments) -> str:
    assert main([str(one) for one in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert len(lines) == 1, captured.err
    return lines[0]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--strength", "2"], "strength"),
        (["--encode.crf", "64"], "encode.crf"),
        (["--encode.codec", "h264", "--encode.crf", "60"], "crf of h264 is 0 to 51, got 60"),
        (
            ["--release", "no-such"],
            "no release named 'no-such'; bundled are generate-demo, identity",
        ),
        (["--release", "no/such.safetensors"], "no release file"),
        (["--encode.pixel-format", "yuv999p"], "yuv999p"),
        (["--post.steps", "polish"], "polish"),
        (["--post.steps", "grain", "--post.steps", "grain"], "step 'grain' is given twice"),
        (["--deinterlace", "weave"], "weave"),
        (["--span-frames", "0"], "--span-frames must be at least 1, got 0"),
        (["--no-such-flag"], "no-such-flag"),
        (["--recipe", "missing.toml"], "cannot read the recipe 'missing.toml'"),
    ],
)
def test_a_wrong_setting_is_refused(archive, tmp_path, capsys, flags, says):
    destination = tmp_path / "out"
    assert says in refused(capsys, "enhance", archive, destination, *flags)
    assert not list(destination.rglob("*.mp4"))


def test_an_unknown_recipe_key_is_named(archive, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[encode]\nquality = 3\n")
    said = refused(capsys, "enhance", archive, tmp_path / "out", "--recipe", recipe)
    assert "encode.quality" in said


@pytest.mark.parametrize("inside", ["below", "above", "same"])
def test_a_destination_within_the_source_is_refused(archive, capsys, inside):
    places = {"below": archive / "out", "above": archive.parent, "same": archive}
    assert "lie within each other" in refused(capsys, "enhance", archive, places[inside])


def test_a_destination_within_a_folder_called_like_a_pattern_is_refused(archive, capsys):
    folder = archive.rename(archive.with_name("clips [old]"))
    assert "lie within each other" in refused(capsys, "enhance", folder, folder / "out")


@pytest.mark.parametrize("pattern", ["**/*.mp4", "*/*", "../in/o?t/*"])
def test_a_pattern_that_would_find_the_outputs_is_refused_at_once(archive, capsys, pattern):
    """The first night would end well, and all that follow would be refused."""
    said = refused(capsys, "enhance", archive / pattern, archive / "out")
    assert "would find the outputs in DESTINATION" in said


@pytest.mark.parametrize("pattern", ["*.mp4", "c*.mp4", "[a-c]*/*.mp4", "**/*.avi"])
def test_a_pattern_that_stays_clear_of_the_destination_is_fine(archive, pattern):
    check_apart(str(archive / pattern), str(archive / "out"))


def test_a_wrong_flag_is_told_without_an_address_of_pydantic(archive, tmp_path, capsys):
    said = refused(capsys, "enhance", archive, tmp_path / "out", "--strength", "2")
    assert said.startswith("vgen: strength: Input should be less than or equal to 1.5, got")


def test_a_fault_that_nobody_foresaw_ends_with_status_3(archive, tmp_path, capsys, monkeypatch):
    """Python's own status for it, 1, would say that the run had finished."""
    monkeypatch.setenv("VGEN_SCRATCH", str(archive / "clip.mp4"))
    assert main(["enhance", str(archive), str(tmp_path / "out"), "--release", "identity"]) == 3
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "run the same command again to go on" in said


def test_a_destination_that_is_not_utf8_is_refused(archive, capsys):
    said = refused(capsys, "enhance", archive, f"{archive}-\udcff")
    assert "is not UTF-8; choose another one" in said


def test_a_destination_that_is_or_looks_like_a_file_is_refused(archive, tmp_path, capsys):
    (tmp_path / "notes").write_text("mine")
    assert "is a file; name a folder" in refused(capsys, "enhance", archive, tmp_path / "notes")
    said = refused(capsys, "enhance", archive, tmp_path / "out.MP4")
    assert "is named like a video; name the folder for the outputs" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "notes"]
    (tmp_path / "out.MP4").mkdir()
    check_destination(str(tmp_path / "out.MP4"), is_dry=False)


def test_a_recipe_that_is_not_there_is_one_sentence(archive, tmp_path, capsys):
    said = refused(capsys, "enhance", archive, tmp_path / "out", "--recipe", tmp_path / "no.toml")
    assert said.endswith("no.toml': No such file or directory")


def test_a_missing_source_is_refused(tmp_path, capsys):
    assert "missing" in refused(capsys, "enhance", tmp_path / "missing", tmp_path / "out")


def test_a_bucket_without_credentials_is_refused(archive, capsys, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "s3://no-such-bucket" in refused(capsys, "enhance", archive, "s3://no-such-bucket/out")


def test_status_of_a_place_without_runs_is_refused(tmp_path, capsys):
    assert "no run of vgen" in refused(capsys, "status", tmp_path)


def test_probe_prints_facts_as_json_on_stdout(media: Media, capsys):
    assert main(["probe", str(media["h264_mp4"]), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["info"]["video"]["codec"] == "h264"
    assert facts["encode"]["container"] == "mp4"


def test_probe_of_a_text_file_is_one_sentence(tmp_path, capsys):
    path = tmp_path / "text.mp4"
    path.write_text("this is no video\n" * 20)
    assert str(path) in refused(capsys, "probe", path)


def test_a_dry_run_needs_no_destination_and_makes_none(archive, tmp_path):
    destination = tmp_path / "not" / "there"
    request = Request(source=str(archive), destination=str(destination), recipe=Recipe())
    assert [one.relative_path for one in prepare(request, is_dry=True).listing] == ["clip.mp4"]
    assert not destination.parent.exists()


def test_a_plan_shows_names_that_look_like_markup():
    shown = Console(file=io.StringIO(), width=200)
    video = OutlookVideo(
        source_uri="/in/\\[/b] [red].mp4", output_uri="", status="todo", frames=1, duration_s=1,
        spans=1, dropped=(), notes=("[bold",), error=None,
    )  # fmt: skip
    outlook = Outlook(
        release="identity", todo=1, skipped=0, failed=0, frames=1, spans=1, source_seconds=1,
            passed_over={},
        videos=(video,),
    )  # fmt: skip
    show_plan(outlook, shown)
    assert "/in/\\[/b] [red].mp4" in shown.file.getvalue()
    assert "[bold" in shown.file.getvalue()


def test_a_pattern_that_is_none_is_refused(archive, tmp_path, capsys):
    for command in ("plan", "enhance"):
        said = refused(capsys, command, f"{archive}/**.mp4", tmp_path / "out")
        assert "the pattern '**.mp4' is not one: ** stands for folders, as in **/*.mp4" in said


def test_a_files_name_does_not_command_the_terminal(capsys):
    say("'\x1b]0;owned\x07\x1b[2Jab.mp4' \x9b31m failed")
    told = capsys.readouterr().err
    assert told == "vgen: '\\x1b]0;owned\\x07\\x1b[2Jab.mp4' \\x9b31m failed\n"


def test_a_table_of_a_step_that_is_not_run_is_told(tmp_path, capfd):
    recipe = Recipe.model_validate({"post": {"steps": ["grain"], "color": {"gain": 1.1}}})
    says = "post.color is set and changes nothing: post.steps does not name color"
    assert idle_settings(recipe) == [says]
    assert idle_settings(Recipe()) == []
    (tmp_path / "in").mkdir()
    flags = ["--release", "identity", "--address", "local", "--post.color.gain", "1.1"]
    for command in ("enhance", "plan"):  # without a video neither starts Ray
        assert main([command, str(tmp_path / "in"), str(tmp_path / "out"), *flags]) == 0
        assert says in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("command", ["enhance", "plan"])
def test_files_that_are_not_called_like_videos_are_told(tmp_path, capfd, command):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "holiday.TAPE").write_bytes(b"x")
    flags = ["--release", "identity", "--address", "local"]
    assert main([command, str(tmp_path / "in"), str(tmp_path / "out"), *flags]) == 0
    said = " ".join(capfd.readouterr().err.split())
    assert "left alone, as their names are not those of videos: 1 .tape" in said


@pytest.mark.parametrize("command", ["enhance", "plan"])
def test_a_suffix_that_is_no_text_stops_nothing(tmp_path, capfd, command):
    (tmp_path / "in").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/holiday.\xff")).write_bytes(b"x")
    flags = ["--release", "identity", "--address", "local", "--json"]
    assert main([command, str(tmp_path / "in"), str(tmp_path / "out"), *flags]) == 0
    told = capfd.readouterr()
    json.loads(told.out)
    assert "1 .\\udcff" in " ".join(told.err.split())


def test_what_nobody_foresaw_is_a_sentence_and_no_failed_video(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("pipelines.run.check_encoder", lambda settings: 1 // 0)
    assert main(["enhance", str(tmp_path), str(tmp_path / "out")]) == STOPPED
    told = " ".join(capsys.readouterr().err.split())
    assert told.startswith("vgen: stopped by ZeroDivisionError: integer division")
    assert "(VGEN_DEBUG=1 shows where)" in told


def test_an_odd_destination_is_refused_with_a_sentence(archive, tmp_path, capsys):
    said = refused(capsys, "enhance", archive, tmp_path / ("x" * 300), "--release", "identity")
    assert "File name too long" in said


def test_runs_of_two_sources_in_one_second_have_two_ids(archive, tmp_path):
    recipe = Recipe(release="identity")
    seeds = set()
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        request = Request(
            source=str(tmp_path / name), destination=str(tmp_path / "out"), recipe=recipe
        )
        seeds.add(_seed(prepare(request)))
    assert len(seeds) == 2


def test_frames_of_a_video_that_failed_are_not_waited_for():
    progress = Progress(num_videos=2, num_frames=1100)
    progress.add_frames(100)
    progress.videos_done = progress.videos_failed = 1
    progress.frames_given_up = 1000
    assert "0 s left, 1 failed" in progress.line()


def test_what_is_made_and_not_yet_published_is_being_assembled():
    progress = Progress(num_videos=2, num_frames=200)
    progress.add_frames(100)
    assert progress.line().endswith(" left")
    progress.add_frames(100)
    progress.videos_done = 1
    assert progress.line().startswith("1/2 videos, 200/200 frames, ")
    assert progress.line().endswith(" frames/s, assembling")


def test_a_refusal_that_comes_out_of_a_worker_is_a_stop():
    """Nothing was started, says status 2; this run was."""

    def work():
        told = "vgen.errors.ReleaseError: it is gone"
        raise RayTaskError("enhance", told, ReleaseError("it is gone")).as_instanceof_cause()

    with pytest.raises(StoppedError, match="it is gone"):
        guarded(work)


def test_what_stops_a_run_is_said_once():
    def work():
        raise StoppedError("the workers failed 4 times")

    with pytest.raises(StoppedError, match=r"^the workers failed 4 times$"):
        guarded(work)


def test_a_narrow_plan_shows_names_and_reasons_whole():
    told = io.StringIO()
    name, reason = f"/archive/{'a' * 90}/clip.mp4", "no video stream that " + "b" * 90
    video = OutlookVideo(
        source_uri=name, output_uri="", status="failed", frames=0, duration_s=0, spans=0,
        dropped=(), notes=(), error=Fault(stage="probe", kind="ProbeError", message=reason),
    )  # fmt: skip
    outlook = Outlook(
        release="identity", todo=0, skipped=0, failed=1, frames=0, spans=0, source_seconds=0,
        passed_over={}, videos=(video,),
    )  # fmt: skip
    show_plan(outlook, Console(file=told, width=80))
    columns = [line.split("│") for line in told.getvalue().splitlines() if line.count("│") == 7]
    assert name in "".join(row[1].strip() for row in columns)
    assert "b" * 90 in "".join(row[6].strip() for row in columns)
