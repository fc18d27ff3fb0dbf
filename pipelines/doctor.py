"""Whether this machine can do the work: one finding a line, each with its remedy."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement
from packaging.version import Version

from pipelines.cluster import usable_cpus
from pipelines.scratch import scratch_root
from vgen import storage
from vgen.errors import VgenError

_FREE_BYTES_WANTED = 10 << 30
_ENCODERS = ("libx264", "libx265", "libsvtav1", "prores_ks", "ffv1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor."""

    name: str
    is_fine: bool
    message: str


def examine(storage_uri: str | None) -> list[Finding]:
    """Look at packages, encoders, device, disk, and ``storage_uri`` if given."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("packages", _packages),
        ("ray", _ray),
        ("encoders", _encoders),
        ("device", _device),
        ("releases", _releases),
        ("scratch disk", _disk),
    ]
    findings = [_finding(name, check) for name, check in checks]
    if storage_uri is not None:
        findings.append(_finding("storage", lambda: _storage(storage_uri)))
    return findings


class _UnwellError(Exception):
    """A check failed; the message holds the remedy."""


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, is_fine=True, message=check())
    except (_UnwellError, VgenError, ImportError, OSError) as error:
        return Finding(name=name, is_fine=False, message=str(error))


def _packages() -> str:
    from importlib.metadata import requires

    wrong = []
    for line in requires("vgen") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = Version(version(wanted.name))
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if found not in wanted.specifier:
            wrong.append(f"{wanted.name} {found} is not {wanted.specifier}")
    if wrong:
        raise _UnwellError(f"{'; '.join(wrong)}; install with -c constraints.txt")
    return f"vgen {version('vgen')}, all dependencies in range"


def _ray() -> str:
    import os

    import ray

    place = os.environ.get("RAY_ADDRESS") or "embedded (RAY_ADDRESS is not set)"
    return f"ray {ray.__version__}, {place}, {usable_cpus()} CPUs usable here"


def _encoders() -> str:
    import av

    missing = [name for name in _ENCODERS if name not in av.codecs_available]
    if missing:
        raise _UnwellError(
            f"this build of PyAV lacks {', '.join(missing)}; install the wheel from PyPI"
        )
    return f"PyAV {av.__version__} with {', '.join(_ENCODERS)}"


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())}
        return f"torch {torch.__version__}, {torch.cuda.device_count()} GPUs: {', '.join(names)}"
    return f"torch {torch.__version__}, no GPU: networks run on the CPU"


def _releases() -> str:
    from pipelines.release_files import resolve_release
    from vgen.models.release import bundled_releases

    names = [*bundled_releases(), "identity"]
    for name in names:
        resolve_release(name)
    return ", ".join(names)


def _disk() -> str:
    root = scratch_root()
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < _FREE_BYTES_WANTED:
        raise _UnwellError(
            f"{free / 2**30:.1f} GiB free at {place}, {_FREE_BYTES_WANTED >> 30} wanted; "
            "set VGEN_SCRATCH to a larger disk"
        )
    return f"{free / 2**30:.0f} GiB free at {place}"


def _storage(uri: str) -> str:
    place = storage.normalize_uri(uri)
    storage.check_reachable(place, writable=True)
    return f"{place} is there and can be written"
