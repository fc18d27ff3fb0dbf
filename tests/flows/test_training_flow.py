"""Training as a flow: its settings, its weeks, and what is in force already."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from flows import train_release as module
from flows.nightly import nightly
from flows.train_release import check_training, main, train_release
from flows.training import Training, load_training, of_week
from vgen.errors import ConfigError, ReleaseError
from vgen.training.settings import TrainSettings

TRAINING = Training(
    material="s3://b/clips",
    dataset="s3://b/dataset",
    run="s3://b/runs",
    recipe=TrainSettings(steps=10),
    registry="s3://b/registry",
)


@pytest.mark.parametrize(
    ("day", "folder"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-W01"),
        (datetime(2027, 1, 1, tzinfo=UTC), "2026-W53"),
        (datetime(2026, 11, 22, 23, tzinfo=UTC), "2026-W47"),
        (datetime(2026, 11, 23, 1, tzinfo=UTC), "2026-W48"),
    ],
)
def test_each_iso_week_trains_in_a_folder_of_its_own(day, folder):
    assert of_week(TRAINING, day).run == f"s3://b/runs/{folder}"
    assert of_week(TRAINING, day).dataset == TRAINING.dataset


@pytest.mark.parametrize(
    ("is_weekly", "folders"),
    [(True, ["s3://b/runs/2026-W47", "s3://b/runs/2026-W48"]), (False, ["s3://b/runs"] * 2)],
)
def test_a_weekly_training_begins_anew_in_the_second_week(monkeypatch, is_weekly, folders):
    trained = []
    monkeypatch.setattr(module, "release", lambda training, *_: trained.append(training.run))
    for day in (21, 28):
        scheduled = SimpleNamespace(scheduled_start_time=datetime(2026, 11, day, tzinfo=UTC))
        monkeypatch.setattr(module, "flow_run", scheduled)
        train_release.fn(TRAINING, weekly=is_weekly)
    assert trained == folders


def test_the_registry_is_the_named_one_else_the_environments(monkeypatch):
    monkeypatch.setenv("VGEN_REGISTRY", "s3://b/other")
    assert TRAINING.place() == "s3://b/registry"
    assert TRAINING.model_copy(update={"registry": ""}).place() == "s3://b/other"


def test_without_a_registry_nothing_can_be_promoted(monkeypatch):
    monkeypatch.delenv("VGEN_REGISTRY", raising=False)
    with pytest.raises(ConfigError, match="name a registry"):
        TRAINING.model_copy(update={"registry": ""}).place()


def test_settings_are_read_from_json(tmp_path):
    path = tmp_path / "training.json"
    path.write_text(TRAINING.model_dump_json())
    assert load_training(path) == TRAINING


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot read"),
        ("{}", "material: Field required"),
        ("{", "is refused"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path, capsys, text, says):
    path = tmp_path / "training.json"
    if text is not None:
        path.write_text(text)
    assert main([str(path)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "run", "error", "says"),
    [
        ({"start_from": "restore-tyni"}, "run", ReleaseError, "no release 'restore-tyni'"),
        ({"size": "generate-tiny"}, "run", ConfigError, "makes clips up and restores none"),
        ({"name": "identity"}, "run", ReleaseError, "identity"),
        ({}, "dataset/run", ConfigError, "lies in the dataset"),
    ],
)
def test_what_could_not_be_promoted_is_refused_before_anything_is_started(
    tmp_path, changes, run, error, says
):
    training = Training(
        material=str(tmp_path),
        dataset=str(tmp_path / "dataset"),
        run=str(tmp_path / run),
        recipe=TrainSettings(steps=10, **changes),
        registry=str(tmp_path / "registry"),
    )
    with pytest.raises(error, match=says):
        check_training.fn(training, "")


def test_a_candidate_is_named_so_that_a_job_elsewhere_finds_it(monkeypatch, tmp_path):
    asked = []
    for stage in ("check_training", "gather", "train", "promote"):
        monkeypatch.setattr(module, stage, lambda *_: SimpleNamespace(is_promoted=0, reasons=()))
    monkeypatch.setattr(module, "in_force", lambda candidate, _: asked.append(candidate))
    monkeypatch.setattr(module, "Released", SimpleNamespace)
    monkeypatch.chdir(tmp_path)
    module.release(TRAINING.model_copy(update={"run": "runs/a"}), "", None)
    assert asked == [str(tmp_path / "runs" / "a" / f"{TRAINING.recipe.name}.safetensors")]


@pytest.mark.parametrize("flow", [nightly, train_release])
def test_the_forms_show_the_settings_of_training(flow):
    definitions = flow.parameters.definitions
    assert "steps" in definitions["TrainSettings"]["properties"]
    assert "min_mean_gain_db" in definitions["PromotionRules"]["properties"]
    assert "Budget in steps" in definitions["TrainSettings"]["properties"]["steps"]["description"]
