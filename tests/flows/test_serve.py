"""``deploy/prefect.yaml`` holds what the flows take, for a worker and without one."""

import tomllib
from pathlib import Path

import pytest

from flows.serve import DEPLOYMENTS, DeploymentEntry, main, read_deployments
from vgen.config import Recipe
from vgen.errors import ConfigError

RECIPES = sorted((DEPLOYMENTS.parent / "recipes").glob("*.toml"))


@pytest.fixture(scope="module")
def entries() -> dict[str, DeploymentEntry]:
    return {entry.name: entry for entry in read_deployments(DEPLOYMENTS)}


def test_the_three_flows_are_deployed(entries):
    assert {"enhance-library", "nightly", "train-release"} <= set(entries)
    for name in ("enhance-library", "nightly", "train-release"):
        assert entries[name].flow().name == name


def test_every_parameter_is_one_that_its_flow_takes(entries):
    for entry in entries.values():
        flow = entry.flow()
        checked = flow.validate_parameters(entry.parameters)
        assert set(checked) >= set(entry.parameters)


def test_no_run_ends_because_the_server_is_away(entries):
    """As Prefect would end it for a deployment's own limit; ``flows.overlap`` has another one."""
    assert [name for name, one in entries.items() if one.concurrency_limit is not None] == []


def test_nights_are_at_one_o_clock(entries):
    (schedule,) = entries["nightly"].deployment().schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone, schedule.active) == (
        "0 1 * * *", "UTC", True,
    )  # fmt: skip


def test_training_waits_until_somebody_switches_it_on(entries):
    assert [one.active for one in entries["train-release"].deployment().schedules] == [False]


def test_each_week_trains_anew(entries):
    assert entries["train-release"].parameters["weekly"] is True


def test_a_served_deployment_is_found_from_any_folder(entries):
    deployment = entries["enhance-library"].deployment()
    assert deployment.entrypoint == "flows.enhance_library.enhance_library"
    assert deployment.parameters == entries["enhance-library"].parameters
    assert set(deployment.tags) == {"vgen", "on-object"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_each_recipe_has_a_deployment_that_says_the_same(entries, path):
    recipe = Recipe.model_validate(tomllib.loads(path.read_text()))
    deployed = entries[f"enhance-{path.stem}"].parameters["recipe"]
    assert Recipe.model_validate(deployed) == recipe


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot read"),
        ("a: [", "lists no deployments"),
        ("name: x", "lists no deployments"),
        ("deployments: [{name: x}]", "entrypoint: Field required"),
        ("deployments: [{name: x, entrypoint: 'os:system'}]", "entrypoint"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text, says):
    path = tmp_path / "prefect.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_deployments(path)


def test_an_entrypoint_must_be_a_flow():
    entry = DeploymentEntry(name="x", entrypoint="flows/serve.py:main")
    with pytest.raises(ConfigError, match=r"flows/serve.py:main is no flow"):
        entry.flow()


def test_a_missing_file_is_one_sentence(tmp_path, capsys):
    assert main(["--file", str(tmp_path / "none.yaml")]) == 2
    assert "cannot read" in capsys.readouterr().err
