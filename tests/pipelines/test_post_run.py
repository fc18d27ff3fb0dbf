"""Post-processing in runs: what is refused, what fails alone, and what a kill leaves."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.analysis import Analysis, analysis_uri
from pipelines.cli import main
from pipelines.post_files import MAX_BYTES, PostFiles, read_post_files
from tests.media_factory import Media
from tests.pipelines.archive import add_good, add_long, outputs_of
from tests.pipelines.bare import bare
from tests.pipelines.oracle import assert_same_times, shown
from tests.pipelines.processes import Vgen, chunks_of, started, wait_until
from vgen.config import load_recipe
from vgen.errors import ConfigError
from vgen.post.stats import measure_picture
from vgen.post_options import ColorOptions, PostSettings

CUBE = "LUT_3D_SIZE 2\n" + "".join(
    f"{1 - r} {g} {b}\n" for b in (0, 1) for g in (0, 1) for r in (0, 1)
)
"""Red upside down."""
LOSSLESS = {"codec": "ffv1", "container": "mkv"}
ALL = ("denoise", "deflicker", "color", "stabilize", "sharpen", "grain")


def settings_of(**color: object) -> PostSettings:
    return PostSettings(steps=("color",), color=ColorOptions(**color))


@pytest.fixture
def still(tmp_path) -> Path:
    path = tmp_path / "still.png"
    picture = np.full((300, 400, 3), (40, 120, 200), np.uint8)  # blue, green, red
    assert cv2.imwrite(str(path), picture)
    return path


def test_named_files_are_read_and_what_they_hold_is_their_digest(still, tmp_path):
    cube = tmp_path / "look.cube"
    cube.write_text(CUBE)
    files = read_post_files(settings_of(lut=str(cube), reference=still.as_uri()))
    assert files.lut == CUBE.encode()
    small = np.full((240, 320, 3), (200, 120, 40), np.uint8)
    assert files.reference == measure_picture(small)
    cube.write_text(CUBE.replace("1 0 0", "0.9 0 0"))
    assert read_post_files(settings_of(lut=str(cube), reference=str(still))).digest != files.digest


def test_files_of_a_step_that_is_not_asked_for_are_not_read():
    named = ColorOptions(lut="/nowhere.cube")
    assert read_post_files(PostSettings(steps=("grain",), color=named)) == PostFiles()
    assert read_post_files(settings_of()) == PostFiles()


@pytest.mark.parametrize(
    ("content", "named", "says"),
    [
        (None, "lut", "cannot read post.color.lut"),
        (b"LUT_3D_SIZE 2\n0 0 0\n", "lut", "LUT_3D_SIZE cubed = 8 rows, got 1"),
        (b"\xff\xfe\x00", "lut", "three numbers"),
        (None, "reference", "cannot read post.color.reference"),
        (b"no picture", "reference", "is no picture that can be read"),
        (b"", "reference", "is no picture that can be read"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_up_front(
    tmp_path, capsys, content, named, says
):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        read_post_files(settings_of(**{named: str(path)}))
    (tmp_path / "in").mkdir()
    flags = ("--release", "identity", "--post.steps", "color", f"--post.color.{named}", str(path))
    assert main(["enhance", str(tmp_path / "in"), str(tmp_path / "out"), *flags]) == 2
    assert "post.color" in capsys.readouterr().err or named == "lut"
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_too_large_is_refused(tmp_path):
    path = tmp_path / "large.cube"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ConfigError, match="is larger than"):
        read_post_files(settings_of(lut=str(path)))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--post.steps", "polish"), "denoise"),
        (("--post.steps", "color", "--post.steps", "color"), "given twice"),
        (("--post.color.gamma", "9"), "gamma"),
    ],
)
def test_unknown_steps_and_bad_values_are_refused_as_flags_too(tmp_path, capsys, flags, says):
    assert main(["enhance", str(tmp_path), str(tmp_path / "out"), *flags]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_table_is_applied_by_workers(media: Media, tmp_path):
    """Red upside down: where it was strong in the source it is weak in what is published."""
    cube = tmp_path / "look.cube"
    cube.write_text(CUBE)
    color = {"white_balance": 0, "exposure": 0, "lut": str(cube)}
    post = {"steps": ("color",), "color": color}
    recipe = load_recipe(None, {"encode": LOSSLESS, "post": post})
    plan = bare(media["h264_mp4"], tmp_path / "out", recipe, span_frames=None)
    assert not any(row["fault"] for row in plan.produce())
    outcome = plan.assemble().outcome
    before, after = (red_of(path) for path in (media["h264_mp4"], Path(outcome.output_uri)))
    assert np.corrcoef(before, after)[0, 1] < -0.9


def red_of(path: Path) -> np.ndarray:
    with cv2_video(path) as video:
        return video.read()[1][..., 2].ravel().astype(float)


class cv2_video:  # noqa: N801 - reads like a function
    """OpenCV's reader as a context manager."""

    def __init__(self, path: Path) -> None:
        self._video = cv2.VideoCapture(str(path))

    def __enter__(self) -> cv2.VideoCapture:
        return self._video

    def __exit__(self, *rest: object) -> None:
        self._video.release()


def test_a_reference_is_matched(media: Media, still, tmp_path):
    post = {"steps": ("color",), "color": {"reference": str(still)}}
    recipe = load_recipe(None, {"encode": LOSSLESS, "post": post})
    plan = bare(media["h264_mp4"], tmp_path / "out", recipe, span_frames=None)
    assert plan.analyze() is None
    assert not any(row["fault"] for row in plan.produce())
    with cv2_video(Path(plan.assemble().outcome.output_uri)) as video:
        means = video.read()[1].mean(axis=(0, 1))
    assert np.abs(means - (40, 120, 200)).max() < 25, "blue, green and red of the still"


def test_hdr_is_left_alone_by_color_and_said_so(media: Media, tmp_path):
    post = {"steps": ("color",)}
    recipe = load_recipe(None, {"post": post, "encode": LOSSLESS, "deinterlace": "never"})
    plan = bare(media["hdr10_mkv"], tmp_path / "out", recipe, span_frames=None)
    assert plan.analyze() is None
    assert not any(row["fault"] for row in plan.produce())
    outcome = plan.assemble().outcome
    assert "color: left alone, as the source is HDR (PQ)" in outcome.notes
    assert shown(Path(outcome.output_uri)).hashes == shown(media["hdr10_mkv"]).hashes


def test_hdr_is_graded_by_hand_where_that_is_asked_for(media: Media, tmp_path):
    post = {"steps": ("color",), "color": {"hdr": True, "saturation": 0.0}}
    recipe = load_recipe(None, {"post": post, "encode": LOSSLESS, "deinterlace": "never"})
    plan = bare(media["hdr10_mkv"], tmp_path / "out", recipe, span_frames=None)
    assert not any(row["fault"] for row in plan.produce())
    outcome = plan.assemble().outcome
    assert "color: only as set by hand and by table, as the source is HDR (PQ)" in outcome.notes
    with cv2_video(Path(outcome.output_uri)) as video:
        picture = video.read()[1].astype(int)
    assert np.abs(picture - picture.mean(-1, keepdims=True)).max() <= 2, "gray"


@pytest.mark.parametrize("name", ["damaged.mp4", "damaged.ts", "vfr_mp4", "gray_mkv", "rgb_mkv"])
def test_damaged_and_unusual_videos_are_measured_and_corrected(media: Media, tmp_path, name):
    recipe = load_recipe(None, {"post": {"steps": ALL}, "encode": {"codec": "ffv1"}})
    plan = bare(media[name], tmp_path / "out", recipe, span_frames=20)
    assert plan.analyze() is None
    assert not [row["fault"] for row in plan.produce() if row["fault"]]
    outcome = plan.assemble().outcome
    assert outcome.status == "done", outcome.error
    assert any(note.startswith("denoise: ") for note in outcome.notes)


def test_a_fault_of_the_file_is_found_by_the_analysis(media: Media, tmp_path):
    source = tmp_path / "gone.mp4"
    shutil.copyfile(media["vfr_mp4"], source)
    recipe = load_recipe(None, {"post": {"steps": ("stabilize",)}})
    plan = bare(source, tmp_path / "out", recipe, span_frames=None)
    source.unlink()
    fault = plan.analyze()
    assert (fault.stage, fault.kind) == ("analyze", "DecodeError")
    assert "went away during the run" in fault.message
    assert not Path(analysis_uri(str(tmp_path / "out"), "key")).exists()


STEPS = (
    *(word for step in ("denoise", "deflicker", "color", "stabilize")
      for word in ("--post.steps", step)),
    "--post.denoise.sigma", "4",
)  # fmt: skip
FLAGS = ("--release", "identity", "--encode.preset", "ultrafast", "--json")


@pytest.fixture(scope="module")
def archive(media: Media, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    add_long(folder / "long.mp4", seconds=8, size="128x96")
    add_good(folder, media, {"short.mp4": "vfr_mp4"})
    return folder


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_a_killed_run_keeps_its_analysis_and_gives_the_same_bytes(archive, vgen: Vgen, tmp_path):
    flags = (*FLAGS, *STEPS, "--span-frames", "25")
    whole = vgen("enhance", archive, tmp_path / "whole", *flags)
    assert whole.status == 0, whole.stderr
    assert whole.report.speed.stage_cpu_seconds["post"] > 0
    destination = tmp_path / "out"
    command = ("pipelines.cli", "enhance", archive, destination, *flags, "--address", "local")
    with started(*command) as running:
        wait_until(lambda: bool(chunks_of(destination)), running)
        running.kill()
        assert running.survivors() == []
    left = [path.read_bytes() for path in destination.glob("_vgen/chunks/*/analysis.json")]
    assert left
    spent_s = sum(Analysis.model_validate_json(content).cpu_seconds for content in left)
    again = vgen("enhance", archive, destination, *flags)
    assert again.status == 0, again.stderr
    # To the last digit what the killed run had spent: nothing was measured again.
    assert again.report.speed.stage_cpu_seconds["analyze"] == pytest.approx(spent_s, rel=1e-12)
    videos = [outputs_of(folder) for folder in (tmp_path / "whole", destination)]
    contents = [{name: content for name, (_, content) in one.items()} for one in videos]
    assert contents[0] == contents[1]
    assert not list(destination.glob("_vgen/chunks/*/*"))


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_a_file_that_cannot_be_measured_fails_alone(media: Media, vgen: Vgen, tmp_path):
    add_good(tmp_path / "in", media, {"good.mp4": "vfr_mp4", "bad.mp4": "damaged.mp4"})
    ran = vgen("enhance", tmp_path / "in", tmp_path / "out", *FLAGS, *STEPS, "--damaged", "fail")
    assert ran.status == 1
    bad, good = ran.report.videos
    assert (bad.status, bad.error.stage, bad.error.kind) == ("failed", "analyze", "DecodeError")
    assert good.status == "done"
    assert_same_times(Path(good.output_uri), tmp_path / "in" / "good.mp4")
    assert ran.report.totals.listed == ran.report.totals.done + ran.report.totals.failed == 2
