"""An output goes where nothing of somebody else's lies, and one bad name is no matter of others."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pipelines import chunks
from pipelines.attempts import MAX_ATTEMPTS
from pipelines.claim import Publishing, obstacle, pending_uri
from pipelines.naming import scan_manifests
from pipelines.sources import check_unchanged, unchanged
from pipelines.span import produce_chunk
from tests.pipelines.bare import bare
from tests.spans import ref_of
from tests.vgen.test_manifest import manifest_of
from vgen import storage
from vgen.config import Recipe
from vgen.errors import DecodeError, RefusedError, StorageError
from vgen.manifest import manifest_uri, write_manifest

RECIPE = Recipe.model_validate({"release": "identity", "encode": {"preset": "ultrafast"}})


@pytest.fixture
def produced(media, tmp_path):
    """A video whose chunks are all there."""
    one = bare(media["vfr_mp4"], tmp_path / "out", RECIPE, span_frames=None)
    assert not any(row["fault"] for row in one.produce())
    return one


def told(destination, output="sub/a.mp4", **options) -> str | None:
    options = {"source_uri": "/in/a.mkv", "is_overwrite": False} | options
    return obstacle(str(destination), output, "key", **options)


def test_an_empty_place_is_free(tmp_path):
    assert told(tmp_path) is None
    (tmp_path / "sub").mkdir()
    assert told(tmp_path) is None


def test_a_file_of_somebody_else_is_in_the_way_unless_it_may_be_replaced(tmp_path):
    storage.write_bytes(str(tmp_path / "sub" / "a.mp4"), b"mine")
    assert "was not published by vgen; move it away or use --overwrite" in told(tmp_path)
    assert told(tmp_path, is_overwrite=True) is None


def test_what_was_published_may_be_replaced_as_long_as_it_is_that(tmp_path):
    storage.write_bytes(str(tmp_path / "a.mp4"), b"1234")
    ours = manifest_of(output="a.mp4", size_bytes=4, source_uri="/in/a.mkv")
    write_manifest(str(tmp_path), ours)
    assert told(tmp_path, "a.mp4") is None
    for is_overwrite in (False, True):
        said = told(tmp_path, "a.mp4", source_uri="/other/a.mkv", is_overwrite=is_overwrite)
        assert "is the output of '/in/a.mkv'; the next run finds a name" in said
    storage.write_bytes(str(tmp_path / "a.mp4"), b"changed")
    assert "was not published by vgen" in told(tmp_path, "a.mp4")


def test_a_renamed_manifest_says_nothing_of_an_output(tmp_path):
    storage.write_bytes(str(tmp_path / "b.mp4"), b"1234")
    record = manifest_of(output="a.mp4", size_bytes=4).model_dump_json().encode()
    storage.write_bytes(manifest_uri(str(tmp_path), "b.mp4"), record)
    assert "was not published by vgen; move it away or use --overwrite" in told(tmp_path, "b.mp4")
    assert told(tmp_path, "b.mp4", is_overwrite=True) is None


def test_an_interrupted_publication_is_known_by_its_record(tmp_path):
    storage.write_bytes(str(tmp_path / "a.mp4"), b"1234")
    digest = "03ac674216f3e15c761ee1a5e255f067953623c8b388b4459e13f978d7c846f4"
    record = Publishing(output_path="a.mp4", size_bytes=4, digest=digest)
    storage.write_bytes(pending_uri(str(tmp_path), "key"), record.model_dump_json().encode())
    assert told(tmp_path, "a.mp4") is None
    storage.write_bytes(str(tmp_path / "a.mp4"), b"4321")
    assert "was not published by vgen" in told(tmp_path, "a.mp4")


@pytest.mark.parametrize("is_overwrite", [False, True])
def test_a_folder_in_the_outputs_place_fails_that_video_alone(produced, tmp_path, is_overwrite):
    (tmp_path / "out" / "vfr.mp4" / "kept").mkdir(parents=True)
    outcome = produced.assemble(is_overwrite=is_overwrite).outcome
    assert outcome.status == "failed"
    assert "is a folder; move it away" in outcome.error.message
    assert (tmp_path / "out" / "vfr.mp4" / "kept").is_dir()


def test_a_file_in_place_of_an_outputs_folder_is_told(tmp_path):
    (tmp_path / "sub").write_bytes(b"")
    assert "is a file where a folder is needed; move it away" in told(tmp_path)


def test_what_is_in_the_manifests_place_is_told_before_the_output_appears(tmp_path):
    manifests = tmp_path / "_vgen" / "manifests"
    (manifests / "a.mp4.json").mkdir(parents=True)
    assert "is a folder; the output's record goes there: rename the source" in told(
        tmp_path, "a.mp4"
    )
    (manifests / "b.mp4.json").write_bytes(b"{}")
    said = told(tmp_path, "b.mp4.json/c.mp4")
    assert "is a file where a folder is needed; the output's record goes there" in said


def test_a_folder_that_may_not_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    monkeypatch.setattr("os.access", lambda place, mode: place != tmp_path / "sub")
    assert "'sub' may not be written".replace("'sub", f"'{tmp_path}/sub") in told(tmp_path)
    assert told(tmp_path, "other/a.mp4") is None


def test_a_path_too_long_for_the_manifest_is_told(tmp_path):
    room = os.pathconf(tmp_path, "PC_PATH_MAX") - 1 - len(f"{tmp_path}/") - len("/a.mp4")
    folders = "/".join(["f" * 99] * (room // 100))
    folders += "/" + "g" * (room - len(folders) - 1)
    assert "cannot be written: File name too long" in told(tmp_path, f"{folders}/a.mp4")


def test_an_output_that_its_store_refuses_fails_its_video_alone(produced, monkeypatch):
    def refuse(path, uri, **options):
        if uri == produced.job.output_uri:
            raise RefusedError(f"cannot write {uri!r}: forbidden")
        return publish(path, uri, **options)

    publish = storage.publish
    monkeypatch.setattr(storage, "publish", refuse)
    outcome = produced.assemble().outcome
    assert outcome.status == "failed"
    assert "the output cannot be published: cannot write" in outcome.error.message


def test_a_store_that_does_not_answer_is_not_taken_for_one_without_manifests(tmp_path, monkeypatch):
    storage.write_bytes(str(tmp_path / "a.mp4"), b"1234")
    write_manifest(str(tmp_path), manifest_of(output="a.mp4", size_bytes=4))

    def fail(uri, *rest):
        raise StorageError(f"cannot read {uri!r}: no answer")

    monkeypatch.setattr("vgen.manifest.read_bytes", fail)
    with pytest.raises(StorageError, match="no answer"):
        told(tmp_path, "a.mp4")
    with pytest.raises(StorageError, match="no answer"):
        scan_manifests(str(tmp_path))


def test_a_name_too_long_for_the_destination_is_told(tmp_path):
    assert told(tmp_path, f"{'a' * 240}.mp4") is None
    assert "cannot be written: File name too long" in told(tmp_path, f"{'a' * 250}.mp4")
    assert "cannot be written: File name too long" in told(tmp_path, f"{'a' * 260}/b.mp4")


def test_a_broken_manifest_fails_its_video_alone(produced, tmp_path):
    """It used to stop the run, and every run after it."""
    (tmp_path / "out" / "vfr.mp4").write_bytes(b"whose?")
    storage.write_bytes(manifest_uri(str(tmp_path / "out"), "vfr.mp4"), b"{")
    outcome = produced.assemble().outcome
    assert outcome.status == "failed"
    assert "was not published by vgen; move it away or use --overwrite" in outcome.error.message


def test_chunks_that_another_run_used_up_count_as_done(produced, tmp_path):
    """Two runs into one destination: the second one finds the work published, and goes on."""
    chunks = tmp_path / "out" / "_vgen" / "chunks"
    shutil.copytree(chunks, tmp_path / "spare")
    first = produced.assemble().outcome
    assert not list(chunks.rglob("0*"))
    assert produced.assemble().outcome == first
    (tmp_path / "out" / "_vgen" / "manifests" / "vfr.mp4.json").unlink()
    with pytest.raises(StorageError, match="not found"):
        produced.assemble()


@pytest.mark.parametrize("attempt", range(4))
def test_runs_that_work_on_one_video_at_the_same_time_all_end_well(media, tmp_path, attempt):
    one = bare(media["one_frame_mp4"], tmp_path / "out", RECIPE, span_frames=None)

    def run(_) -> str:
        assert [row["fault"] for row in one.produce() if row["fault"]] == []
        return one.assemble().outcome.status

    # No more than starts of one span that are none of a poison file, as all are of one run here.
    with ThreadPoolExecutor(MAX_ATTEMPTS) as pool:
        assert list(pool.map(run, range(MAX_ATTEMPTS))) == ["done"] * MAX_ATTEMPTS
    assert not list((tmp_path / "out" / "_vgen" / "chunks").iterdir())


def test_a_row_that_comes_back_after_its_video_was_published_leaves_nothing(produced, tmp_path):
    """Ray repeats all rows of a block whose worker died."""
    assert produced.assemble().outcome.status == "done"
    assert all(row["is_reused"] for row in produced.produce())
    assert not list((tmp_path / "out" / "_vgen" / "chunks").rglob("*"))


@pytest.mark.parametrize("content", [None, b"changed"])
def test_a_published_output_that_was_lost_or_changed_is_made_again(produced, tmp_path, content):
    assert produced.assemble().outcome.status == "done"
    output = tmp_path / "out" / "vfr.mp4"
    before = output.read_bytes()
    output.unlink()
    if content is not None:
        output.write_bytes(content)
    assert not any(row["is_reused"] for row in produced.produce())
    assert produced.assemble(is_overwrite=True).outcome.status == "done"
    assert output.read_bytes() == before


def test_a_chunk_that_was_damaged_fails_its_video_and_is_made_anew(produced, tmp_path):
    """It used to stop every run until somebody deleted it by hand."""
    (chunk,) = (tmp_path / "out" / "_vgen" / "chunks").rglob("0*")
    content = chunk.read_bytes()
    for damaged in (content[:-1], bytes([content[0] ^ 1]) + content[1:]):
        chunk.write_bytes(damaged)
        outcome = produced.assemble().outcome
        assert outcome.status == "failed"
        assert outcome.error.message.startswith(str(chunk))
        assert "the next run makes that chunk anew" in outcome.error.message
        assert not chunk.exists()
        chunk.write_bytes(content)
    chunk.unlink()
    assert not any(row["is_reused"] for row in produced.produce())
    assert produced.assemble().outcome.status == "done"


def test_what_was_made_of_a_source_that_then_changed_is_not_kept(media, tmp_path, monkeypatch):
    source = shutil.copy(media["vfr_mp4"], tmp_path / "vfr.mp4")
    one = bare(source, tmp_path / "out", RECIPE, span_frames=None)

    def meanwhile(*arguments, **options):
        facts = produce_chunk(*arguments, **options)
        with source.open("ab") as file:
            file.write(b"more")
        return facts

    monkeypatch.setattr(chunks, "produce_chunk", meanwhile)
    (row,) = one.produce()
    assert "the source changed during the run" in row["fault"]
    assert not list((tmp_path / "out" / "_vgen" / "chunks").rglob("0*"))


def test_stills_of_an_earlier_run_are_not_shown_where_none_are_wanted(media, tmp_path):
    one = bare(media["vfr_mp4"], tmp_path / "out", RECIPE, span_frames=None)
    one.produce()
    recipe = RECIPE.model_copy(
        update={"report": RECIPE.report.model_copy(update={"stills": False})}
    )
    assert one.assemble().still is not None
    other = bare(media["vfr_mp4"], tmp_path / "other", RECIPE, span_frames=None)
    other.produce()
    other = replace(other, context=replace(other.context, recipe=recipe))
    assert other.assemble().still is None


@pytest.mark.parametrize(
    ("name", "why"), [("a?versionId=1.mp4", "with '?versionId=' in it"), ("a" * 1020, "more than")]
)
def test_a_name_that_no_bucket_takes_is_told(name, why):
    assert why in told("s3://bucket/out", name)


def test_a_source_that_changes_while_it_is_read_is_its_own_fault(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    ref = ref_of(path).model_copy(update={"etag": storage.stat(str(path)).etag})
    with pytest.raises(StorageError, match="no space"), unchanged(ref):
        raise StorageError("no space")

    def read() -> None:
        with unchanged(ref):
            path.write_bytes(b"newer")
            raise StorageError("the object changed while it was read")

    with pytest.raises(DecodeError, match="the source changed during the run"):
        read()
    path.unlink()
    with pytest.raises(DecodeError, match="went away during the run"):
        check_unchanged(ref)


def test_a_store_that_does_not_answer_is_no_fault_of_the_source(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (tmp_path / "a.mp4").write_bytes(b"x")
    ref = ref_of(tmp_path / "a.mp4").model_copy(update={"uri": "s3://bucket/a.mp4"})
    with pytest.raises(StorageError, match=r"AWS_ENDPOINT_URL"):
        check_unchanged(ref)
