"""One training step: forward, backward, a guarded update, the moving average."""

import torch
from torch import Tensor

from vgen.training.objective import LossWeights, pixel_losses
from vgen.training.pool import Batch
from vgen.training.state import EMA_DECAY, TrainState

MAX_GRADIENT_NORM = 0.5


def train_step(
    state: TrainState, batch: Batch, weights: LossWeights, *, learning_rate: float
) -> dict[str, Tensor]:
    """Update the network once on ``batch``.

    A step whose gradients are not finite changes no weight and is counted in
    ``state.skipped``.

    Returns:
        Scalar losses, detached and still on the device: reading one here would stall every
        step for the sake of the few that are logged.
    """
    restored_nchw = state.network(batch.degraded_ntchw)
    losses = pixel_losses(restored_nchw, batch.clean_nchw, weights)
    state.optimizer.zero_grad(set_to_none=True)
    losses["total"].backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), MAX_GRADIENT_NORM)
    _update(state, norm, learning_rate)
    state.step += 1
    _average(state)
    return {name: value.detach() for name, value in losses.items()} | {"norm": norm.detach()}


def _update(state: TrainState, norm: Tensor, learning_rate: float) -> None:
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    is_broken = (~torch.isfinite(norm)).float()
    state.skipped += is_broken
    # The fused optimiser leaves all weights alone where this is 1, without the host having to
    # know; gradient scalers use the same door.
    state.optimizer.found_inf = is_broken  # type: ignore[attr-defined]
    state.optimizer.step()


def _average(state: TrainState) -> None:
    """Move the average towards the network, faster while there is little to average."""
    decay = min(EMA_DECAY, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(
            list(state.average.parameters()), list(state.network.parameters()), 1 - decay
        )
