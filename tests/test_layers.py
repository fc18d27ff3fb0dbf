"""Imports point down only; the schedulers stay out of the libraries."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each layer may import of vgen itself, longest prefix first.
BASE = {
    "vgen.errors",
    "vgen.config",
    "vgen.post_options",
    "vgen.storage",
    "vgen.records",
    "vgen.manifest",
}
ALLOWED = {
    "vgen.training": {
        "vgen.training",
        "vgen.enhance",
        "vgen.models",
        "vgen.media",
        "vgen.releases",
    },
    "vgen.enhance": {"vgen.enhance", "vgen.models", "vgen.media", "vgen.post"},
    "vgen.post": {"vgen.post", "vgen.media"},
    "vgen.models": {"vgen.models", "vgen.releases"},
    "vgen.media": {"vgen.media"},
    "vgen.releases": {"vgen.releases"},
    "vgen": set(),
    "pipelines": {"vgen", "pipelines"},
    "flows": {"vgen", "pipelines", "flows"},
}
FORBIDDEN_PACKAGES = {
    "vgen.media": {"torch", "ray", "prefect"},
    "vgen.models": {"av", "ray", "prefect"},
    "vgen": {"ray", "prefect"},
    "pipelines": {"prefect"},
    "flows": set(),
}
# The base layer is imported by every driver and worker: it must stay light.
HEAVY = {"torch", "av", "cv2", "scipy", "numpy"}


def modules():
    for top in ("vgen", "pipelines", "flows"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer_of(module: str, table) -> str:
    return max((name for name in table if within(module, name)), key=len)


def within(module: str, layer: str) -> bool:
    return module == layer or module.startswith(layer + ".")


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value)[-60:])
def test_imports_point_down(module, path):
    layer = layer_of(module, ALLOWED)
    ours = {n for n in imports_of(path) if n.split(".")[0] in {"vgen", "pipelines", "flows"}}
    allowed = ALLOWED[layer] | BASE | {"vgen"} if layer != "vgen" else BASE | {"vgen"}
    reach = {n for n in ours if n != "vgen" and not any(within(n, a) for a in allowed - {"vgen"})}
    if layer in {"pipelines", "flows"}:
        reach = {n for n in ours if not any(within(n, a) for a in ALLOWED[layer])}
    assert not reach, f"{module} ({layer}) must not import {sorted(reach)}"


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value)[-60:])
def test_schedulers_and_strangers_stay_out(module, path):
    packages = {name.split(".")[0] for name in imports_of(path)}
    for layer, banned in FORBIDDEN_PACKAGES.items():
        if within(module, layer):
            assert not packages & banned, f"{module} must not import {packages & banned}"
    if any(within(module, name) for name in BASE):
        assert not packages & HEAVY, f"{module} is base and must not import {packages & HEAVY}"


def test_drivers_flows_and_watchers_do_without_torch():
    light = (
        "pipelines.cli, pipelines.enhance, pipelines.train, pipelines.train_board, flows.nightly"
    )
    code = f"import {light}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("release", ["restore-tiny", "sample-tiny"])
def test_workers_wait_for_neither_torchs_compiler_nor_for_steps_they_do_not_run(release):
    code = (
        "import vgen.enhance.stream; from vgen.enhance.enhancer import Enhancer; import sys;"
        f"Enhancer.load({release!r}, device='cpu');"
        "sys.exit(bool({'torch._dynamo', 'vgen.post.chain', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_walk_finds_the_tree():
    found = {name for name, _ in modules()}
    assert {"vgen.errors", "vgen.config"} <= found
