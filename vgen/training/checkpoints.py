"""Checkpoints: whole states of a run in safetensors files, below a folder or prefix.

The name holds the step and the validation score, so that there is no index to fall out of step
with the objects: ``step-00001200_score-31.4200.safetensors``. A file appears whole or not at all
and older ones go only after it is there, so a full disk or bucket keeps the last good one.
Reading executes nothing. The format is private to the version that wrote it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced

import safetensors
import safetensors.torch
import torch

from vgen import storage
from vgen.errors import ReleaseError
from vgen.models.generator import TemporalUNet
from vgen.models.ladder import new_vae
from vgen.models.unet_settings import SIZES, UNetSettings
from vgen.models.vae_settings import VAE_SIZES
from vgen.training.schedule import Stage
from vgen.training.settings import TrainSettings
from vgen.training.state import CriticKind, Network, TrainState

FORMAT = 2
KEEP_NEWEST = 2
_METADATA_KEY = "vgen-checkpoint"
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


def save_checkpoint(
    folder_uri: str, state: TrainState, settings: TrainSettings, *, score: float
) -> CheckpointRef:
    """Write the state of a run, then delete what is neither among the newest nor the best.

    Raises:
        StorageError: it cannot be written; nothing is deleted then.
    """
    name = f"step-{state.step:08d}_score-{score:.4f}.safetensors"
    uri = storage.join(folder_uri, name)
    storage.write_bytes(uri, to_bytes(state, settings))
    for ref in superfluous(list_checkpoints(folder_uri), keep_best=settings.keep_best):
        storage.delete(ref.uri)
    return CheckpointRef(uri=uri, step=state.step, score=score)


def superfluous(found: Sequence[CheckpointRef], *, keep_best: int) -> list[CheckpointRef]:
    """Return which of ``found``, oldest first, may go."""
    best = sorted(found, key=lambda ref: (ref.score, ref.step), reverse=True)[:keep_best]
    kept = {ref.uri for ref in (*found[-KEEP_NEWEST:], *best)}
    return [ref for ref in found if ref.uri not in kept]


def to_bytes(state: TrainState, settings: TrainSettings) -> bytes:
    """Return the state as the content of a safetensors file."""
    unet = state.network.settings
    document = {
        "format": FORMAT,
        "recipe": settings.identity(),
        "stage": state.stage,
        "window": unet.window if isinstance(unet, UNetSettings) else None,
        "critics": list(state.critics),
        "reference_db": state.reference_db,
        "step": state.step,
        "stage_step": state.stage_step,
        "elapsed_s": state.elapsed_s,
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors()}
    return safetensors.torch.save(tensors, metadata={_METADATA_KEY: json.dumps(document)})


def from_bytes(
    content: bytes, settings: TrainSettings, *, name: str, device: torch.device
) -> TrainState:
    """Rebuild a state.

    Args:
        content: Of the file.
        settings: Of the run that goes on.
        name: Of the checkpoint, for messages.
        device: Where the networks shall lie.

    Raises:
        ReleaseError: it is damaged, of another version, or of another recipe.
    """
    try:
        document, tensors = _parsed(content)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ReleaseError(
            f"checkpoint {name} is damaged; delete it to go on from the one before"
        ) from error
    if document.get("format") != FORMAT:
        raise ReleaseError(
            f"checkpoint {name} has format {document.get('format')!r}, not {FORMAT}; finish the "
            "run with the version that began it, or start in another folder"
        )
    _check_recipe(document.get("recipe"), settings, name)
    try:
        state = _empty_state(document, settings, device)
        state.restore(tensors)
    except (KeyError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ReleaseError(
            f"checkpoint {name} does not fit its architecture: {_first_line(error)}"
        ) from error
    return state


def new_network(settings: TrainSettings, *, window: int | None = None) -> Network:
    """Build the network that ``settings`` ask for; initial weights follow torch's seed.

    Args:
        settings: The recipe.
        window: Frames that a restoration network looks at; its size's own if None.
    """
    if settings.is_vae:
        return new_vae(VAE_SIZES[settings.size])
    unet = replaced(SIZES[settings.size], scale=settings.scale)
    return TemporalUNet(unet if window is None else replaced(unet, window=window))


def _parsed(content: bytes) -> tuple[dict[str, object], dict[str, torch.Tensor]]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    document = json.loads(header["__metadata__"][_METADATA_KEY])
    if not isinstance(document, dict):
        raise TypeError("the description is no object")
    return document, safetensors.torch.load(content)


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


def _empty_state(
    document: dict[str, object], settings: TrainSettings, device: torch.device
) -> TrainState:
    stage: Stage = document["stage"]  # type: ignore[assignment]
    window: int | None = document["window"]  # type: ignore[assignment]
    state = TrainState.fresh(new_network(settings, window=window).to(device), stage)
    critics: list[CriticKind] = document["critics"]  # type: ignore[assignment]
    if stage == "adversarial":
        state.begin_adversarial(settings.adversarial.channels, critics)
    state.reference_db = document["reference_db"]  # type: ignore[assignment]
    state.step = int(document["step"])  # type: ignore[call-overload]
    state.stage_step = int(document["stage_step"])  # type: ignore[call-overload]
    state.elapsed_s = float(document["elapsed_s"])  # type: ignore[arg-type]
    return state


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1].strip() if str(error) else type(error).__name__
