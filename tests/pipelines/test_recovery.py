"""What goes wrong during a run: it is contained, named, and made good by the same command."""

import os
import signal
from pathlib import Path

import pytest

from pipelines.attempts import MAX_ATTEMPTS
from pipelines.claim import Publishing
from pipelines.context import Topology
from pipelines.run import Finished, Request, execute_on, prepare
from pipelines.wording import counted
from tests.media_factory import Media
from tests.pipelines.archive import add_good, add_long, names_of_spans, outputs_of, spans_of
from tests.pipelines.oracle import assert_same_times
from tests.pipelines.processes import RAY_MARKS, Vgen, chunks_of, started, wait_until
from tests.pipelines.workers import Misfortune, MisfortuneFrames
from vgen.config import EncodeSettings, Recipe
from vgen.manifest import Manifest

pytestmark = RAY_MARKS

FAULTS = {
    "poison.mp4": ("decode", "DecodeError", f"its worker process died {MAX_ATTEMPTS} times"),
    "deleted.mp4": ("decode", "DecodeError", "the source went away during the run"),
    "changed.mp4": ("decode", "DecodeError", "the source changed during the run"),
    "deleted_late.mp4": ("assemble", "DecodeError", "the source went away during the run"),
    "changed_late.mp4": ("assemble", "DecodeError", "the source changed during the run"),
}
FINE = ("innocent.mp4", "poison_once.mp4")


@pytest.fixture(scope="module")
def stricken(embedded_ray, media: Media, tmp_path_factory) -> Finished:
    """A run in which sources and workers meet with what the sources' names say."""
    folder = tmp_path_factory.mktemp("stricken")
    add_good(folder / "in", media, {"innocent.mp4": "h264_mp4"})
    add_good(folder / "in", media, dict.fromkeys((*FAULTS, "poison_once.mp4"), "vfr_mp4"))
    return execute_on(embedded_ray, prepare(request_of(folder)), say=print, worker=Misfortune)


def request_of(folder: Path, topology: Topology = "fused") -> Request:
    return Request(
        source=str(folder / "in"),
        destination=str(folder / "out"),
        recipe=Recipe(release="identity", encode=EncodeSettings(preset="ultrafast")),
        topology=topology,
    )


@pytest.mark.parametrize(("name", "fault"), FAULTS.items())
def test_a_misfortune_of_one_file_fails_that_file_and_names_it(stricken, name, fault):
    [outcome] = [one for one in stricken.report.videos if one.source_uri.endswith(f"/{name}")]
    assert outcome.status == "failed"
    stage, kind, says = fault
    assert (outcome.error.stage, outcome.error.kind) == (stage, kind)
    assert says in outcome.error.message
    assert not Path(outcome.output_uri).exists()


@pytest.mark.parametrize("name", FINE)
def test_the_others_are_done_and_a_worker_lost_once_is_replaced(stricken, name):
    [outcome] = [one for one in stricken.report.videos if one.source_uri.endswith(f"/{name}")]
    assert outcome.status == "done", outcome.error
    assert_same_times(Path(outcome.output_uri), Path(outcome.source_uri))


def test_totals_add_up_where_much_went_wrong(stricken):
    totals = stricken.report.totals
    assert totals.listed == len(stricken.report.videos) == len(FAULTS) + len(FINE)
    assert (totals.done, totals.skipped, totals.failed) == (len(FINE), 0, len(FAULTS))


def test_poison_is_found_in_the_staged_topology_too(embedded_ray, media: Media, tmp_path):
    add_good(tmp_path / "in", media, dict.fromkeys(("innocent.mp4", "poison.mp4"), "vfr_mp4"))
    finished = execute_on(
        embedded_ray,
        prepare(request_of(tmp_path, "staged")),
        say=print,
        worker=MisfortuneFrames,
    )
    innocent, poison = finished.report.videos
    assert innocent.status == "done"
    assert f"its worker process died {MAX_ATTEMPTS} times" in poison.error.message
    assert not Path(poison.output_uri).exists()


def test_a_destination_that_cannot_be_written_stops_the_run(media: Media, vgen: Vgen, tmp_path):
    add_good(tmp_path / "in", media, {"a.mp4": "vfr_mp4"})
    own = tmp_path / "out" / "_vgen"
    own.mkdir(parents=True)
    (own / "chunks").write_text("a file where the folder of chunks belongs")
    flags = ("--release", "identity", "--json")
    ran = vgen("enhance", tmp_path / "in", tmp_path / "out", *flags)
    assert ran.status == 3
    assert ran.stdout == ""
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("vgen: cannot write")
    assert last.endswith("; run the same command again to go on")
    assert "Traceback" not in ran.stderr
    (own / "chunks").unlink()
    again = vgen("enhance", tmp_path / "in", tmp_path / "out", *flags)
    assert again.status == 0
    assert_same_times(tmp_path / "out" / "a.mp4", media["vfr_mp4"])


def test_a_kill_between_output_and_manifest_is_made_good(media: Media, vgen: Vgen, tmp_path):
    """The record beside the chunks tells the output from somebody else's file."""
    add_good(tmp_path / "in", media, {"a.mp4": "vfr_mp4"})
    flags = ("--release", "identity", "--encode.preset", "ultrafast", "--json")
    assert vgen("enhance", tmp_path / "in", tmp_path / "out", *flags).status == 0
    output = tmp_path / "out" / "a.mp4"
    path = tmp_path / "out" / "_vgen" / "manifests" / "a.mp4.json"
    manifest = Manifest.model_validate_json(path.read_bytes())
    path.unlink()
    assert vgen("enhance", tmp_path / "in", tmp_path / "out", *flags).status == 1
    assert not path.exists(), "without the record it is somebody else's"
    record = Publishing(output_path="a.mp4", size_bytes=manifest.size_bytes, digest=manifest.sha256)
    chunks = tmp_path / "out" / "_vgen" / "chunks" / manifest.work_key
    chunks.mkdir(parents=True)
    (chunks / "publishing.json").write_text(record.model_dump_json())
    content = output.read_bytes()
    assert vgen("enhance", tmp_path / "in", tmp_path / "out", *flags).status == 0
    assert output.read_bytes() == content
    assert Manifest.model_validate_json(path.read_bytes()).sha256 == manifest.sha256


FLAGS = ("--encode.preset", "ultrafast", "--span-frames", "50")


@pytest.fixture(scope="module")
def long_source(media: Media, tmp_path_factory) -> Path:
    """A video of eight spans or more and a short one."""
    folder = tmp_path_factory.mktemp("long")
    add_long(folder / "long.mp4", seconds=16, size="256x192")
    add_good(folder, media, {"short.mp4": "vfr_mp4"})
    return folder


@pytest.fixture(scope="module")
def uninterrupted(long_source, vgen: Vgen, tmp_path_factory) -> dict[str, bytes]:
    """The bytes of the outputs of a run that nothing disturbs."""
    destination = tmp_path_factory.mktemp("uninterrupted") / "out"
    ran = vgen("enhance", long_source, destination, *FLAGS, "--json")
    assert ran.status == 0, ran.stderr
    assert len(spans_of(destination)) >= 9
    return {name: content for name, (_, content) in outputs_of(destination).items()}


def run_beside(source: Path, destination: Path):
    return started(
        "pipelines.cli", "enhance", source, destination, *FLAGS, "--json", "--address", "local"
    )


def assert_goes_on(vgen: Vgen, source: Path, destination: Path, whole: dict[str, bytes]) -> None:
    """Rerun what was stopped: nothing is made twice, and the outputs are those of a whole run."""
    finished = {path.name for path in chunks_of(destination)}
    published = outputs_of(destination)
    assert set(published) <= set(whole), "something else was left beside the outputs"
    ran = vgen("enhance", source, destination, *FLAGS, "--json")
    assert ran.status == 0, ran.stderr
    assert f"{counted(len(finished), 'finished chunk')} reused" in ran.stderr
    assert not finished & set(names_of_spans(destination))
    after = outputs_of(destination)
    assert {name: content for name, (_, content) in after.items()} == whole
    assert {name: after[name] for name in published} == published
    assert not chunks_of(destination)


@pytest.mark.parametrize(
    ("number", "is_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)], ids=["ctrl-c", "term"]
)
def test_an_interrupted_run_ends_cleanly_and_goes_on(
    long_source, uninterrupted, vgen: Vgen, tmp_path, number, is_group
):
    destination = tmp_path / "out"
    with run_beside(long_source, destination) as running:
        wait_until(lambda: bool(chunks_of(destination)), running)
        if is_group:
            os.killpg(running.process.pid, number)
        else:
            running.process.send_signal(number)
        status, stdout, stderr = running.end()
        assert status == 130, stderr
        assert stdout == ""
        assert f"interrupted; go on with the same command: vgen enhance {long_source}" in stderr
        assert "Traceback" not in stderr
        assert running.survivors() == []
    if is_group:  # what either signal leaves behind is the same; once is enough to go on from
        assert_goes_on(vgen, long_source, destination, uninterrupted)


def test_a_killed_run_goes_on_and_gives_the_same_bytes(
    long_source, uninterrupted, vgen: Vgen, tmp_path
):
    destination = tmp_path / "out"
    with run_beside(long_source, destination) as running:
        wait_until(lambda: len(chunks_of(destination)) >= 2, running)
        running.kill()
        assert running.survivors() == []
    assert_goes_on(vgen, long_source, destination, uninterrupted)
