"""The contract of ``vgen enhance``, judged by an independent ffmpeg program."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.media_factory import Media
from tests.pipelines.archive import BAD, GOOD, add_bad, add_good, files_of, outputs_of, spans_of
from tests.pipelines.oracle import assert_same_times, shown
from tests.pipelines.processes import RAY_MARKS, Ran
from vgen.records import VideoOutcome

pytestmark = RAY_MARKS

RELEASES = ("identity", "restore-tiny")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enhanced:
    """An archive and what a run made of it."""

    source: Path
    destination: Path
    ran: Ran

    def video(self, name: str) -> VideoOutcome:
        """The report's line on the source called ``name``."""
        uri = str(self.source / name)
        [found] = [one for one in self.ran.report.videos if one.source_uri == uri]
        return found


@pytest.fixture(scope="module")
def archive(media: Media, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    add_good(folder, media, GOOD)
    add_bad(folder, media)
    return folder


@pytest.fixture(scope="module", params=RELEASES)
def enhanced(request, archive, vgen, tmp_path_factory) -> Enhanced:
    """The archive after a run; all files below it are as they were."""
    destination = tmp_path_factory.mktemp("out") / request.param
    before = files_of(archive)
    ran = vgen(
        "enhance", archive, destination, "--release", request.param, "--json",
        "--encode.preset", "ultrafast",
    )  # fmt: skip
    assert files_of(archive) == before
    return Enhanced(source=archive, destination=destination, ran=ran)


@pytest.mark.parametrize("name", GOOD)
def test_a_video_is_published_with_every_frame_at_its_time(enhanced, name):
    outcome = enhanced.video(name)
    assert outcome.status == "done", outcome.error
    output, source = Path(outcome.output_uri), enhanced.source / name
    assert outcome.frames == len(shown(source).times_s)
    assert output == enhanced.destination / f"{name.rpartition('.')[0]}{output.suffix}"
    assert output.suffix == (".mp4" if name.endswith(".mp4") else ".mkv")
    assert_same_times(output, source, is_shifted=GOOD[name] == "h264_avi")


@pytest.mark.parametrize(("name", "says"), BAD.items())
def test_a_file_that_is_no_video_fails_alone_and_is_not_published(enhanced, name, says):
    outcome = enhanced.video(name)
    assert outcome.status == "failed"
    assert (outcome.error.stage, outcome.error.kind) == ("probe", "ProbeError")
    assert says in outcome.error.message
    assert "\n" not in outcome.error.message
    assert f"failed in probe: {outcome.error.message}" in enhanced.ran.stderr
    stem = name.rpartition(".")[0]
    assert not [one for one in outputs_of(enhanced.destination) if one.startswith(stem)]


def test_a_run_with_failures_ends_with_status_1_and_totals_that_add_up(enhanced):
    report = enhanced.ran.report
    assert enhanced.ran.status == 1
    assert report.totals.listed == len(report.videos) == len(GOOD) + len(BAD)
    assert (report.totals.done, report.totals.skipped) == (len(GOOD), 0)
    assert report.totals.failed == len(BAD)
    assert report.totals.frames == sum(len(shown(enhanced.source / one).times_s) for one in GOOD)


def test_outputs_are_all_that_lies_outside_vgens_own_folder(enhanced):
    outputs = {Path(one.output_uri) for one in enhanced.ran.report.videos if one.status == "done"}
    assert {enhanced.destination / one for one in outputs_of(enhanced.destination)} == outputs
    manifests = enhanced.destination / "_vgen" / "manifests"
    held = {str(path.relative_to(manifests))[:-5] for path in manifests.rglob("*.json")}
    assert held == set(outputs_of(enhanced.destination))


def test_published_videos_leave_no_chunks(enhanced):
    assert not [p for p in (enhanced.destination / "_vgen" / "chunks").rglob("*") if p.is_file()]


def test_json_on_stdout_is_the_report_and_nothing_else(enhanced):
    [stored] = (enhanced.destination / "_vgen" / "runs").glob("*/report.json")
    assert json.loads(enhanced.ran.stdout) == json.loads(stored.read_bytes())
    assert stored.parent.name == enhanced.ran.report.run_id
    assert "Traceback" not in enhanced.ran.stderr


def test_a_second_run_skips_everything_and_touches_nothing(enhanced, vgen):
    before = outputs_of(enhanced.destination)
    ran = vgen(
        "enhance", enhanced.source, enhanced.destination, "--json", "--encode.preset", "ultrafast",
        "--release", enhanced.ran.report.release,
    )  # fmt: skip
    assert (ran.report.totals.done, ran.report.totals.skipped) == (0, len(GOOD))
    assert outputs_of(enhanced.destination) == before


@pytest.fixture(scope="module")
def identities(archive, vgen, tmp_path_factory) -> Iterator[dict[str, Enhanced]]:
    """The good clips through release identity and a lossless codec, in spans of three sizes."""
    source = tmp_path_factory.mktemp("good")
    for name in GOOD:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(archive / name, source / name)
    made = {}
    for size, flags in {"7": ["--span-frames", "7"], "auto": []}.items():
        destination = tmp_path_factory.mktemp("lossless") / size
        ran = vgen(
            "enhance", source, destination, "--json", "--release", "identity",
            "--encode.codec", "ffv1", *flags,
        )  # fmt: skip
        assert ran.status == 0, ran.stderr
        made[size] = Enhanced(source=source, destination=destination, ran=ran)
    return made


@pytest.mark.parametrize("size", ["7", "auto"])
@pytest.mark.parametrize("name", GOOD)
def test_identity_and_a_lossless_codec_give_the_sources_own_frames(identities, name, size):
    """The program hashes both in their native pixel format, so that is held as well."""
    made = identities[size]
    source = shown(made.source / name)
    assert shown(Path(made.video(name).output_uri)).hashes == source.hashes


def test_the_number_of_spans_follows_the_flag(identities):
    spans = {size: spans_of(one.destination) for size, one in identities.items()}
    frames = identities["7"].video("plain.mp4").frames
    assert sum(one["frames"] for one in spans["7"]) == sum(one["frames"] for one in spans["auto"])
    assert max(one["frames"] for one in spans["7"]) <= 7
    assert len(spans["7"]) >= len(GOOD) * (frames // 7) / 2
    assert len(spans["7"]) > 2 * len(spans["auto"])
