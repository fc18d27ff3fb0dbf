import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Timer

import pytest

from vgen import storage
from vgen.errors import ReleaseError, StorageError
from vgen.models import registry
from vgen.models.generator import TemporalUNet
from vgen.models.release import release_digest, save_release
from vgen.models.unet_settings import UNetSettings, unet_spec

SETTINGS = UNetSettings(window=1, channels=4, encoder=(0, 0, 0), decoder=(0, 0))


def make_release(path, note):
    save_release(
        path,
        name="toy",
        network=TemporalUNet(SETTINGS, is_folded=True),
        spec=unet_spec(SETTINGS),
        settings=SETTINGS.to_mapping(),
        provenance={"note": note},
    )
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return [make_release(folder / f"{number}.safetensors", number) for number in range(4)]


@pytest.fixture
def shelf(tmp_path):
    return str(tmp_path / "registry")


def promote(shelf, path, name="toy"):
    _, sha256 = registry.publish(shelf, name, path)
    return registry.promote(
        shelf, name, sha256=sha256, replacing=registry.current(shelf, name), decision=None
    )


def test_the_highest_number_is_current(shelf, files):
    assert registry.current(shelf, "toy") is None
    assert registry.names(shelf) == ()
    for number in range(1, 13):
        made = promote(shelf, files[number % 4])
        assert made.number == number
        assert registry.current(shelf, "toy") == made
    assert [one.number for one in registry.history(shelf, "toy")] == list(range(1, 13))
    assert registry.names(shelf) == ("toy",)


def test_files_lie_where_the_layout_says(shelf, files):
    made = promote(shelf, files[0])
    told = registry.write_decision(shelf, "toy", made.version, "{}")
    digest = release_digest(files[0])
    found = [storage.relative_to(one.uri, shelf) for one in storage.list_objects(shelf)]
    assert set(found) == {"toy/current/1.json", told, f"toy/{digest[:16]}.safetensors"}
    assert registry.release_uri(shelf, made) == f"{shelf}/toy/{digest[:16]}.safetensors"
    assert made.sha256 == digest
    assert storage.read_bytes(registry.release_uri(shelf, made)) == files[0].read_bytes()


def test_publishing_changes_nothing_that_is_current(shelf, files):
    made = promote(shelf, files[0])
    registry.publish(shelf, "toy", files[1])
    registry.publish(shelf, "toy", files[0])
    assert registry.current(shelf, "toy") == made


def test_rolling_back_goes_back_step_by_step(shelf, files):
    first, second, third = (promote(shelf, files[number]) for number in range(3))
    back = registry.roll_back(shelf, "toy")
    assert (back.number, back.restores, back.sha256) == (4, 2, second.sha256)
    assert registry.roll_back(shelf, "toy").sha256 == first.sha256
    with pytest.raises(ReleaseError, match="'toy' has no version before the current one"):
        registry.roll_back(shelf, "toy")
    fourth = promote(shelf, files[3])
    assert fourth.number == 6
    # Before the fourth the first was in force again, and not the third.
    assert registry.roll_back(shelf, "toy").sha256 == first.sha256
    assert first.sha256 != third.sha256


def test_what_was_never_promoted_cannot_be_rolled_back(shelf):
    with pytest.raises(ReleaseError, match="'toy' has no version before"):
        registry.roll_back(shelf, "toy")


def test_a_promotion_that_was_overtaken_is_refused(shelf, files):
    seen = promote(shelf, files[0])
    promote(shelf, files[1])
    _, sha256 = registry.publish(shelf, "toy", files[2])
    for stale in (seen, None):
        with pytest.raises(ReleaseError, match="by someone else at the same time"):
            registry.promote(shelf, "toy", sha256=sha256, replacing=stale)
    assert registry.current(shelf, "toy").sha256 == release_digest(files[1])


def test_only_what_is_published_can_be_promoted(shelf, files):
    with pytest.raises(StorageError, match="is not there; publish the release before"):
        registry.promote(shelf, "toy", sha256=release_digest(files[0]), replacing=None)
    bad = files[0].with_name("bad.safetensors")
    bad.write_bytes(b"nothing")
    with pytest.raises(ReleaseError, match="not a safetensors file"):
        registry.publish(shelf, "toy", bad)


def test_a_pointer_that_is_away_while_it_is_replaced_is_waited_for(shelf, files):
    made = promote(shelf, files[0])
    place = Path(shelf) / "toy" / "current" / "1.json"
    aside = place.rename(place.with_suffix(".aside"))
    back = Timer(0.3, aside.rename, [place])
    back.start()
    assert registry.read_pointer(shelf, "toy", 1) == made
    back.join()
    with pytest.raises(StorageError, match="not found"):
        registry.read_pointer(shelf, "toy", 2)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_of_those_who_promote_at_once_the_last_to_write_wins(kind, request, tmp_path, files):
    """Whatever the store does with conditions: one pointer, whole, whose writer was told so."""
    if kind == "bucket":
        base = f"{request.getfixturevalue('s3').bucket}/race"
    else:
        base = str(tmp_path / "race")
    for attempt in range(3):
        shelf = f"{base}-{attempt}"
        before = promote(shelf, files[0])
        digests = [registry.publish(shelf, "toy", path)[1] for path in files[1:]]
        start = Barrier(len(digests))

        def attempt_one(sha256, shelf=shelf, before=before, start=start):
            start.wait()
            try:
                return registry.promote(shelf, "toy", sha256=sha256, replacing=before)
            except ReleaseError:
                return None

        with ThreadPoolExecutor(len(digests)) as pool:
            told = [made for made in pool.map(attempt_one, digests) if made is not None]
        standing = registry.current(shelf, "toy")
        assert standing.number == 2
        assert standing in told
        assert storage.exists(registry.release_uri(shelf, standing))
        if kind == "folder":
            assert told == [standing]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not json", "is no pointer to a release: document: Invalid JSON"),
        (b"{}", "is no pointer to a release: name: Field required; delete it to go back"),
        ({"version": "../../etc/passwd"}, "version: String should match pattern"),
        ({"number": 7}, "points for 'toy' number 7; it was moved or copied"),
        ({"name": "other"}, "points for 'other' number 2; it was moved or copied"),
    ],
)
def test_a_broken_pointer_is_named_and_nothing_older_is_taken(shelf, files, content, says):
    made = promote(shelf, files[0])
    if isinstance(content, dict):
        whole = json.loads(made.model_dump_json()) | {"number": 2} | content
        content = json.dumps(whole).encode()
    storage.write_bytes(f"{shelf}/toy/current/2.json", content)
    with pytest.raises(ReleaseError, match=says):
        registry.current(shelf, "toy")


def test_other_files_beside_pointers_are_none(shelf, files):
    made = promote(shelf, files[0])
    for name in ("notes.txt", ".vgen-tmp-1", "9.json.bak", "1e9.json"):
        storage.write_bytes(f"{shelf}/toy/current/{name}", b"?")
    assert registry.current(shelf, "toy") == made


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "identity", "x" * 101, "n\n", "-x"])
def test_a_name_that_no_folder_should_have_is_refused(shelf, files, name):
    with pytest.raises(ReleaseError, match="cannot be the name of a registered release"):
        registry.current(shelf, name)
    with pytest.raises(ReleaseError, match="cannot be the name of a registered release"):
        registry.publish(shelf, name, files[0])


def test_the_registry_is_asked_for_or_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("VGEN_REGISTRY", raising=False)
    assert registry.registry_uri(None) is None
    monkeypatch.setenv("VGEN_REGISTRY", "s3://models/shelf/")
    assert registry.registry_uri(None) == "s3://models/shelf"
    assert registry.registry_uri(str(tmp_path)) == str(tmp_path)
