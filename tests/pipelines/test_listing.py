import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.listing import (
    MAX_NAME_BYTES,
    VIDEO_SUFFIXES,
    ListingFault,
    describe_passed_over,
    list_sources,
)
from pipelines.listing_file import MAX_LISTING_BYTES, read_listing
from vgen import storage
from vgen.errors import ConfigError, StorageError
from vgen.records import VideoRef

NOBODY = 65534


@pytest.fixture
def archive(tmp_path):
    """A folder with videos, and with what lies beside videos."""
    for name in (
        "b.mp4", "a/z.MKV", "a/b/c.avi", "a/notes.txt", "a/.hidden.mp4", ".cache/x.mp4",
        "a/._z.MKV", "_vgen/chunks/x.mp4", "cover.jpg", "no_suffix",
    ):  # fmt: skip
        write(tmp_path / "archive" / name)
    return tmp_path / "archive"


def write(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def relatives(source):
    found = list_sources(str(source))
    assert [one for one in found if isinstance(one, ListingFault)] == []
    return [one.relative_path for one in found]


def faults(source):
    return [one for one in list_sources(str(source)) if isinstance(one, ListingFault)]


# Files, folders, globs


def test_a_file_is_listed_by_its_name_whatever_it_is_called(archive):
    found = list_sources(str(archive / "a" / "b" / "c.avi"))
    assert found == [
        VideoRef(
            uri=f"{archive}/a/b/c.avi",
            relative_path="c.avi",
            etag=storage.stat(f"{archive}/a/b/c.avi").etag,
            size_bytes=1,
        )
    ]
    assert relatives(archive / "no_suffix") == ["no_suffix"]
    assert relatives(archive / "a" / ".hidden.mp4") == [".hidden.mp4"]


def test_a_folder_gives_its_videos_in_order_and_nothing_else(archive):
    assert relatives(archive) == ["a/b/c.avi", "a/z.MKV", "b.mp4"]
    assert relatives(f"{archive}/") == ["a/b/c.avi", "a/z.MKV", "b.mp4"]


@pytest.mark.parametrize(
    ("pattern", "counts"),
    [
        ("", {".jpg": 1, ".txt": 1, "": 1}),
        ("*", {".jpg": 1, "": 1}),
        ("a/**", {".txt": 1}),
        ("*.mp4", {}),
    ],
)
def test_files_that_are_not_called_like_videos_are_counted(archive, pattern, counts):
    """Hidden files, vgen's own, and what a pattern leaves out are nobody's loss."""
    passed_over = Counter()
    list_sources(f"{archive}/{pattern}", passed_over=passed_over)
    assert passed_over == counts


def test_a_folder_that_may_be_listed_and_not_entered_is_a_fault():
    """As ``chmod -R 644`` leaves them: names are there, and nothing behind them."""
    me = os.geteuid()
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        locked = Path(place, "in", "locked")
        write(locked / "a.mp4")
        locked.chmod(0o644)
        try:
            if me == 0:
                os.seteuid(NOBODY)
            (fault,) = list_sources(f"{place}/in")
        finally:
            os.seteuid(me)
            locked.chmod(0o755)
    assert fault.error.stage == "list"
    assert f"{place}/in/locked" in fault.error.message


def test_the_most_frequent_suffixes_are_told_and_the_rest_summed_up():
    passed_over = Counter({".jpg": 30, "": 2, **{f".{one}": 1 for one in "abcdefg"}})
    (line,) = describe_passed_over(passed_over)
    assert line.endswith(": 30 .jpg, 2 without a suffix, 1 .a, 1 .b, 1 .c, 1 .d, 3 others")
    assert describe_passed_over(Counter()) == []


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_every_video_suffix_counts_in_either_case(tmp_path, suffix):
    write(tmp_path / f"a{suffix}")
    write(tmp_path / f"b{suffix.upper()}")
    assert relatives(tmp_path) == [f"a{suffix}", f"b{suffix.upper()}"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.mp4", ["b.mp4"]),
        ("*", ["b.mp4"]),
        ("**/*", ["a/b/c.avi", "a/z.MKV", "b.mp4"]),
        ("a/*", ["z.MKV"]),
        ("*/*", ["a/z.MKV"]),
        ("a/**/*.avi", ["b/c.avi"]),
        ("[ab].mp4", ["b.mp4"]),
        ("?.mp4", ["b.mp4"]),
        ("a/*.txt", ["notes.txt"]),
        ("nothing*", []),
    ],
)
def test_a_glob_gives_paths_below_its_fixed_part(archive, pattern, expected):
    assert relatives(f"{archive}/{pattern}") == expected


def test_a_glob_without_a_folder_is_meant_from_here(archive, monkeypatch):
    monkeypatch.chdir(archive)
    assert relatives("*.mp4") == ["b.mp4"]


def test_a_name_with_glob_characters_is_a_name_if_it_is_there(tmp_path):
    write(tmp_path / "clip[1].mp4")
    write(tmp_path / "clip1.mp4")
    assert relatives(tmp_path / "clip[1].mp4") == ["clip[1].mp4"]
    (tmp_path / "clip[1].mp4").unlink()
    assert relatives(tmp_path / "clip[1].mp4") == ["clip1.mp4"]


def test_a_prefix_of_a_store_is_listed_like_a_folder(s3, tmp_path):
    base = storage.join(s3.bucket, tmp_path.name)
    for name in ("b.mp4", "a/z z.MKV", "a/n.txt", "_vgen/c.mp4"):
        storage.write_bytes(storage.join(base, name), b"x")
    storage.write_bytes(f"{base}2/other.mp4", b"x")
    for source in (base, f"{base}/", f"{base}/**/*"):
        assert relatives(source) == ["a/z z.MKV", "b.mp4"]
    assert relatives(f"{base}/*") == ["b.mp4"]
    assert relatives(f"{base}/a/z z.MKV") == ["z z.MKV"]


@pytest.mark.parametrize("source", ["nothing", "nothing.txt", "nothing/"])
def test_a_source_that_is_not_there_is_refused(tmp_path, source):
    with pytest.raises(ConfigError, match="nothing lies at"):
        list_sources(f"{tmp_path}/{source}")


# What cannot be used is said


def test_a_broken_link_to_a_video_is_a_fault(tmp_path):
    write(tmp_path / "good.mp4")
    for name in ("gone.mp4", "gone_disk", "gone.txt", ".gone.mp4"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    found = list_sources(str(tmp_path))
    assert [one.uri for one in found] == [
        f"{tmp_path}/good.mp4",
        f"{tmp_path}/gone.mp4",
        f"{tmp_path}/gone_disk",
    ]
    assert "cannot be read: No such file" in found[1].error.message
    assert found[1].error.stage == "list"


def test_a_folder_that_cannot_be_read_is_a_fault(tmp_path, monkeypatch):
    write(tmp_path / "closed.d" / "a.mp4")
    scan = os.scandir

    def refuse(folder):
        if str(folder).endswith("closed.d"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    (fault,) = faults(tmp_path)
    assert "Permission denied" in fault.error.message


def test_a_name_that_is_not_utf8_is_a_fault_that_json_can_hold(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    Path(os.fsdecode(path)).write_bytes(b"x")
    (fault,) = faults(tmp_path)
    assert "is not UTF-8; rename it" in fault.error.message
    assert ListingFault.model_validate_json(fault.model_dump_json()) == fault


def test_videos_below_a_folder_that_is_not_utf8_are_faults(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"x")
    (fault,) = faults(folder)
    assert "is not UTF-8; rename it" in fault.error.message
    assert ListingFault.model_validate_json(fault.model_dump_json()) == fault


def test_a_name_too_long_for_its_output_is_a_fault(tmp_path):
    fits, long = "f" * (MAX_NAME_BYTES - 4) + ".mp4", "l" * (MAX_NAME_BYTES - 3) + ".mp4"
    write(tmp_path / fits)
    write(tmp_path / long)
    found = list_sources(str(tmp_path))
    assert [one.uri for one in found] == [f"{tmp_path}/{fits}", f"{tmp_path}/{long}"]
    assert f"at most {MAX_NAME_BYTES}" in found[1].error.message


def test_keys_that_no_folder_can_hold_are_faults():
    base = "memory://odd-keys"
    storage.write_bytes(f"{base}/a//b.mp4", b"x")
    (fault,) = faults(base)
    assert "empty, '.' or '..' segment" in fault.error.message


# Listings


def test_a_text_listing_skips_blanks_and_comments(archive):
    listing = write(archive / "list.txt", b"\xef\xbb\xbf# mine\n\n  b.mp4  \r\n\ta/z.MKV\n #x\n")
    assert relatives(listing) == ["a/z.MKV", "b.mp4"]


def test_a_text_listing_breaks_at_line_ends_only(tmp_path):
    """Form feeds and Unicode's line separator may be part of a name."""
    names = ["a\fb.mp4", "c\u2028d.mp4", "e\x85f.mp4"]
    for name in names:
        write(tmp_path / name)
    listing = write(tmp_path / "list.txt", "\r".join(names).encode())
    assert relatives(listing) == sorted(names)


@pytest.mark.parametrize(
    "content",
    [
        "uri,title\nb.mp4,B\na/z.MKV,Z\n",
        "title,URI\nB,b.mp4\nZ,a/z.MKV\n",
        "b.mp4,B\na/z.MKV,Z\n",
        "file\nb.mp4\na/z.MKV\n",
        '"b.mp4"\r\n\r\n"a/z.MKV"\r\n',
    ],
)
def test_a_csv_listing_uses_its_uri_column_or_the_first(archive, content):
    assert relatives(write(archive / "list.csv", content.encode())) == ["a/z.MKV", "b.mp4"]


def test_an_empty_csv_lists_nothing(archive):
    assert relatives(write(archive / "list.csv", b"")) == []


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("names", [("title", "uri"), ("path", "title")])
def test_a_parquet_listing_uses_its_uri_column_or_the_first(archive, kind, names):
    uris = pa.array(["b.mp4", None, "", "a/z.MKV"], kind)
    titles = pa.array(["B", "", "", "Z"])
    columns = [uris if name in {"uri", "path"} else titles for name in names]
    pq.write_table(pa.table(columns, names), archive / "list.parquet")
    assert relatives(archive / "list.parquet") == ["a/z.MKV", "b.mp4"]


def test_a_name_with_a_newline_can_be_listed(archive):
    write(archive / "new\nline.mp4")
    listing = write(archive / "list.csv", b'uri\n"new\nline.mp4"\n')
    assert relatives(listing) == ["new\nline.mp4"]


def test_missing_and_refused_entries_are_faults_and_stop_nothing(archive):
    entries = ["b.mp4", "gone.mp4", "a", "http://host/x.mp4", "s3://", "b.mp4"]
    found = list_sources(str(write(archive / "list.txt", "\n".join(entries).encode())))
    assert [one.relative_path for one in found if isinstance(one, VideoRef)] == ["b.mp4"]
    kinds = {one.uri: one.error.kind for one in found if isinstance(one, ListingFault)}
    assert kinds == {
        f"{archive}/gone.mp4": "MissingError",
        f"{archive}/a": "RefusedError",
        "http://host/x.mp4": "ConfigError",
        "s3://": "ConfigError",
    }


def test_entries_below_the_listing_keep_their_place_as_it_grows(archive):
    listing = write(archive / "list.txt", b"a/b/c.avi\n")
    assert relatives(listing) == ["a/b/c.avi"]
    write(listing, f"a/b/c.avi\n{archive}/b.mp4\n".encode())
    assert relatives(listing) == ["a/b/c.avi", "b.mp4"]


def test_entries_elsewhere_are_relative_to_the_folder_they_share(archive, tmp_path):
    write(tmp_path / "other" / "b.mp4")
    listing = write(tmp_path / "lists" / "x.txt", b"../other/b.mp4\n../archive/a/z.MKV\n")
    assert relatives(listing) == ["archive/a/z.MKV", "other/b.mp4"]
    write(listing, f"{archive}/a/z.MKV\n".encode())
    assert relatives(listing) == ["z.MKV"]


def test_a_listing_may_mix_stores(s3, archive, tmp_path):
    base = storage.join(s3.bucket, tmp_path.name)
    storage.write_bytes(f"{base}/c.mp4", b"x")
    listing = write(tmp_path / "list.txt", f"{base}/c.mp4\n{archive}/b.mp4\n".encode())
    assert relatives(listing) == [
        f"local{archive}/b.mp4",
        f"s3/bucket/{tmp_path.name}/c.mp4",
    ]


def test_a_listing_in_a_store_names_what_lies_beside_it(s3, tmp_path):
    base = storage.join(s3.bucket, tmp_path.name)
    storage.write_bytes(f"{base}/in/c.mp4", b"x")
    storage.write_bytes(f"{base}/lists/l.txt", b"../in/./c.mp4\n../../../../../out.mp4\n")
    found = list_sources(f"{base}/lists/l.txt")
    assert [one.uri for one in found] == [f"{base}/in/c.mp4", "../../../../../out.mp4"]
    assert found[0].relative_path == "c.mp4"
    assert "segment '.' or '..'" in found[1].error.message


def test_an_entry_in_a_folder_of_vgens_own_is_a_fault(tmp_path):
    write(tmp_path / "_vgen" / "a.mp4")
    (fault,) = faults(write(tmp_path / "list.txt", b"_vgen/a.mp4\n"))
    assert "vgen's own _vgen folder" in fault.error.message


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("l.txt", b"\xff\xfe", "is not UTF-8"),
        ("l.csv", b'uri\n"a', "is not CSV"),
        ("l.parquet", b"PAR1", "is not Parquet"),
        ("l.parquet", b"", "is not Parquet"),
    ],
)
def test_a_broken_listing_is_refused(tmp_path, name, content, reason):
    with pytest.raises(ConfigError, match=reason):
        list_sources(str(write(tmp_path / name, content)))


@pytest.mark.parametrize("place", [10, 1000, -60])
def test_a_damaged_parquet_listing_is_refused(tmp_path, place):
    """In a page's header, in a text, and in the footer: Arrow raises another error for each."""
    path = tmp_path / "l.parquet"
    table = pa.table({"uri": ["a" * 50 + ".mp4"] * 1000})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[place : place + 16] = b"\xff" * 16
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"l\.parquet' is not Parquet: \S"):
        list_sources(str(path))


def test_a_parquet_listing_with_two_columns_of_one_name_is_refused(tmp_path):
    texts = [pa.array(["a.mp4"]), pa.array(["b.mp4"])]
    pq.write_table(pa.table(texts, names=["uri", "uri"]), tmp_path / "l.parquet")
    with pytest.raises(ConfigError, match="several columns called 'uri'"):
        list_sources(str(tmp_path / "l.parquet"))


@pytest.mark.parametrize(
    ("table", "reason"),
    [(pa.table({}), "has no column"), (pa.table({"uri": [1, 2]}), "must hold text")],
)
def test_a_parquet_file_without_text_is_refused(tmp_path, table, reason):
    pq.write_table(table, tmp_path / "l.parquet")
    with pytest.raises(ConfigError, match=reason):
        list_sources(str(tmp_path / "l.parquet"))


def test_a_listing_that_is_too_large_is_refused_unread(tmp_path):
    path = write(tmp_path / "l.txt")
    with path.open("wb") as file:
        file.truncate(MAX_LISTING_BYTES + 1)
    with pytest.raises(ConfigError, match="more than"):
        read_listing(str(path))


def test_a_store_that_fails_is_no_empty_archive(s3):
    with pytest.raises(StorageError, match="bucket does not exist"):
        list_sources("s3://no-such-bucket/**/*.mp4")
