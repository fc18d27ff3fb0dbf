import hashlib
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations

import pytest

from vgen import storage
from vgen.errors import MissingError, StorageError
from vgen.manifest import (
    Manifest,
    chunk_prefix,
    chunk_uri,
    manifest_uri,
    manifests_prefix,
    new_run_id,
    pts_digest,
    read_manifest,
    run_uri,
    runs_prefix,
    utc_now,
    work_key,
    write_manifest,
)


def manifest_of(**changes):
    values = {
        "work_key": "k",
        "source_uri": "s3://bucket/a b\u00e9.avi",
        "source_etag": "etag",
        "source_size_bytes": 10,
        "output": "a b\u00e9.mkv",
        "size_bytes": 20,
        "sha256": "0" * 64,
        "frames": 3,
        "duration_s": 0.1,
        "frame_pts_sha256": pts_digest((0, 1, 2)),
        "release": "identity",
        "release_digest": "1" * 64,
        "recipe": {"strength": 1.0, "encode": {"crf": 18}},
        "recipe_digest": "2" * 64,
        "code_version": "0.1.0",
        "created_at": "2026-01-02T03:04:05+00:00",
        "dropped": ("subtitle 1",),
        "notes": ("a note",),
    }
    return Manifest(**{**values, **changes})


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    manifest = manifest_of()
    uri = write_manifest(str(tmp_path), manifest)
    assert uri == f"{tmp_path}/_vgen/manifests/a b\u00e9.mkv.json"
    assert read_manifest(uri) == manifest


def test_a_missing_manifest_is_told_from_a_broken_one(tmp_path):
    with pytest.raises(MissingError, match="not found"):
        read_manifest(manifest_uri(str(tmp_path), "x.mkv"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"work_key": "k"}',
        manifest_of().model_dump_json().replace("20", '"many"').encode(),
        manifest_of().model_dump_json().replace('"work_key"', '"unknown"').encode(),
        manifest_of()
        .model_dump_json()
        .replace('"format_version":1', '"format_version":2')
        .encode(),
    ],
    ids=["empty", "null", "list", "cut", "binary", "deep", "short", "type", "key", "version"],
)
def test_what_is_no_manifest_is_refused(tmp_path, content):
    uri = manifest_uri(str(tmp_path), "x.mkv")
    storage.write_bytes(uri, content)
    with pytest.raises(StorageError, match="is no manifest"):
        read_manifest(uri)


@pytest.mark.parametrize("output", ["../x", "/x", "a/../../x", ""])
def test_no_key_leaves_the_destination(output):
    with pytest.raises(ValueError, match="does not stay below"):
        manifest_uri("/destination", output)


def test_keys_lie_where_the_layout_says():
    assert manifests_prefix("s3://b/d") == "s3://b/d/_vgen/manifests"
    assert chunk_prefix("s3://b/d", "key") == "s3://b/d/_vgen/chunks/key"
    assert chunk_uri("/d", "key", "000000000-000000300") == (
        "/d/_vgen/chunks/key/000000000-000000300"
    )
    assert runs_prefix("/d") == "/d/_vgen/runs"
    assert run_uri("/d", "id") == "/d/_vgen/runs/id"


def test_the_work_key_changes_with_each_of_its_parts_and_with_nothing_else():
    parts = {
        "source_uri": "/a",
        "etag": "e",
        "release_digest": "r",
        "recipe_digest": "c",
        "plan_version": 1,
        "numerics": "cpu",
    }
    changed = {name: 2 if isinstance(value, int) else f"{value}x" for name, value in parts.items()}
    keys = {
        work_key(**{**parts, **{name: changed[name] for name in names}})
        for count in range(len(parts) + 1)
        for names in combinations(parts, count)
    }
    assert len(keys) == 2 ** len(parts)
    assert work_key(**parts) == work_key(**parts)
    assert work_key(**{**parts, "source_uri": "/ae", "etag": ""}) not in keys


def test_a_name_that_is_not_utf8_has_a_key():
    key = work_key("/caf\udce9.mp4", "e", "r", "c", 1, "cpu")
    assert len(key) == 32
    assert int(key, 16) > 0


def test_run_ids_sort_by_their_start_in_utc():
    start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    run_id = new_run_id(lambda: start, "seed")
    assert run_id == f"20260102T030405Z-{hashlib.sha256(b'seed').hexdigest()[:8]}"
    elsewhere = start.astimezone(timezone(timedelta(hours=9)))
    assert new_run_id(lambda: elsewhere, "seed") == run_id
    assert new_run_id(lambda: start, "other") != run_id
    assert new_run_id(lambda: start + timedelta(seconds=1), "seed") > run_id
    assert utc_now().utcoffset() == timedelta(0)


def test_the_pts_digest_tells_timelines_apart():
    timelines = [(), (0,), (0, 1), (1, 0), (0, 11), (-1,), (1, 1)]
    assert len({pts_digest(timeline) for timeline in timelines}) == len(timelines)
