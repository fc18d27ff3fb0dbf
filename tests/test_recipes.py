"""The recipes that are delivered beside the code are recipes."""

import tomllib
from pathlib import Path

import pytest

from vgen.config import load_recipe

FOLDER = Path(__file__).parents[1] / "deploy" / "recipes"
NAMES = {"film-scan", "home-video", "broadcast-sd", "phone", "upscale"}


def test_there_is_a_recipe_for_each_common_archive():
    assert {path.stem for path in FOLDER.glob("*.toml")} == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_delivered_recipe_is_read_and_explained(name):
    path = FOLDER / f"{name}.toml"
    recipe = load_recipe(path)
    assert recipe.release in {"restore-tiny", "upscale2x-tiny"}
    # What it says is what it sets: no key is lost on the way.
    said = tomllib.loads(path.read_text())
    dumped = recipe.model_dump(mode="json")
    assert all(dumped[key] == value for key, value in said.items() if not isinstance(value, dict))
    assert set(said.get("post", {})) <= {"steps", *recipe.post.steps}
    lines = path.read_text().splitlines()
    assert all(line.startswith("# ") for line in lines[:2])
    assert not lines[2].startswith("#")
