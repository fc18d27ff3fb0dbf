"""A release: immutable weights in one safetensors file, described by its own header.

The header (8 bytes of little-endian length, then JSON) is parsed here without torch and
without trusting it: releases come from strangers. Loading executes nothing.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vgen.errors import ReleaseError
from vgen.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

MAX_HEADER_BYTES = 1 << 20
MAX_NAME_LENGTH = 100
MAX_DIMENSIONS = 8
FORMAT = 1
METADATA_KEY = "vgen"
"""One entry holds everything: safetensors does not keep the order of several."""

_DTYPE_BYTES = {"F32": 4, "F16": 2}

Setting = int | float | str | list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHeader:
    """What a release says about itself."""

    name: str
    """Letters, digits, dot, dash and underscore."""
    spec: ModelSpec
    """What the network needs from whoever runs it."""
    settings: Mapping[str, Setting]
    """The architecture's own numbers; checked when the network is built."""
    provenance: Mapping[str, object]
    """Training data, recipe, code version, scores, licence note: JSON values, for people."""


IDENTITY = ReleaseHeader(
    name="identity",
    spec=ModelSpec(
        architecture="identity", scale=1, lead=0, tail=0, multiple_of=1, receptive_radius=0
    ),
    settings={},
    provenance={"about": "passes frames through; no file and no weights"},
)
IDENTITY_DIGEST = hashlib.sha256(IDENTITY.spec.to_json().encode()).hexdigest()
"""Stands for a file's digest where keys are derived from one."""


@dataclass(frozen=True, slots=True)
class _Layout:
    header: ReleaseHeader
    shapes: Mapping[str, tuple[int, ...]]


def bundled_releases() -> Mapping[str, Path]:
    """Return the releases that come with vgen by name; ``identity`` has no file."""
    folder = Path(__file__).parent.parent / "releases"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def release_digest(path: Path) -> str:
    """Return the SHA-256 of the file as hex; ``Path("identity")`` gives ``IDENTITY_DIGEST``."""
    if path == Path(IDENTITY.name):
        return IDENTITY_DIGEST
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ReleaseError(f"cannot read release {str(path)!r}: {error.strerror}") from error


def read_header(path: Path) -> ReleaseHeader:
    """Read what the release at ``path`` says about itself, without torch and without weights.

    Raises:
        ReleaseError: the file cannot be read, is no release, or contradicts itself.
    """
    return _read_layout(path).header


def load_network(path: Path) -> tuple[ReleaseHeader, "torch.nn.Module"]:
    """Build the network of the release at ``path``: float32, on the CPU, in eval mode.

    Raises:
        ReleaseError: as ``read_header``, or weights that do not fit the architecture.
    """
    # Imported here because plans are made from headers where torch is not wanted.
    import safetensors.torch
    import torch

    from vgen.models.build import build_network

    layout = _read_layout(path)
    header = layout.header
    # On the meta device nothing is allocated before the shapes are known to agree.
    try:
        network, spec = build_network(
            header.spec.architecture, header.settings, device=torch.device("meta")
        )
    except ReleaseError as error:
        raise ReleaseError(f"{path.name}: {error}") from error
    if spec != header.spec:
        raise ReleaseError(
            f"{path.name}: its spec {header.spec.to_json()} does not follow from its settings"
        )
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if expected != layout.shapes:
        odd = min(set(expected.items()) ^ set(layout.shapes.items()))[0]
        raise ReleaseError(
            f"{path.name}: tensor {odd!r} is missing, unknown or misshaped: "
            f"expected {expected.get(odd)}, got {layout.shapes.get(odd)}"
        )
    try:
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ReleaseError(f"{path.name}: weights cannot be read: {error}") from error
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise ReleaseError(f"{path.name}: tensor {key!r} holds values that are not finite")
    # Assigned weights would keep the file's float16, and share its memory map.
    network.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    return header, network.eval().requires_grad_(False)


def check_restores(name: str, spec: ModelSpec) -> None:
    """Raise ``ReleaseError`` if the release ``name`` does not make given frames better."""
    if not spec.restores:
        raise ReleaseError(
            f"release {name!r} makes clips up and cannot restore any; use vgen generate"
        )


def save_release(
    path: Path,
    *,
    name: str,
    network: "torch.nn.Module",
    spec: ModelSpec,
    settings: Mapping[str, Setting],
    provenance: Mapping[str, object],
    is_half: bool = False,
) -> None:
    """Write ``network``, folded, as a release; the same arguments give the same bytes.

    Args:
        path: The file; it appears whole or not at all.
        name: What people call it.
        network: Trained or already folded.
        spec: What it needs from whoever runs it.
        settings: What rebuilds the architecture.
        provenance: JSON values about where the weights come from.
        is_half: Store float16, at half the size; it is run in float32 all the same.

    Raises:
        ReleaseError: a name or provenance that cannot be stored, weights that are not finite.
    """
    # Imported here for the same reason as in load_network.
    import safetensors.torch
    import torch

    from vgen.models.generator import folded_state

    _checked_name(name)
    dtype = torch.float16 if is_half else torch.float32
    state = {key: value.to("cpu", dtype) for key, value in folded_state(network).items()}
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise ReleaseError(f"tensor {key!r} holds values that are not finite")
    document = {
        "format": FORMAT,
        "name": name,
        "spec": json.loads(spec.to_json()),
        "settings": dict(settings),
        "provenance": dict(provenance),
    }
    try:
        text = json.dumps(document, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ReleaseError(f"provenance of {name!r} is not JSON: {error}") from error
    state = {key: value.contiguous() for key, value in state.items()}
    partial_path = path.with_name(f".{path.name}.{os.getpid()}")
    # Not save_file: that makes the file readable by its owner alone, whatever the umask.
    partial_path.write_bytes(safetensors.torch.save(state, metadata={METADATA_KEY: text}))
    partial_path.replace(path)


def _read_layout(path: Path) -> _Layout:
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size_bytes < 8 or length > min(MAX_HEADER_BYTES, size_bytes - 8):
                raise ReleaseError(f"{path.name} is not a safetensors file of {size_bytes} bytes")
            raw = stream.read(length)
    except OSError as error:
        raise ReleaseError(f"cannot read release {str(path)!r}: {error.strerror}") from error
    try:
        return _parse_layout(raw, data_bytes=size_bytes - 8 - length)
    except ReleaseError as error:
        raise ReleaseError(f"{path.name}: {error}") from error


def _parse_layout(raw: bytes, *, data_bytes: int) -> _Layout:
    entries = _parse_object(raw.decode("utf-8", errors="replace"), "header")
    metadata = entries.pop("__metadata__", None)
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ReleaseError("a safetensors file, but not a vgen release: its metadata lack 'vgen'")
    shapes = {name: _tensor_shape(name, entry, data_bytes) for name, entry in entries.items()}
    return _Layout(_parse_header(text), shapes)


def _parse_header(text: str) -> ReleaseHeader:
    document = _parse_object(text, "metadata")
    if document.get("format") != FORMAT:
        raise ReleaseError(f"release format {document.get('format')!r} is not {FORMAT}")
    odd = sorted(set(document) ^ {"format", "name", "spec", "settings", "provenance"})
    if odd:
        raise ReleaseError(f"metadata key {odd[0]!r} is missing or unknown")
    name, provenance = document["name"], document["provenance"]
    if not isinstance(provenance, dict):
        raise ReleaseError("metadata key 'provenance' must be an object")
    return ReleaseHeader(
        name=_checked_name(name),
        spec=ModelSpec.from_mapping(document["spec"]),
        settings=_checked_settings(document["settings"]),
        provenance=provenance,
    )


def _parse_object(text: str, what: str) -> dict[str, object]:
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ReleaseError(f"{what} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ReleaseError(f"{what} must be a JSON object, got {type(document).__name__}")
    return document


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _tensor_shape(name: str, entry: object, data_bytes: int) -> tuple[int, ...]:
    fields = entry if isinstance(entry, dict) else {}
    shape, offsets = _counts(fields.get("shape")), _counts(fields.get("data_offsets"))
    dtype = fields.get("dtype")
    if shape is None or offsets is None or len(offsets) != 2:
        raise ReleaseError(f"tensor {name!r} has no usable shape and offsets")
    if not isinstance(dtype, str) or dtype not in _DTYPE_BYTES:
        raise ReleaseError(f"tensor {name!r} is {dtype!r}, not one of {', '.join(_DTYPE_BYTES)}")
    start, stop = offsets
    if stop > data_bytes or stop - start != math.prod(shape) * _DTYPE_BYTES[dtype]:
        raise ReleaseError(f"tensor {name!r} does not lie inside the file; it may be truncated")
    return shape


def _counts(values: object) -> tuple[int, ...] | None:
    """Return ``values`` if it is a list of counts; type() because JSON's true is an int."""
    if not isinstance(values, list) or len(values) > MAX_DIMENSIONS:
        return None
    if any(type(value) is not int or not 0 <= value < 1 << 40 for value in values):
        return None
    return tuple(values)


def _checked_settings(settings: object) -> Mapping[str, Setting]:
    if not isinstance(settings, dict):
        raise ReleaseError("metadata key 'settings' must be an object")
    for key, value in settings.items():
        items = value if isinstance(value, list) else [value]
        if any(type(item) not in {int, float, str, bool} for item in items):
            raise ReleaseError(f"setting {key!r} is {value!r}, not a number, a string or a list")
    return settings


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise ReleaseError(f"release name {name!r} must be 1 to {MAX_NAME_LENGTH} characters")
    if not all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in name):
        raise ReleaseError(f"release name {name!r} may hold letters, digits, '.', '_' and '-'")
    return name
