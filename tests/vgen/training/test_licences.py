import pytest

from vgen import storage
from vgen.errors import ConfigError
from vgen.training.licences import allows_training, licences_of


@pytest.mark.parametrize(
    ("licence", "allows"),
    [
        ("CC0", True),
        ("CC BY 4.0 (repo LICENSE)", True),
        ("Apache-2.0", True),
        ("Berkeley BSDS: research", True),
        ("", False),
        ("CC BY-NC 4.0", False),
        ("all rights reserved", False),
        ("MIT (repo; clip-level not stated)", False),
        ("BSD; No licence in repo", False),
        ("CC-BY-4.0", True),
        ("CC0-1.0", True),
        ("cc by 4.0", True),
        ("mit", True),
        ("MIT License", True),
        ("BSD-3-Clause (repo); carphone is a standard sequence", True),
        ("CC BY 3.0 (Blender Foundation); repo MIT", True),
        ("repo MIT; classic Derf/SIF sequence", True),
        ("mit Auflagen", False),
        ("CC-BY-SA-4.0", False),
        ("CC BY 3.0, non-commercial use only", False),
        ("CC BY 3.0, noncommercial", False),
        ("CC BY-NC-ND 4.0; scripts MIT", False),
        ("CC-BY-ND-4.0; scripts MIT", False),
        ("CC BY 3.0, no derivatives", False),
        ("MIT code; pictures for research use only", False),
        ("MIT code; pictures: all rights reserved", False),
        ("no licence; not BSD", False),
        ("no license file; scripts MIT", False),
        ("GPL (MIT parts)", False),
        ("LGPL-2.1-or-later; examples MIT", False),
        # The one set of limited use that vgen's own networks are trained on.
        (
            "Berkeley BSDS: non-commercial research/education (repo README has no licence text)",
            True,
        ),
        ("Berkeley BSDS: footage not stated", False),
        ("like BSDS", False),
    ],
)
def test_only_a_clear_and_free_licence_allows_training(licence, allows):
    assert allows_training(licence) == allows


def put(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MANIFEST.csv").write_text(text, encoding="utf-8-sig")


def test_a_file_has_the_licence_of_its_own_row_or_else_of_its_folder(tmp_path):
    put(tmp_path, "dir,licence\nsome/where/stills,CC0\nclips,MIT\n")
    put(tmp_path / "clips", "name,licence\na.mkv,CC BY 4.0\nb.mkv,\n")
    files = ["stills/x.jpg", "clips/a.mkv", "clips/b.mkv", "other/y.jpg", "z.jpg"]
    stated = licences_of(str(tmp_path / name) for name in files)
    assert list(stated.values()) == ["CC0", "CC BY 4.0", "MIT", "", ""]


def test_a_manifest_without_the_columns_states_nothing(tmp_path):
    put(tmp_path, "a,b\n1,2\n")
    assert licences_of([str(tmp_path / "x.jpg")]) == {str(tmp_path / "x.jpg"): ""}


@pytest.mark.parametrize(
    "content", [b"name,licence\n\xff\xfe,CC0\n", b"name,licence\n" + b"x" * 200_000]
)
def test_a_manifest_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "MANIFEST.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=r"MANIFEST\.csv' as a table of licences"):
        licences_of([str(tmp_path / "x.jpg")])


def test_a_bucket_states_licences_like_a_folder(s3):
    storage.write_bytes(f"{s3.bucket}/licensed/MANIFEST.csv", b"name,licence\na.mp4,CC0\n")
    uris = [f"{s3.bucket}/licensed/a.mp4", f"{s3.bucket}/licensed/b.mp4"]
    assert list(licences_of(uris).values()) == ["CC0", ""]
