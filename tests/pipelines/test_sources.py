"""Objects that ranges do not serve are fetched once by whoever works on them."""

import errno
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines.probing import probe_source
from pipelines.release_files import resolve_release
from pipelines.sources import drop_copies, local_copy
from vgen import storage
from vgen.config import Recipe
from vgen.errors import FullError, StorageError
from vgen.records import VideoRef


@pytest.fixture
def fetched(monkeypatch, tmp_path) -> list[Path]:
    """Where objects were copied to, one after the other; scratch lies in ``tmp_path``."""
    monkeypatch.setenv("VGEN_SCRATCH", str(tmp_path / "scratch"))
    places: list[Path] = []
    whole = MemoryFileSystem.get_file

    def counted(self, path, target, *arguments, **options):
        places.append(Path(target))
        return whole(self, path, target, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", counted)
    return places


def fail(monkeypatch, error: Exception) -> None:
    """Let every copy of an object end with ``error``."""

    def failing(*arguments, **options):
        raise error

    monkeypatch.setattr(MemoryFileSystem, "get_file", failing)


def stored(path: Path) -> VideoRef:
    uri = f"memory://archive/{path.name}"
    storage.write_bytes(uri, path.read_bytes())
    found = storage.stat(uri)
    return VideoRef(uri=uri, relative_path=path.name, etag=found.etag, size_bytes=found.size_bytes)


def test_an_object_that_grew_since_it_was_listed_fails_alone(media, fetched):
    """As one does that is still being uploaded; it used to stop the run."""
    ref = stored(media["mpeg4_avi"])
    storage.write_bytes(ref.uri, media["mpeg4_avi"].read_bytes() + b"more")
    probed = probe_source(ref, Recipe(), resolve_release("restore-tiny").spec, None)
    assert probed.fault.stage == "probe"
    assert "the source changed during the run" in probed.fault.message


@pytest.mark.parametrize("clip", ["mpeg4_avi", "h264_ts"])
def test_a_probe_fetches_an_object_once_into_scratch_and_leaves_nothing(
    media, fetched, tmp_path, clip
):
    spec = resolve_release("restore-tiny").spec
    probed = probe_source(stored(media[clip]), Recipe(), spec, None)
    assert probed.fault is None
    assert [place.is_relative_to(tmp_path / "scratch") for place in fetched] == [True]
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), FullError),
        (OSError(errno.EHOSTUNREACH, "No route to host"), StorageError),
    ],
)
def test_a_full_disk_or_a_store_without_an_answer_is_no_fault_of_the_video(
    media, fetched, monkeypatch, error, kind
):
    """The latter used to fail every video of the archive, one after the other."""
    fail(monkeypatch, error)
    spec = resolve_release("restore-tiny").spec
    with pytest.raises(kind, match=rf"cannot download .*: {error.strerror}"):
        probe_source(stored(media["mpeg4_avi"]), Recipe(), spec, None)


def test_an_object_that_may_not_be_read_fails_its_video(media, fetched, monkeypatch):
    fail(monkeypatch, PermissionError(errno.EACCES, "Access Denied"))
    spec = resolve_release("restore-tiny").spec
    fault = probe_source(stored(media["mpeg4_avi"]), Recipe(), spec, None).fault
    assert "not allowed" in fault.message


def test_an_object_that_went_away_fails_its_video(media, fetched):
    ref = stored(media["mpeg4_avi"])
    storage.delete(ref.uri)
    probed = probe_source(ref, Recipe(), resolve_release("restore-tiny").spec, None)
    assert "not found" in probed.fault.message


def test_an_mp4_is_not_fetched(media, fetched):
    spec = resolve_release("restore-tiny").spec
    assert probe_source(stored(media["h264_mp4"]), Recipe(), spec, None).fault is None
    assert fetched == []


def test_a_copy_is_kept_until_it_is_dropped(media, fetched):
    ref = stored(media["mpeg4_avi"])
    for _ in range(2):
        with local_copy(ref) as path:
            assert Path(path).read_bytes() == media["mpeg4_avi"].read_bytes()
    assert len(fetched) == 1
    drop_copies()
    assert not Path(path).exists()
