"""The flow as a command on a machine of its own: no server, cluster or store."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.flows.stand import ROOT, is_foreign

LOOPBACK_ONLY = ["unshare", "--map-root-user", "--net", "sh", "-c"]
LOOPBACK_UP = 'ip link set lo up && exec "$0" "$@"'


@dataclass(kw_only=True)
class Offline:
    """A folder with an archive, and the command over it, which runs once at a time."""

    folder: Path
    run: subprocess.Popen[bytes] | None = None
    """The latest."""

    @property
    def source(self) -> Path:
        return self.folder / "in"

    @property
    def destination(self) -> Path:
        return self.folder / "out"

    def begin(self) -> None:
        """Start the command."""
        home = self.folder / "home"  # of a machine that has never run a flow
        home.mkdir(exist_ok=True)
        own = {name: value for name, value in os.environ.items() if not is_foreign(name)}
        environment = own | {
            "HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "VGEN_SCRATCH": str(home),
        }
        command = [
            *without_network(), sys.executable, "-m", "flows.enhance_library",
            str(self.source), str(self.destination), "--release=identity",
        ]  # fmt: skip
        with self._printed("out").open("wb") as out, self._printed("err").open("wb") as err:
            self.run = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=err)

    def end(self) -> tuple[dict[str, Any], str]:
        """Wait for its end; return what it printed as JSON, and its log."""
        assert self.run is not None
        code = self.run.wait()
        out, err = (self._printed(name).read_text() for name in ("out", "err"))
        assert code == 0, out + err
        return json.loads(out), err

    def close(self) -> None:
        """End it if nobody has waited for it."""
        if self.run is not None:
            self.run.terminate()
            self.run.wait()

    def _printed(self, name: str) -> Path:
        return self.folder / f"{name}.txt"


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
