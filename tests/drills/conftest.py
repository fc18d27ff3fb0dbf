"""What drills share: the Ray of the pipelines' tests, and the table they write."""

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.pipelines.conftest import embedded_ray, s3_proxy, vgen

__all__ = ["embedded_ray", "s3_proxy", "vgen"]

TABLE = Path(__file__).parents[2] / "docs" / "drills.md"
_HEAD = """# Drills

What `make drills` found: one row a drill, appended by the drill itself.

| date | drill | command | machine | versions | figure |
|---|---|---|---|---|---|
"""

Record = Callable[[str, str], None]


@pytest.fixture
def record(request) -> Record:
    """Append a row to the table: what was drilled, and what came of it."""

    def append(drill: str, figure: str) -> None:
        if not TABLE.exists():
            TABLE.write_text(_HEAD)
        path = Path(request.node.nodeid.partition("::")[0])
        cells = [
            f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
            drill,
            f"`pytest {path} -k {request.node.originalname}`",
            _machine(),
            ", ".join(f"{name} {version(name)}" for name in ("vgen", "ray", "av", "torch")),
            figure,
        ]
        with TABLE.open("a") as table:
            table.write(f"| {' | '.join(cells)} |\n")

    return append


def _machine() -> str:
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    load = os.getloadavg()[2]
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, "
        f"load of 15 minutes {load:.0f}"
    )
