import logging
import unicodedata
from itertools import permutations
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.naming import output_names, scan_manifests
from tests.vgen.test_manifest import manifest_of
from vgen import storage
from vgen.manifest import manifest_uri, write_manifest
from vgen.records import VideoRef


def refs_of(*paths):
    return [
        VideoRef(uri=f"/archive/{path}", relative_path=path, etag="1", size_bytes=1)
        for path in paths
    ]


def named(*paths, suffix=".mkv", **options):
    names = output_names(refs_of(*paths), lambda ref: suffix, **options)
    return [names[f"/archive/{path}"] for path in paths]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.avi", "a.mkv"),
        ("sub/dir.d/A.MP4", "sub/dir.d/A.mkv"),
        ("a.mkv", "a.mkv"),
        ("holiday 12.07.2024", "holiday 12.07.2024.mkv"),
        ("no_suffix", "no_suffix.mkv"),
        (".mp4", ".mp4.mkv"),
        ("a.tar.avi", "a.tar.mkv"),
    ],
)
def test_an_output_has_its_sources_path_and_its_containers_suffix(path, name):
    assert named(path) == [name]


def test_sources_that_would_share_a_name_keep_their_own_whole():
    assert named("a.avi", "a.mkv", "b.avi") == ["a.avi.mkv", "a.mkv.mkv", "b.mkv"]


def test_names_that_differ_in_case_or_normalisation_only_are_told_apart():
    for pair in (("A.mp4", "a.mp4"), ("\u00e9.mp4", "e\u0301.mp4")):
        names = named(*pair, suffix=".mp4")
        assert len({folded(name) for name in names}) == 2
        assert all(name.startswith(path) for name, path in zip(names, pair, strict=True))


def test_no_output_lies_where_another_needs_a_folder():
    assert named("a.avi", "a.mkv/b.mp4") == ["a.avi.mkv", "a.mkv/b.mkv"]


def test_a_whole_name_that_is_taken_gives_way_too():
    names = named("a.avi", "a.mkv", "a.avi.mkv")
    assert len(set(names)) == 3


def test_the_order_of_the_listing_does_not_matter():
    paths = ("a.avi", "a.mkv", "a.avi.mkv", "A.mp4", "b.mov")
    expected = dict(zip(paths, named(*paths), strict=True))
    for order in permutations(paths):
        assert dict(zip(order, named(*order), strict=True)) == expected


def test_what_is_published_keeps_its_name_when_a_neighbour_comes():
    published = {"a.mkv": "/archive/a.avi"}
    assert named("a.avi", "a.wmv", published=published) == ["a.mkv", "a.wmv.mkv"]
    assert named("a.wmv", published={"a.wmv.mkv": "/archive/a.wmv"}) == ["a.wmv.mkv"]


def test_a_published_name_of_another_source_is_not_kept():
    assert named("a.avi", published={"b.mkv": "/archive/a.avi"}) == ["a.mkv"]


def test_what_another_source_published_is_never_taken_over():
    published = {"a.mkv": "/archive/a.avi", "B.mkv": "/elsewhere/b.avi"}
    assert named("a.wmv", published=published) == ["a.wmv.mkv"]
    assert named("b.avi", published=published) == ["b.avi.mkv"]
    assert named("x.avi", published={"x.mkv/y.mkv": "/elsewhere/y"}) == ["x.avi.mkv"]


def folded(name):
    return unicodedata.normalize("NFC", name).casefold()


segment = st.text("aAbB.\u00e9", min_size=1, max_size=3).filter(lambda t: t not in {".", ".."})
path = st.builds(
    lambda folders, stem, suffix: "/".join([*folders, stem + suffix]),
    st.lists(segment, max_size=2),
    segment,
    st.sampled_from(["", ".mp4", ".mkv", ".MKV", ".avi"]),
)


@given(
    paths=st.lists(path, unique=True, max_size=12),
    suffixes=st.lists(st.sampled_from([".mp4", ".mkv"]), min_size=12, max_size=12),
)
def test_no_two_outputs_ever_share_a_place(paths, suffixes):
    refs = refs_of(*paths)
    suffix_of = dict(zip((ref.uri for ref in refs), suffixes, strict=False))
    names = output_names(refs, lambda ref: suffix_of[ref.uri])
    assert names.keys() == suffix_of.keys()
    places = [folded(name) for name in names.values()]
    assert len(set(places)) == len(places)
    folders = {str(parent) for place in places for parent in PurePosixPath(place).parents}
    assert not folders & set(places)
    for ref in refs:
        assert PurePosixPath(names[ref.uri]).parent == PurePosixPath(ref.relative_path).parent
        assert names[ref.uri].endswith(suffix_of[ref.uri])


# What a destination holds


def test_manifests_are_found_by_their_output(tmp_path):
    manifests = [manifest_of(output=name) for name in ("a.mkv", "sub/b c.mkv", "x.json")]
    for manifest in manifests:
        write_manifest(str(tmp_path), manifest)
    assert scan_manifests(str(tmp_path)) == {one.output: one for one in manifests}
    assert scan_manifests(str(tmp_path / "empty")) == {}


def test_a_broken_or_misplaced_manifest_is_left_out_and_said(tmp_path, caplog):
    destination = str(tmp_path)
    write_manifest(destination, manifest_of(output="good.mkv"))
    misplaced = manifest_of(output="elsewhere.mkv").model_dump_json().encode()
    storage.write_bytes(manifest_uri(destination, "moved.mkv"), misplaced)
    storage.write_bytes(manifest_uri(destination, "broken.mkv"), b"{")
    with caplog.at_level(logging.WARNING, "pipelines.naming"):
        assert list(scan_manifests(destination)) == ["good.mkv"]
    assert "broken.mkv" in caplog.text
    assert "'moved.mkv' names 'elsewhere.mkv'" in caplog.text
