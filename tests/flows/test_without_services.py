"""The flow as a command, with no server, cluster or store, and where possible no network."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.flows.stand import ROOT, is_foreign

pytestmark = [pytest.mark.prefect, pytest.mark.ray]

LOOPBACK_ONLY = ["unshare", "--map-root-user", "--net", "sh", "-c"]
LOOPBACK_UP = 'ip link set lo up && exec "$0" "$@"'


def without_network() -> list[str]:
    """Return what to put before a command so that it reaches nothing but this machine."""
    able = (
        all(map(shutil.which, ("unshare", "ip")))
        and (
            subprocess.run([*LOOPBACK_ONLY, "ip link set lo up"], check=False, capture_output=True)
        ).returncode
        == 0
    )
    return [*LOOPBACK_ONLY, LOOPBACK_UP] if able else []


def test_the_command_enhances_and_then_finds_nothing_to_do(media, tmp_path):
    source, destination, home = (tmp_path / name for name in ("in", "out", "home"))
    for folder in (source, home):
        folder.mkdir()
    shutil.copy(media["h264_mp4"], source / "a.mp4")
    own = {name: value for name, value in os.environ.items() if not is_foreign(name)}
    environment = own | {
        "HOME": str(home),  # a machine that has never run a flow
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "VGEN_SCRATCH": str(home),
    }
    command = [
        *without_network(), sys.executable, "-m", "flows.enhance_library",
        str(source), str(destination), "--release=identity",
    ]  # fmt: skip

    def run() -> tuple[dict[str, object], str]:
        began_s = time.monotonic()
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        print(f"ended after {time.monotonic() - began_s:.1f} s")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout), done.stderr

    first, _ = run()
    assert (first["done"], first["skipped"], first["failed"]) == (1, 0, 0)
    assert (destination / "a.mp4").is_file()
    second, log = run()
    assert (second["done"], second["skipped"], second["failed"]) == (0, 1, 0)
    assert "nothing to do" in log
