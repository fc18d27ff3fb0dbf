"""Checkpoints as files: their names, what they say of themselves, and which may go; without torch.

The name holds the step and the validation score, so that there is no index to fall out of step
with the objects: ``step-00001200_score-31.4200.safetensors``.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vgen import storage
from vgen.errors import ReleaseError
from vgen.training.settings import TrainSettings

CHECKPOINTS = "checkpoints"
"""Folder of a run."""
FORMAT = 3
KEEP_NEWEST = 2
METADATA_KEY = "vgen-checkpoint"
_MAX_HEADER_BYTES = 16 << 20
_NAME = re.compile(r"step-(\d+)_score-(-?\d+\.\d+)\.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRef:
    """A checkpoint as its name describes it."""

    uri: str
    step: int
    score: float


def list_checkpoints(folder_uri: str) -> list[CheckpointRef]:
    """Return the checkpoints in a folder, oldest first; other files are passed over.

    Raises:
        StorageError: it cannot be listed.
    """
    found = []
    for one in storage.list_objects(folder_uri, max_depth=1):
        match = _NAME.fullmatch(storage.name_of(one.uri))
        if match is not None:
            found.append(CheckpointRef(uri=one.uri, step=int(match[1]), score=float(match[2])))
    return sorted(found, key=lambda ref: ref.step)


def superfluous(found: Sequence[CheckpointRef], *, keep_best: int) -> list[CheckpointRef]:
    """Return which of ``found``, oldest first, may go."""
    best = sorted(found, key=lambda ref: (ref.score, ref.step), reverse=True)[:keep_best]
    kept = {ref.uri for ref in (*found[-KEEP_NEWEST:], *best)}
    return [ref for ref in found if ref.uri not in kept]


def check_run(run_uri: str, settings: TrainSettings) -> None:
    """Check that a run, if it has begun, can go on with ``settings``; only a header is read.

    Raises:
        ReleaseError: its newest checkpoint is of another recipe or version, or damaged.
        StorageError: it cannot be read.
    """
    found = list_checkpoints(storage.join(run_uri, CHECKPOINTS))
    if not found:
        return
    newest = found[-1]
    length = int.from_bytes(storage.read_bytes(newest.uri, 0, 8), "little")
    head = storage.read_bytes(newest.uri, 0, 8 + min(length, _MAX_HEADER_BYTES))
    description_of(head, settings, name=storage.name_of(newest.uri))


def description_of(content: bytes, settings: TrainSettings, *, name: str) -> dict[str, object]:
    """Return what a checkpoint says of itself, once it is known to fit.

    Args:
        content: Of the file, its header at least.
        settings: Of the run that goes on.
        name: Of the checkpoint, for messages.

    Raises:
        ReleaseError: it is damaged, of another version, or of another recipe.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        document = json.loads(header["__metadata__"][METADATA_KEY])
        if not isinstance(document, dict):
            raise TypeError("the description is no object")
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(name) from error
    if document.get("format") != FORMAT:
        raise ReleaseError(
            f"checkpoint {name} has format {document.get('format')!r}, not {FORMAT}; finish the "
            "run with the version that began it, or start in another folder"
        )
    _check_recipe(document.get("recipe"), settings, name)
    return document


def damaged(name: str) -> ReleaseError:
    """Return what to raise of a file that is not as it was written."""
    return ReleaseError(f"checkpoint {name} is damaged; delete it to go on from the one before")


def _check_recipe(found: object, settings: TrainSettings, name: str) -> None:
    # What a checkpoint does not mention was not there yet when it was made: its default.
    defaults = _flat(TrainSettings(steps=1).identity())
    theirs, ours = defaults | _flat(found), _flat(settings.identity())
    odd = sorted(key for key in theirs | ours if theirs.get(key) != ours.get(key))
    if odd:
        key = odd[0]
        raise ReleaseError(
            f"checkpoint {name} was made with {key} {theirs.get(key)!r}, not {ours.get(key)!r}; "
            "give the same recipe to go on, or start in another folder"
        )


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix.removesuffix("."): value}
    return {
        k: v for key, below in value.items() for k, v in _flat(below, f"{prefix}{key}.").items()
    }
