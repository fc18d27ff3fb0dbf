"""Checkpoints: whole states of a run in safetensors files, below a folder or prefix.

A file appears whole or not at all and older ones go only after it is there, so a full disk or
bucket keeps the last good one. Reading executes nothing. The format is private to the version that
wrote it.
"""

import json
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
from vgen.training.checkpoint_files import (
    FORMAT,
    METADATA_KEY,
    CheckpointRef,
    damaged,
    description_of,
    list_checkpoints,
    superfluous,
)
from vgen.training.schedule import Stage
from vgen.training.settings import TrainSettings
from vgen.training.state import CriticKind, Network, TrainState


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
    return safetensors.torch.save(tensors, metadata={METADATA_KEY: json.dumps(document)})


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
    document = description_of(content, settings, name=name)
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise damaged(name) from error
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
