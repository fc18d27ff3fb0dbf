"""The deployment files, read; and what they must agree with."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
IMAGE_NAMES = ("vgen", "REGISTRY/vgen")
REFERENCE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
"""A variable in compose.yaml: its name, ``-`` or ``?``, and the default or the complaint."""
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|AUTH_STRING|ACCESS_KEY|CREDENTIAL")


@cache
def project() -> dict[str, object]:
    """Return the table ``project`` of pyproject.toml."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


@cache
def constraints() -> dict[str, str]:
    """Return the tested version by normalized name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in wanted}


def documents(path: Path) -> list[dict]:
    """Return the YAML documents of a file."""
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def variables_of_example() -> dict[str, str]:
    """Return names and values of ``.env.example``."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    return dict(pairs)


def image_role(image: str) -> str | None:
    """Return cpu or cuda for an image of this project at its version, None for another's.

    Raises:
        AssertionError: it is this project's at another version.
    """
    name, _, tag = image.partition(":")
    if name not in IMAGE_NAMES:
        return None
    version, _, role = tag.partition("-")
    assert version == project()["version"], f"{image} is not of this version"
    assert role in ("cpu", "cuda"), image
    return role


def walk(node: object) -> Iterator[object]:
    """Yield ``node`` and all that is in it."""
    yield node
    below = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    for one in below:
        yield from walk(one)


def hosts_of(node: object) -> set[tuple[str, int]]:
    """Return host and port of all URLs and addresses in the strings of ``node``."""
    found = set()
    for one in walk(node):
        if isinstance(one, str):
            for host, port in re.findall(r"(?:://|=|^)([a-z][a-z0-9.-]*):(\d{2,5})(?:/|$)", one):
                found.add((host, int(port)))
    return found


# Of images that are not ours, as their documentation says.
_LISTENS = {"postgres": {5432}, "grafana": {3000}, "prometheus": {9090}}


def ports_of(name: str, service: dict) -> set[int]:
    """Return where a service listens, as its command line says."""
    words = " ".join(service.get("command", []))
    found = {
        int(port)
        for port in re.findall(r"--(?:dashboard-|metrics-export-)?(?:port|addr)[= ]:?(\d+)", words)
    }
    if "ray start" in words:
        found.add(52365)  # of every node's agent, Ray's default
    if "--with-healthcheck" in words:
        found.add(8080)  # Prefect's default
    return found | _LISTENS.get(name, set())
