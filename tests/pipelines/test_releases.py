"""Names, promotions, rollbacks and mixes, through the command line."""

import json

import pytest

from pipelines.cli import main
from pipelines.release_files import release_path, resolve_release
from pipelines.run import Request, prepare
from tests.pipelines.shelves import make_dream, make_good, make_stills, make_toy
from vgen import storage
from vgen.config import Recipe
from vgen.errors import ReleaseError
from vgen.models import registry
from vgen.models.release import bundled_releases, read_header, release_digest
from vgen.training.promote import Decision

QUICK = ("--damages", "noise 25", "--device", "cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_stills(tmp_path_factory.mktemp("clean") / "stills")


@pytest.fixture(autouse=True)
def no_registry(monkeypatch):
    monkeypatch.delenv("VGEN_REGISTRY", raising=False)


@pytest.fixture
def shelf(tmp_path):
    return str(tmp_path / "registry")


def register(shelf, path, name):
    _, sha256 = registry.publish(shelf, name, path)
    return registry.promote(
        shelf, name, sha256=sha256, replacing=registry.current(shelf, name), decision=None
    )


def refused(capsys, *arguments) -> str:
    assert main([str(one) for one in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_registered_name_goes_before_a_bundled_one(shelf, tmp_path, monkeypatch):
    bundled = resolve_release("restore-tiny")
    assert bundled.location == "bundled:restore-tiny"
    toy = make_toy(tmp_path / "toy.safetensors")
    register(shelf, toy, "restore-tiny")
    assert resolve_release("restore-tiny") == bundled
    found = resolve_release("restore-tiny", registry=shelf)
    assert found.digest == release_digest(toy)
    assert release_path(found, tmp_path).read_bytes() == toy.read_bytes()
    monkeypatch.setenv("VGEN_REGISTRY", shelf)
    assert resolve_release("restore-tiny") == found
    assert resolve_release("identity").location == "bundled:identity"
    assert resolve_release(str(toy)).location == str(toy)


def test_a_name_that_is_not_registered_is_the_bundled_one(shelf):
    assert resolve_release("restore-tiny", registry=shelf).location == "bundled:restore-tiny"
    with pytest.raises(
        ReleaseError, match=r"no release named 'gone'; .* and none is registered in"
    ):
        resolve_release("gone", registry=shelf)


def test_a_file_that_is_not_what_was_promoted_is_refused(shelf, tmp_path):
    made = register(shelf, make_toy(tmp_path / "toy.safetensors"), "toy")
    other = make_toy(tmp_path / "other.safetensors", noise=0.1)
    storage.write_bytes(registry.release_uri(shelf, made), other.read_bytes())
    with pytest.raises(ReleaseError, match="is not the file that was promoted: expected sha256"):
        resolve_release("toy", registry=shelf)


def test_a_registry_in_a_bucket_serves_as_a_folder_does(s3, tmp_path):
    shelf = f"{s3.bucket}/models"
    toy = make_toy(tmp_path / "toy.safetensors")
    register(shelf, toy, "toy")
    found = resolve_release("toy", registry=shelf)
    assert found.location == f"{shelf}/toy/{release_digest(toy)[:16]}.safetensors"
    assert release_path(found, tmp_path).read_bytes() == toy.read_bytes()


def test_what_is_better_is_promoted_and_what_is_not_is_refused(shelf, tmp_path, clips, capsys):
    good = make_good(tmp_path / "good.safetensors")
    ask = ("--clips", str(clips), "--registry", shelf, *QUICK)
    assert main(["promote", str(good), *ask, "--json", "--dry-run"]) == 0
    assert Decision.model_validate_json(capsys.readouterr().out).against == "the input"
    assert registry.names(shelf) == ()

    assert main(["promote", str(good), *ask]) == 0
    assert "toy promoted: gains +" in capsys.readouterr().err
    first = registry.current(shelf, "toy")
    assert first.sha256 == release_digest(good)

    useless = make_toy(tmp_path / "useless.safetensors")
    assert main(["promote", str(useless), *ask, "--json"]) == 1
    captured = capsys.readouterr()
    decision = Decision.model_validate_json(captured.out)
    assert "toy refused: gains -" in captured.err
    assert decision.incumbent.release_digest == first.sha256
    assert decision.candidate.subjects == decision.incumbent.subjects
    assert registry.current(shelf, "toy") == first
    kept = [
        Decision.model_validate_json(storage.read_bytes(one.uri))
        for one in storage.list_objects(storage.join(shelf, "toy", "decisions"))
    ]
    assert [one.is_promoted for one in kept] == [True, False]
    assert kept[1] == decision

    rules = ("--min-mean-gain-db", "-99", "--max-class-loss-db", "99", "--max-flicker-rise", "99")
    assert main(["promote", str(useless), *ask, *rules]) == 0
    assert registry.current(shelf, "toy").number == 2
    capsys.readouterr()
    assert main(["releases", "toy", "--registry", shelf, "--rollback", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["number"], one["made_by"], one["is_current"]) for one in listed] == [
        (1, "promotion", False),
        (2, "promotion", False),
        (3, "rollback", True),
    ]
    assert listed[2]["sha256"] == first.sha256
    assert listed[0]["scores"].keys() == {"noise 25 on stills"}
    assert listed[0]["mean_gain_db"] > 3


def test_the_bundled_release_of_a_name_is_what_a_first_candidate_meets(shelf, tmp_path, clips):
    other = make_good(tmp_path / "other.safetensors", name="restore-tiny", changed=0.5)
    ask = ("--clips", str(clips), "--registry", shelf, *QUICK)
    assert main(["promote", str(other), *ask]) == 1
    assert registry.names(shelf) == ()


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        ("restore-tiny", "the candidate is what 'restore-tiny' stands for already"),
        ("identity", "identity has no file that could be promoted"),
        ("dream", "'dream' makes clips up and cannot restore any"),
    ],
)
def test_what_cannot_be_promoted_is_refused(candidate, says, shelf, tmp_path, clips, capsys):
    if candidate == "dream":
        candidate = make_dream(tmp_path / "dream.safetensors")
    said = refused(capsys, "promote", candidate, "--clips", clips, "--registry", shelf)
    assert says in said


def test_what_gives_no_numbers_is_never_promoted(shelf, tmp_path, clips, capsys):
    broken = make_toy(tmp_path / "toy.safetensors", noise=1e12)
    said = refused(capsys, "promote", broken, "--clips", clips, "--registry", shelf, *QUICK)
    assert "release toy gives values for a frame that are no numbers" in said
    assert registry.names(shelf) == ()
    flags = ("--registry", shelf, "--min-mean-gain-db", "nan")
    assert "finite number" in refused(capsys, "promote", broken, "--clips", clips, *flags)


def test_promoting_without_a_registry_names_the_remedy(tmp_path, clips, capsys):
    said = refused(capsys, "promote", "restore-tiny", "--clips", clips)
    assert "name a registry by --registry or VGEN_REGISTRY" in said


def test_bundled_and_registered_releases_are_listed(shelf, tmp_path, capsys):
    register(shelf, make_toy(tmp_path / "toy.safetensors"), "restore-tiny")
    assert main(["releases", "restore-tiny", "--registry", shelf, "--json"]) == 0
    bundled, registered = json.loads(capsys.readouterr().out)
    assert (bundled["origin"], bundled["is_current"]) == ("bundled", False)
    assert bundled["sha256"] == release_digest(bundled_releases()["restore-tiny"])
    assert (registered["origin"], registered["is_current"]) == (shelf, True)
    assert registered["provenance"] == {"noise": 0.0}
    assert main(["releases"]) == 0
    told = capsys.readouterr().err
    for name in bundled_releases():
        assert name in told
    assert "no release named 'gone', bundled or registered" in refused(capsys, "releases", "gone")


def test_a_decision_that_is_gone_or_broken_is_named(shelf, tmp_path, capsys):
    path = make_toy(tmp_path / "toy.safetensors")
    _, sha256 = registry.publish(shelf, "toy", path)
    told = registry.write_decision(shelf, "toy", sha256[:16], "{}")
    registry.promote(shelf, "toy", sha256=sha256, replacing=None, decision=told)
    for what in ("not readable", "gone"):
        assert main(["releases", "toy", "--registry", shelf, "--json"]) == 0
        (entry,) = json.loads(capsys.readouterr().out)
        assert (entry["mean_gain_db"], entry["scores"]) == (None, {})
        assert entry["against"] == f"unknown, as {told} is {what}"
        storage.delete(storage.join(shelf, told))


def test_two_releases_are_mixed_into_a_file(tmp_path, capsys):
    pair = [make_toy(tmp_path / f"{n}.safetensors", f"toy{n}", n / 10) for n in range(2)]
    made = tmp_path / "between.safetensors"
    arguments = ["releases", "--mix", *map(str, pair), "--at", "0.3", "-o", str(made)]
    assert main(arguments) == 0
    assert f"between is {made}" in capsys.readouterr().err
    header = read_header(made)
    assert header.name == "between"
    assert [one["share"] for one in header.provenance["mix"]] == [0.7, 0.3]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--mix", "restore-tiny", "restore-tiny"], "--mix needs --at"),
        (["--at", "0.5"], "--at and --output belong to --mix"),
        (["--rollback"], "--rollback needs the name to roll back"),
        (["--rollback", "toy"], "name a registry by --registry or VGEN_REGISTRY"),
        (
            ["--mix", "restore-tiny", "identity", "--at", "0.5", "-o", "x.safetensors"],
            "identity has no weights that could be mixed",
        ),
    ],
)
def test_a_wrong_order_about_releases_is_refused(arguments, says, capsys):
    assert says in refused(capsys, "releases", *arguments)


def test_enhance_takes_names_from_the_registry_it_is_given(shelf, clips, tmp_path):
    toy = make_toy(tmp_path / "toy.safetensors")
    register(shelf, toy, "mine")
    request = Request(
        source=str(clips),
        destination=str(tmp_path / "out"),
        recipe=Recipe(release="mine"),
        registry=shelf,
    )
    assert prepare(request, is_dry=True).release.digest == release_digest(toy)


def test_enhance_refuses_a_release_that_only_makes_clips_up(clips, tmp_path, capsys):
    dream = make_dream(tmp_path / "dream.safetensors")
    said = refused(capsys, "enhance", clips, tmp_path / "out", "--release", dream)
    assert "makes clips up and cannot restore any; use vgen generate" in said
    assert not (tmp_path / "out").exists()
