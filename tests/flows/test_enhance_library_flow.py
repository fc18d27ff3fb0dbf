"""The flow that enhances: what it refuses, finds settled, reads from a job and judges."""

import json
from dataclasses import replace

import pytest

from flows import enhance_library as module
from flows.enhance_library import check, judge, main
from flows.job_server import JobError
from flows.program import TooManyFailedError
from flows.ray_jobs import EndedJob
from flows.work import enhance_work
from pipelines.run import Request, prepare
from tests.flows.test_artifacts import outcome, report_of
from tests.media_factory import Media
from vgen.config import Recipe
from vgen.errors import ConfigError, ReleaseError

PAGE = "s3://b/out/_vgen/runs/x/report.html"


@pytest.fixture
def request_of(media: Media, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(media["h264_mp4"].read_bytes())
    source, destination = str(tmp_path / "in"), str(tmp_path / "out")
    return Request(source=source, destination=destination, recipe=Recipe(release="identity"))


@pytest.mark.parametrize(
    ("share", "is_allowed"), [(1.0, True), (0.5, True), (0.49, False), (0.0, False)]
)
def test_a_run_fails_with_a_larger_share_of_failures_than_allowed(share, is_allowed):
    report = report_of(outcome("a", "done"), outcome("b", "failed", "why"))
    if is_allowed:
        found = judge(report, PAGE, share)
        assert (found.done, found.failed) == (1, 1)
        assert found.report_uri == "s3://b/out/_vgen/runs/x/report.json"
    else:
        with pytest.raises(TooManyFailedError, match=f"1 of 2 videos failed.* = {share:g} allows"):
            judge(report, PAGE, share)


def test_an_empty_archive_is_no_failure():
    assert judge(report_of(), PAGE, 0.0).done == 0


def test_the_page_is_where_the_job_said_at_last():
    log = f"vgen: report: early\nvgen: 3 failed\nvgen: report: {PAGE}\n"
    assert (
        module._page_of(EndedJob(submission_id="j", is_joined=False, exit_code=1, log=log)) == PAGE
    )


def test_a_job_that_crashed_has_no_report():
    job = EndedJob(
        submission_id="j", is_joined=False, exit_code=1, log="Traceback\nImportError: no module\n"
    )
    with pytest.raises(JobError, match="ended without a report: ImportError: no module"):
        module._page_of(job)


def test_wrong_places_and_releases_are_refused_at_once(request_of):
    with pytest.raises(ConfigError, match="lie within each other"):
        check.fn(replace(request_of, destination=f"{request_of.source}/out"))
    with pytest.raises(ReleaseError, match="no release named"):
        check.fn(replace(request_of, recipe=Recipe(release="no-such")))


def test_an_address_that_the_environment_contradicts_is_refused_first(request_of, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere:1")
    with pytest.raises(ConfigError, match="unset RAY_ADDRESS"):
        module.enhance_library.fn(
            source=request_of.source, destination=request_of.destination, address="http://head:1"
        )


def test_the_work_of_an_archive_does_not_depend_on_its_spelling(request_of):
    one = enhance_work(prepare(request_of))
    other = enhance_work(prepare(replace(request_of, source=f"{request_of.source}/")))
    assert one == other
    assert one.arguments[:2] == (request_of.source, request_of.destination)
    assert "--release=identity" in one.arguments


def test_limits_and_reports_leave_the_work_the_same_and_quality_makes_it_another(request_of):
    quiet = Recipe(release="identity", report={"stills": False}, limits={"max_failed_share": 0.1})
    finer = Recipe(release="identity", encode={"crf": 10})
    keys = [
        enhance_work(prepare(replace(request_of, recipe=recipe))).key
        for recipe in (request_of.recipe, quiet, finer)
    ]
    assert keys[0] == keys[1] != keys[2]


def test_a_registry_travels_with_the_work(request_of, tmp_path):
    prepared = prepare(replace(request_of, registry=str(tmp_path / "registry")))
    arguments = enhance_work(prepared).arguments
    assert arguments[2:4] == ("--registry", str(tmp_path / "registry"))


def test_a_wrong_flag_is_one_sentence(request_of, capsys):
    assert main([request_of.source, request_of.destination, "--encode.crf=99"]) == 2
    assert "crf" in capsys.readouterr().err


def test_flags_become_parameters(monkeypatch, request_of, capsys):
    seen = {}

    def instead(**parameters):
        seen.update(parameters)
        return judge(report_of(), PAGE, 1.0)

    monkeypatch.setattr(module, "enhance_library", instead)
    places = [request_of.source, request_of.destination]
    assert main([*places, "--encode.crf=12", "--budget.hours=3", "--address=auto"]) == 0
    assert seen["recipe"] == Recipe(encode={"crf": 12})
    assert (seen["budget"].hours, seen["address"]) == (3.0, "auto")
    assert json.loads(capsys.readouterr().out)["page_uri"] == PAGE
