import io
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from tests.s3 import CROWD, CROWD_BUCKET, SECRET_KEY
from vgen import storage
from vgen.errors import ConfigError, MissingError, StorageError
from vgen.storage import local, remote
from vgen.storage.faults import translated

NAMES = [
    "plain.mp4",
    "with space.mp4",
    "trailing space .mp4",
    "single'and\"double.mp4",
    "\u00fcml\u00e4ut \u65e5\u672c.mp4",
    "hash#mark.mp4",
    "question?mark.mp4",
    "per%20cent%.mp4",
    "-leading-dash.mp4",
    "~tilde.mp4",
    "st*ar[1].mp4",
    "{brace}.mp4",
    "plus+and&.mp4",
    "back\\slash.mp4",
    "a::b.mp4",
]
# rclone cannot store these on a folder; stores in general can.
CONTROL_NAMES = ["new\nline.mp4", "tab\t.mp4"]


@pytest.fixture(params=["local", "s3"])
def base(request, tmp_path):
    """The URI of an empty folder, on a file system and on a server."""
    if request.param == "local":
        return str(tmp_path / "base")
    return storage.join(request.getfixturevalue("s3").bucket, tmp_path.name)


def listed(uri, **options):
    return [storage.relative_to(found.uri, uri) for found in storage.list_objects(uri, **options)]


# Names


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("/a/b/", "/a/b"),
        ("/a/./b//c", "/a/b/c"),
        ("file:///a%20b/c%23d", "/a b/c#d"),
        ("file://localhost/a?b#c", "/a?b#c"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/pre fix/", "s3://bucket/pre fix"),
        ("S3A://bucket/k?x#y%20", "s3://bucket/k?x#y%20"),
        ("memory://x/y", "memory://x/y"),
    ],
)
def test_every_uri_has_one_spelling(text, uri):
    assert storage.normalize_uri(text) == uri
    assert storage.normalize_uri(uri) == uri


def test_a_relative_path_is_meant_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.normalize_uri("a/b") == f"{tmp_path}/a/b"


def test_dot_dot_is_resolved_as_the_system_would(tmp_path):
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "inner")
    assert storage.normalize_uri(f"{tmp_path}/link/../x") == f"{tmp_path}/real/x"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a path"),
        ("a\0b", "expected a path"),
        ("zip://inner::s3://bucket/x.zip", "zip:// is not accepted"),
        ("simplecache::s3://bucket/x", "chained"),
        ("http://169.254.169.254/latest", "http:// is not accepted"),
        ("github://x/y", "github:// is not accepted"),
        ("file://host/x", "file:///absolute/path"),
        ("file://x", "file:///absolute/path"),
        ("file:///x%00", "expected a path"),
        ("s3://", "names no bucket"),
        ("s3:///key", "names no bucket"),
        ("s3://key:secret@bucket/x", "must not hold a password"),
        ("s3://bucket/a/../b", "segment '.' or '..'"),
    ],
)
def test_uris_that_cannot_be_meant_are_refused(text, reason):
    with pytest.raises(ConfigError, match=reason):
        storage.normalize_uri(text)


def test_a_refused_password_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        storage.normalize_uri("sftp://user:hunter2@host/x")
    assert "hunter2" not in str(caught.value)


def test_local_path_refuses_an_object_of_a_store():
    assert storage.local_path("/a/b") == Path("/a/b")
    with pytest.raises(ValueError, match="not a local path"):
        storage.local_path("s3://bucket/x")


@pytest.mark.parametrize("part", ["", ".", "..", "/x", "a/../b", "a//b", "a/", "x\0"])
@pytest.mark.parametrize("base_uri", ["/data", "s3://bucket/p"])
def test_join_never_leaves_the_base(base_uri, part):
    with pytest.raises(ValueError, match="does not stay below"):
        storage.join(base_uri, part)


@pytest.mark.parametrize("base_uri", ["/", "/data", "s3://bucket", "s3://bucket/p", "memory://m"])
@given(parts=st.lists(st.text(min_size=1).filter(lambda t: "/" not in t and "\0" not in t)))
def test_relative_to_undoes_join(base_uri, parts):
    parts = [part for part in parts if part not in {".", ".."}]
    uri = storage.join(base_uri, *parts)
    if parts:
        assert storage.relative_to(uri, base_uri) == "/".join(parts)
        assert storage.name_of(uri) == parts[-1]
    for _ in parts:
        uri = storage.parent_of(uri)
    assert uri.rstrip("/") == base_uri.rstrip("/")


def test_relative_to_needs_the_base_whole():
    assert storage.relative_to("/a/b", "/a/b") == ""
    with pytest.raises(ValueError, match="does not lie below"):
        storage.relative_to("/a/bc", "/a/b")


def test_contains_sees_through_links(tmp_path):
    (tmp_path / "archive" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "archive" / "deep")
    inside = f"{tmp_path}/link/not/yet/there"
    assert storage.contains(f"{tmp_path}/archive", inside)
    assert storage.contains(f"{tmp_path}/archive", f"{tmp_path}/archive")
    assert not storage.contains(f"{tmp_path}/archive/deep", f"{tmp_path}/archive")
    assert not storage.contains(f"{tmp_path}/arch", f"{tmp_path}/archive")


def test_contains_of_stores_goes_by_name():
    assert storage.contains("s3://b/p", "s3://b/p/x")
    assert storage.contains("s3://b", "s3://b/p")
    assert not storage.contains("s3://b/p", "s3://b/prefix")
    assert not storage.contains("/b/p", "s3://b/p")


# Objects


@pytest.mark.parametrize("name", NAMES + CONTROL_NAMES)
def test_any_name_goes_in_and_out(base, tmp_path, name):
    if name in CONTROL_NAMES and not storage.is_local(base):
        base = f"memory://{tmp_path.name}"
    uri, content = storage.join(base, "f o", name), name.encode()
    storage.write_bytes(uri, content)
    assert storage.read_bytes(uri) == content
    assert storage.read_bytes(uri, 2, 5) == content[2:5]
    assert storage.exists(uri)
    assert list(storage.list_objects(base)) == [storage.stat(uri)]
    assert storage.stat(uri).size_bytes == len(content)
    with storage.open_read(uri) as file:
        file.seek(3)
        assert file.read(2) == content[3:5]
    storage.delete(uri)
    assert not storage.exists(uri)
    storage.delete(uri)


def test_ranges_are_clipped_to_the_object(base):
    uri = storage.join(base, "x")
    storage.write_bytes(uri, b"0123456789")
    assert storage.read_bytes(uri, 8, 20) == b"89"
    assert storage.read_bytes(uri, 10, 20) == b""
    assert storage.read_bytes(uri, 400) == b""
    assert storage.read_bytes(uri, 4, 4) == b""
    assert storage.read_bytes(uri, 7) == b"789"


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (3, 2)])
def test_a_range_backwards_is_a_callers_bug(tmp_path, start, stop):
    with pytest.raises(ValueError, match="0 <= start <= stop"):
        storage.read_bytes(str(tmp_path / "x"), start, stop)


def test_an_empty_object_is_an_object(base):
    uri = storage.join(base, "empty")
    storage.write_bytes(uri, b"")
    assert storage.stat(uri).size_bytes == 0
    assert storage.read_bytes(uri) == b""


def test_what_is_not_there_is_missing(base, tmp_path):
    uri = storage.join(base, "nothing")
    for use in (storage.stat, storage.read_bytes, storage.open_read):
        with pytest.raises(MissingError, match="not found"):
            use(uri)
    with pytest.raises(MissingError, match="not found"):
        storage.download(uri, tmp_path / "copy", 10)
    assert not storage.exists(uri)
    assert listed(uri) == []
    assert not storage.is_folder(uri)


def test_a_folder_is_no_object(base):
    storage.write_bytes(storage.join(base, "clip.mp4", "inner"), b"x")
    folder = storage.join(base, "clip.mp4")
    assert storage.is_folder(folder)
    assert not storage.exists(folder)
    with pytest.raises(StorageError, match="is a folder"):
        storage.stat(folder)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(StorageError, match="device, pipe or socket"):
        storage.open_read(str(tmp_path / "pipe.mp4"))
    assert listed(str(tmp_path)) == []


def test_the_etag_changes_with_the_object(base):
    uri = storage.join(base, "x")
    storage.write_bytes(uri, b"one")
    before = storage.stat(uri)
    assert storage.stat(uri) == before
    storage.write_bytes(uri, b"two")
    assert storage.stat(uri).etag != before.etag


def test_the_etag_of_a_local_file_is_its_size_and_time(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"123")
    os.utime(path, ns=(5, 7_000_000_001))
    assert storage.stat(str(path)).etag == "3-7000000001"


def test_if_absent_keeps_what_is_there(base):
    uri = storage.join(base, "x")
    assert storage.write_bytes(uri, b"first", if_absent=True)
    assert not storage.write_bytes(uri, b"second", if_absent=True)
    assert storage.read_bytes(uri) == b"first"
    assert listed(base) == ["x"]


def test_only_one_of_many_local_writers_is_first(tmp_path):
    uri, start = str(tmp_path / "x"), threading.Barrier(8)

    def write(number):
        start.wait()
        return storage.write_bytes(uri, b"%d" % number, if_absent=True)

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, first in enumerate(pool.map(write, range(8))) if first]
    assert len(won) == 1
    assert storage.read_bytes(uri) == b"%d" % won[0]


@pytest.mark.parametrize(
    ("size_bytes", "remove_source"),
    # The last goes up in parts, for a server of a store.
    [(0, True), (5, True), (5, False), (2 * remote.PART_BYTES + 3, True)],
)
def test_publish_puts_the_whole_file_there(base, tmp_path, size_bytes, remove_source):
    source = tmp_path / "made.mp4"
    content = os.urandom(1021) * (size_bytes // 1021 + 1)
    source.write_bytes(content[:size_bytes])
    uri = storage.join(base, "sub", "clip.mp4")
    storage.write_bytes(uri, b"older")
    published = storage.publish(source, uri, remove_source=remove_source)
    assert published == storage.stat(uri)
    assert source.exists() is not remove_source
    copy = tmp_path / "copy"
    storage.download(uri, copy, 1 << 26)
    assert copy.read_bytes() == content[:size_bytes]
    assert listed(base) == ["sub/clip.mp4"]


def test_publishing_what_is_not_there_is_an_error(base, tmp_path):
    with pytest.raises(MissingError, match="cannot publish"):
        storage.publish(tmp_path / "nothing", storage.join(base, "x"))
    assert listed(base) == []


def test_an_upload_that_arrives_short_is_an_error(tmp_path, monkeypatch):
    class Losing:
        def __getattr__(self, name):
            return getattr(local, name)

        def publish(self, source, uri, remove_source):
            Path(uri).write_bytes(source.read_bytes()[:-1])

    monkeypatch.setattr("vgen.storage.objects.local", Losing())
    (tmp_path / "made").write_bytes(b"12345")
    with pytest.raises(StorageError, match=r"published 5 bytes .* now has 4"):
        storage.publish(tmp_path / "made", str(tmp_path / "out"))


def test_download_refuses_what_is_too_large(base, tmp_path):
    uri = storage.join(base, "x")
    storage.write_bytes(uri, b"12345")
    with pytest.raises(StorageError, match="5 bytes, more than 4"):
        storage.download(uri, tmp_path / "copy", 4)
    assert not (tmp_path / "copy").exists()


def test_a_download_of_a_changing_object_leaves_nothing(tmp_path, monkeypatch):
    uri = str(tmp_path / "x")
    storage.write_bytes(uri, b"12345")

    class Changing:
        def __getattr__(self, name):
            return getattr(local, name)

        def fetch(self, uri, target):
            local.fetch(uri, target)
            storage.write_bytes(uri, b"new")

    monkeypatch.setattr("vgen.storage.objects.local", Changing())
    with pytest.raises(StorageError, match="changed while it was downloaded"):
        storage.download(uri, tmp_path / "copy", 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]


# Listing


def test_a_listing_is_whole_and_in_order(base):
    names = ["b.mp4", "a/z.mp4", "a/b/c.mp4", "a.mp4", "B.mp4"]
    for name in names:
        storage.write_bytes(storage.join(base, name), b"x")
    assert listed(base) == sorted(names)
    assert listed(base, max_depth=1) == ["B.mp4", "a.mp4", "b.mp4"]
    assert listed(base, max_depth=2) == ["B.mp4", "a.mp4", "a/z.mp4", "b.mp4"]


def test_a_prefix_is_a_folder_and_not_the_start_of_a_name(base):
    for name in ("pre/x", "prefix/x", "pre.mp4"):
        storage.write_bytes(storage.join(base, name), b"x")
    inside = [storage.join(base, "pre/x")]
    assert [found.uri for found in storage.list_objects(storage.join(base, "pre"))] == inside
    assert [found.uri for found in storage.list_objects(storage.join(base, "pre") + "/")] == inside
    assert not storage.is_folder(storage.join(base, "pr"))


def test_a_listing_longer_than_a_page_is_whole(s3):
    for depth in (None, 1):
        assert tuple(listed(f"s3://{CROWD_BUCKET}", max_depth=depth)) == CROWD


def test_links_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "far.mp4").write_bytes(b"x")
    (tmp_path / "tree" / "near.mp4").write_bytes(b"x")
    (tmp_path / "tree" / "sub" / "up").symlink_to(tmp_path / "tree")
    (tmp_path / "tree" / "away").symlink_to(tmp_path / "other")
    (tmp_path / "tree" / "file.mp4").symlink_to(tmp_path / "other" / "far.mp4")
    assert listed(str(tmp_path / "tree")) == ["away/far.mp4", "file.mp4", "near.mp4"]


def test_what_cannot_be_read_is_told(tmp_path):
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    told = []
    found = storage.list_objects(str(tmp_path), odd=lambda uri, why: told.append((uri, why)))
    assert list(found) == []
    assert {Path(uri).name for uri, _ in told} == {"gone.mp4", "circle"}
    assert all("cannot be read" in why for _, why in told)


def test_an_unreadable_folder_is_no_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "open.mp4").write_bytes(b"x")
    scan = os.scandir

    def refuse(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match=r"cannot list .*not allowed"):
        listed(str(tmp_path))
    told = []
    assert listed(str(tmp_path), odd=lambda *fault: told.append(fault)) == ["open.mp4"]
    assert told == [(f"{tmp_path}/closed", "cannot be read: Permission denied")]


def test_listing_a_bucket_that_is_not_there_is_an_error(s3):
    for depth in (None, 1):
        with pytest.raises(MissingError, match="bucket does not exist"):
            listed("s3://no-such-bucket/x", max_depth=depth)


def test_delete_prefix_keeps_the_neighbours(base):
    for name in ("a/x", "a/b/y", "ab/z", "a.mp4"):
        storage.write_bytes(storage.join(base, name), b"x")
    storage.delete_prefix(storage.join(base, "a"))
    storage.delete_prefix(storage.join(base, "nothing"))
    assert listed(base) == ["a.mp4", "ab/z"]


def test_two_may_delete_the_same_at_the_same_time(tmp_path):
    """As two runs into one destination do."""
    for round_number in range(5):
        chunks = tmp_path / f"chunks-{round_number}"
        for number in range(200):
            path = chunks / f"{number % 7}" / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(storage.delete_prefix, [str(chunks)] * 4))
        assert not chunks.exists()


def test_delete_prefix_removes_links_and_not_what_they_lead_to(tmp_path):
    storage.write_bytes(str(tmp_path / "kept" / "a"), b"")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "folder").symlink_to(tmp_path / "kept")
    (tmp_path / "gone" / "file").symlink_to(tmp_path / "kept" / "a")
    storage.delete_prefix(str(tmp_path / "gone"))
    assert not (tmp_path / "gone").exists()
    assert (tmp_path / "kept" / "a").is_file()


@pytest.mark.parametrize("uri", ["/", "s3://bucket", "s3://bucket/", "memory://x"])
def test_delete_prefix_refuses_a_root(uri):
    with pytest.raises(ValueError, match="refused to delete all"):
        storage.delete_prefix(uri)


# What must never be half there


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    uri = str(tmp_path / "x")
    storage.write_bytes(uri, b"old")

    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="No space left"):
        storage.write_bytes(uri, b"new")
    (tmp_path / "made").write_bytes(b"new")
    with pytest.raises(StorageError, match="No space left"):
        storage.publish(tmp_path / "made", uri)
    assert Path(uri).read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "x"]


def test_a_publish_that_is_stopped_loses_nothing(tmp_path, monkeypatch):
    def stop(source, target):
        raise KeyboardInterrupt

    (tmp_path / "made").write_bytes(b"new")
    monkeypatch.setattr(local, "_rename", stop)
    with pytest.raises(KeyboardInterrupt):
        storage.publish(tmp_path / "made", str(tmp_path / "out" / "x"), remove_source=False)
    assert (tmp_path / "made").read_bytes() == b"new"
    assert listed(str(tmp_path / "out")) == []


def test_publish_copies_where_it_cannot_move(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", refuse)
    (tmp_path / "made").write_bytes(b"new")
    storage.publish(tmp_path / "made", str(tmp_path / "out" / "x"))
    assert (tmp_path / "out" / "x").read_bytes() == b"new"
    assert not (tmp_path / "made").exists()
    assert listed(str(tmp_path / "out")) == ["x"]


UPLOAD = """
import sys
from pathlib import Path
from vgen import storage
print("ready", flush=True)
storage.publish(Path(sys.argv[1]), sys.argv[2], remove_source=False)
"""


def test_a_killed_upload_leaves_no_object(s3, tmp_path):
    """The process dies in the middle of a multipart upload to a server that reads slowly."""
    source = tmp_path / "made.mp4"
    with source.open("wb") as file:
        file.truncate(200 << 20)
    uri = storage.join(s3.bucket, tmp_path.name, "clip.mp4")
    with SlowProxy(s3.endpoint) as proxy:
        process = subprocess.Popen(
            [sys.executable, "-c", UPLOAD, str(source), uri],
            env={**os.environ, "AWS_ENDPOINT_URL": proxy.endpoint},
            cwd=Path(__file__).parents[2],
        )
        assert proxy.seen.wait(60)
        process.kill()
        process.wait(timeout=30)
    assert not storage.exists(uri)
    assert listed(storage.join(s3.bucket, tmp_path.name)) == []


class SlowProxy:
    """Passes bytes to a server until 20 MiB went through, then nothing more."""

    def __init__(self, endpoint):
        host, port = endpoint.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._passed = 0
        self.seen = threading.Event()
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception):
        for one in self._sockets:
            one.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source, target):
        try:
            while content := source.recv(1 << 16):
                self._passed += len(content)
                if self._passed > 20 << 20:
                    self.seen.set()
                    return
                target.sendall(content)
        except OSError:
            return


# Processes, threads, credentials


def test_many_threads_share_one_client(s3, tmp_path):
    uris = [storage.join(s3.bucket, tmp_path.name, str(number)) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda uri: storage.write_bytes(uri, uri.encode()), uris))
        assert list(pool.map(storage.read_bytes, uris)) == [uri.encode() for uri in uris]
    assert remote._client(uris[0])[0] is remote._client(uris[1])[0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_reads_with_a_client_of_its_own(s3, tmp_path):
    uri = storage.join(s3.bucket, tmp_path.name, "x")
    storage.write_bytes(uri, b"content")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(storage.read_bytes, [uri] * 4) == [b"content"] * 4
    assert storage.read_bytes(uri) == b"content"


def test_changed_credentials_are_seen(s3, tmp_path, monkeypatch):
    uri = storage.join(s3.bucket, tmp_path.name, "x")
    storage.write_bytes(uri, b"content")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(StorageError, match="check the credentials"):
        storage.read_bytes(uri)


def test_reading_what_changes_meanwhile_is_an_error(s3, tmp_path):
    uri = storage.join(s3.bucket, tmp_path.name, "x")
    storage.write_bytes(uri, os.urandom(1 << 20))
    with storage.open_read(uri) as file:
        file.read(10)
        storage.write_bytes(uri, b"short")
        file.seek(700_000)
        with pytest.raises(StorageError, match="cannot read"):
            file.read(10)


def test_an_open_object_serves_buffered_readers(base):
    uri = storage.join(base, "x")
    content = os.urandom(600_000)
    storage.write_bytes(uri, content)
    with io.BufferedReader(storage.open_read(uri)) as file:
        assert file.seekable()
        file.seek(-5, io.SEEK_END)
        assert file.tell() == len(content) - 5
        assert file.read() == content[-5:]
        file.seek(0)
        assert file.read() == content


def test_a_name_no_file_can_have_is_an_error_and_not_absent(tmp_path):
    for ask in (storage.exists, storage.is_folder):
        with pytest.raises(StorageError, match="File name too long"):
            ask(f"{tmp_path}/{'x' * 300}")


def test_nothing_lies_below_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert not storage.exists(f"{tmp_path}/file/x")
    assert not storage.is_folder(f"{tmp_path}/file/x")
    with pytest.raises(MissingError, match="Not a directory"):
        storage.stat(f"{tmp_path}/file/x")


class CuttingProxy:
    """Answers every request with headers that promise more bytes than come."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self._listener.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                is_head = client.recv(1 << 16).startswith(b"HEAD")
                head = b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 1000\r\n\r\n'
                client.sendall(head if is_head else head + b"only this")


def test_an_answer_that_breaks_off_is_an_error(s3, monkeypatch):
    with CuttingProxy() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        uri = storage.join(s3.bucket, "x")
        with pytest.raises(StorageError, match="cannot read"):
            storage.read_bytes(uri)
        with storage.open_read(uri) as file, pytest.raises(StorageError, match="cannot read"):
            file.read(10)


def test_no_secret_reaches_a_message(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t0k3n")
    message = "got s3cr3t with t0k3n from http://user:hunter2@host/x"
    for foreign in (OSError(message), PermissionError(message), client_error("X", message)):
        with pytest.raises(StorageError) as caught, translated("read", "s3://b/x"):
            raise foreign
        assert "got *** with *** from http://***@host/x" in str(caught.value)


def test_a_timeout_says_what_to_do():
    with pytest.raises(StorageError, match=r"no answer in time .*rerun"), translated("read", "/x"):
        raise TimeoutError


def test_what_is_a_bug_is_not_called_the_stores_fault():
    with pytest.raises(KeyError), translated("read", "/x"):
        raise KeyError("x")


# Reachability


def test_a_reachable_place_passes_and_stays_clean(base):
    storage.check_reachable(base, writable=True)
    storage.check_reachable(base, writable=False)
    assert listed(base) == []


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "check the credentials"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "set AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": "http://user:hunter2@127.0.0.1:1"}, "must not hold a user"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}, "check AWS_ENDPOINT"),
    ],
)
def test_what_is_wrong_with_a_store_is_said_with_the_remedy(
    s3, monkeypatch, writable, change, reason
):
    for name, value in change.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    with pytest.raises(ConfigError, match=reason) as caught:
        storage.check_reachable(storage.join(s3.bucket, "x"), writable=writable)
    for secret in (SECRET_KEY, "wrong-secret", "hunter2"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("writable", [True, False])
def test_a_missing_bucket_is_said_with_the_remedy(s3, writable):
    with pytest.raises(ConfigError, match="bucket does not exist; create it"):
        storage.check_reachable("s3://no-such-bucket/x", writable=writable)


def test_a_missing_or_blocked_folder_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="not found; create it"):
        storage.check_reachable(str(tmp_path / "nothing"), writable=False)
    with pytest.raises(ConfigError, match=r"cannot write .*Not a directory"):
        storage.check_reachable(str(tmp_path / "file" / "x"), writable=True)


def test_a_scheme_without_its_package_says_which():
    with pytest.raises(ConfigError, match=r"gs:// cannot be used.*gcsfs"):
        storage.stat("gs://bucket/x")


def test_a_name_that_s3fs_would_cut_is_refused(s3):
    with pytest.raises(StorageError, match="versionId"):
        storage.read_bytes(storage.join(s3.bucket, "x?versionId=1.mp4"))


def test_a_server_that_refuses_conditions_still_gets_the_object(s3, tmp_path, monkeypatch):
    uri = storage.join(s3.bucket, tmp_path.name, "x")
    client = remote._client(uri)[0]
    plain = client.pipe_file

    def refuse(path, content, mode="overwrite"):
        if mode == "create":
            raise OSError("refused") from client_error("NotImplemented")
        return plain(path, content)

    monkeypatch.setattr(client, "pipe_file", refuse)
    assert storage.write_bytes(uri, b"x", if_absent=True)
    assert storage.read_bytes(uri) == b"x"


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
def test_a_lost_race_on_a_server_that_honours_conditions_is_no_error(
    s3, tmp_path, monkeypatch, code
):
    uri = storage.join(s3.bucket, tmp_path.name, "x")
    client = remote._client(uri)[0]

    def lose(path, content, mode="overwrite"):
        raise OSError("lost") from client_error(code)

    monkeypatch.setattr(client, "pipe_file", lose)
    assert not storage.write_bytes(uri, b"x", if_absent=True)


def client_error(code, message="no"):
    return ClientError({"Error": {"Code": code, "Message": message}}, "PutObject")
