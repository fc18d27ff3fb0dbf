"""Which program reads an environment variable: asked of the programs, not of their manuals."""

import subprocess
from functools import cache
from pathlib import Path

import prefect
import ray
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.credentials import EnvProvider
from prefect.settings import Settings
from prefect.settings.legacy import _get_valid_setting_names

from tests.deploy.files import ROOT
from tests.s3 import rclone_program

# Of images that are not ours; each as its documentation spells it.
_OF_IMAGES = {
    "postgres": {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "PGDATA"},
    "grafana/grafana": {
        "GF_SECURITY_ADMIN_PASSWORD",
        "GF_ANALYTICS_REPORTING_ENABLED",
        "GF_ANALYTICS_CHECK_FOR_UPDATES",
    },
}
# Read outside of the table of botocore's session.
_OF_BOTOCORE = ("AWS_ENDPOINT_URL", "AWS_EC2_METADATA_DISABLED")
_OF_PYTHON = {"HOME", "PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
_OF_NVIDIA = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}


def is_read(name: str, image: str) -> bool:
    """Tell whether something in ``image`` reads the variable ``name``."""
    program = image.partition(":")[0]
    if program in _OF_IMAGES:
        return name in _OF_IMAGES[program]
    if program == "rclone/rclone":
        flag = "--" + name.removeprefix("RCLONE_").lower().replace("_", "-")
        return name.startswith("RCLONE_") and f" {flag} " in _rclone_flags()
    return (
        name in _OF_PYTHON | _OF_NVIDIA | _of_aws()
        or name in _get_valid_setting_names(Settings)
        or (name.startswith("VGEN_") and f'"{name}"' in _own_source())
        or (name.startswith("RAY_") and _is_of_ray(name))
        or (name == "DO_NOT_TRACK" and name in _prefect_analytics())
    )


@cache
def _of_aws() -> frozenset[str]:
    entries = [entry[1] for entry in BOTOCORE_DEFAUT_SESSION_VARIABLES.values()]
    names = {
        one for entry in entries for one in ([entry] if isinstance(entry, str) else entry or ())
    }
    keys = EnvProvider(environ={})._mapping
    return frozenset(names | {keys["access_key"], keys["secret_key"]} | set(_OF_BOTOCORE))


@cache
def _own_source() -> str:
    return "".join(
        path.read_text()
        for name in ("vgen", "pipelines", "flows")
        for path in (ROOT / name).rglob("*.py")
    )


@cache
def _is_of_ray(name: str) -> bool:
    """Tell whether the name stands in Ray's core, which is compiled, or in its Python beside it."""
    root = Path(ray.__file__).parent
    places = [root / "_private", root / "_common", root / "dashboard/modules/job"]
    files = [root / "_raylet.so", *(path for place in places for path in place.rglob("*.py"))]
    return any(name.encode() in path.read_bytes() for path in files)


@cache
def _prefect_analytics() -> str:
    return (Path(prefect.__file__).parent / "_internal/analytics/enabled.py").read_text()


@cache
def _rclone_flags() -> str:
    return subprocess.run(
        [rclone_program(), "serve", "s3", "--help"], capture_output=True, text=True, check=True
    ).stdout
