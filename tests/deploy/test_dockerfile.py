"""The image: linted, and each of its instructions held against the repository."""

import ast
import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.files import DEPLOY, ROOT, SECRET_NAME, constraints, project
from tests.deploy.programs import check_command
from tests.deploy.variables import is_read

TARGETS = ("cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """From one FROM to the next."""

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]
    """Keyword and the rest, continued lines joined."""

    def values(self, keyword: str) -> list[str]:
        """Return the rests of all instructions of that keyword."""
        return [value for one, value in self.instructions if one == keyword]


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    found: list[tuple[str, str, list[tuple[str, str]]]] = []
    for line in text.replace("\\\n", " ").splitlines():
        keyword, _, value = " ".join(line.split()).partition(" ")
        if keyword == "FROM":
            base, _, name = value.partition(" AS ")
            found.append((name, base, []))
        elif keyword and found:
            found[-1][2].append((keyword, value))
    return {
        name: Stage(name=name, base=base, instructions=tuple(rest)) for name, base, rest in found
    }


def lineage(stages: dict[str, Stage], name: str) -> list[Stage]:
    """Return the stage and those it stands on, the lowest first."""
    stage = stages[name]
    below = lineage(stages, stage.base) if stage.base in stages else []
    return [*below, stage]


def pip_installs(stages: dict[str, Stage]) -> list[list[str]]:
    """Return the words of every ``pip install``."""
    runs = [run for stage in stages.values() for run in stage.values("RUN")]
    parts = [part for run in runs for part in run.split("&&")]
    return [
        shlex.split(part[part.index("pip install") :]) for part in parts if "pip install" in part
    ]


def test_a_linter_finds_nothing():
    program = Path(sys.executable).with_name("hadolint")
    ran = subprocess.run(
        [program, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "")


def test_cpu_is_what_a_build_without_a_target_makes(stages):
    assert list(stages)[-1] == "cpu"
    assert set(TARGETS) < set(stages)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_as_a_numbered_user_that_is_not_root(stages, target):
    users = [user for stage in lineage(stages, target) for user in stage.values("USER")]
    uid, _, gid = users[-1].partition(":")
    assert int(uid) >= 1000
    assert int(gid) >= 1000
    made = [run for stage in lineage(stages, target) for run in stage.values("RUN")]
    assert any(f"useradd --uid {uid} " in run for run in made)


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_starts_is_a_command_of_vgen(stages, target):
    check_command(json.loads(stages[target].values("CMD")[-1]))


def test_what_is_copied_is_there(stages):
    names = list(stages)
    for number, stage in enumerate(stages.values()):
        for value in stage.values("COPY"):
            words = value.split()
            if words[0].startswith("--from="):
                assert words[0].removeprefix("--from=") in names[:number]
            else:
                assert all((ROOT / source).exists() for source in words[:-1]), value


def test_each_target_takes_the_packages_of_its_own_kind(stages):
    for target in TARGETS:
        assert f"--from=packages-{target} /usr/local /usr/local" in stages[target].values("COPY")


def test_all_that_pip_installs_is_held_by_the_constraints_or_pinned(stages):
    installs = pip_installs(stages)
    assert len(installs) >= 6
    for words in installs:
        if words[-2:] == ["--editable", "."]:
            assert {"--no-deps", "--no-build-isolation"} <= set(words)
            continue
        assert words[words.index("-c") + 1] == "constraints.txt"
        for word in words[words.index("-c") + 2 :]:
            is_held = canonicalize_name(word) in constraints()
            assert is_held or re.fullmatch(r"-r|requirements.txt|setuptools==[\d.]+", word), word


def test_setuptools_is_pinned_to_one_that_can_build_the_project(stages):
    needed = Requirement("setuptools>=77").specifier
    pins = {w for words in pip_installs(stages) for w in words if w.startswith("setuptools==")}
    assert len(pins) == 1
    assert needed.contains(pins.pop().removeprefix("setuptools=="))


def test_every_dependency_has_a_tested_version():
    wanted = {canonicalize_name(Requirement(line).name) for line in project()["dependencies"]}
    assert wanted <= set(constraints())


def test_the_list_of_requirements_is_the_projects_own(stages):
    command = stages["requirements"].values("RUN")[-1]
    words = shlex.split(command)
    assert words[:2] == ["python", "-c"]
    ran = subprocess.run(
        [sys.executable, "-c", words[2]], cwd=ROOT, capture_output=True, check=True
    )
    assert ran.stdout.decode().splitlines() == project()["dependencies"]
    assert words[3:] == [">", "requirements.txt"]


def test_torch_alone_comes_from_another_index(stages):
    from_index = [words for words in pip_installs(stages) if any("--index-url" in w for w in words)]
    assert len(from_index) == 2
    for words in from_index:
        assert "--no-deps" in words
        assert words[-1] == "torch"
    assert "http" not in (DEPLOY / "Dockerfile").read_text().lower()


def test_an_index_is_given_from_outside_and_empty_by_default(stages):
    arguments = [one for stage in stages.values() for one in stage.values("ARG")]
    assert sorted(arguments) == ['TORCH_CPU_INDEX=""', 'TORCH_CUDA_INDEX=""']


def test_a_cuda_image_with_cpu_wheels_is_not_built(stages):
    run = stages["packages-cuda"].values("RUN")[-1]
    code = shlex.split(run.split("python -c")[1])[0]
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code)))
    assert "torch.version.cuda" in code


def test_base_images_have_a_version(stages):
    bases = {stage.base for stage in stages.values()} - set(stages)
    assert bases == {"python:${PYTHON}-slim-bookworm"}
    header = (DEPLOY / "Dockerfile").read_text().split("FROM")[0]
    (python,) = re.findall(r"^ARG PYTHON=([\d.]+)$", header, re.MULTILINE)
    assert Requirement(f"python{project()['requires-python']}").specifier.contains(f"{python}.0")


def test_no_secret_is_in_the_image_or_its_history(stages):
    names = [
        word.partition("=")[0]
        for stage in stages.values()
        for keyword in ("ENV", "ARG")
        for value in stage.values(keyword)
        for word in shlex.split(value)
    ]
    assert names
    assert not [name for name in names if SECRET_NAME.search(name.upper())]


@pytest.mark.parametrize("target", TARGETS)
def test_every_variable_of_the_image_is_read_by_something(stages, target):
    names = [
        word.partition("=")[0]
        for stage in lineage(stages, target)
        for value in stage.values("ENV")
        for word in shlex.split(value)
    ]
    assert "HOME" in names
    assert not [name for name in names if not is_read(name, f"vgen:{target}")]


def test_the_build_sees_the_code_and_nothing_private(tmp_path):
    wanted = {
        "pyproject.toml", "constraints.txt", "README.md", "LICENSE", ".rayignore",
        "vgen/config.py", "vgen/releases/restore-tiny.safetensors", "vgen/media/probe.py",
        "pipelines/cli.py", "pipelines/report.html.j2", "flows/serve.py",
        "deploy/prefect.yaml", "deploy/recipes/film.toml",
    }  # fmt: skip
    unwanted = {
        "deploy/.env", ".env", ".git/config", ".venv/bin/python", "tests/conftest.py",
        "docs/log.md", "vgen/__pycache__/config.cpython-311.pyc", "deploy/compose.yaml",
        "archive/film.mp4", "vgen.egg-info/PKG-INFO", ".aws/credentials",
    }  # fmt: skip
    for name in wanted | unwanted:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    sent = {name for name in exclude_paths(str(tmp_path), patterns) if (tmp_path / name).is_file()}
    assert sent - {"Dockerfile", ".dockerignore"} == wanted
