"""One training step: forward, backward, a guarded update, the moving average.

Every process of the group takes the same step on its own samples; gradients are those of the
mean over all samples. Networks run in bfloat16 on a GPU, and on a CPU where the recipe asks for
it; losses are float32.

Axes: n sample, t time, c channel, h height, w width. Frames are float32 in [0, 1].
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vgen.models.generator import TemporalUNet, enlarge
from vgen.models.ladder import Vae
from vgen.training.distributed import Group
from vgen.training.elbo import negative_elbo
from vgen.training.guard import judge_norm
from vgen.training.objective import pixel_losses
from vgen.training.settings import StructureWeights, TrainSettings
from vgen.training.state import EMA_DECAY, TrainState
from vgen.training.structure import fft_l1, low_pass_l1, sobel_l1, temporal_l1

MAX_GRADIENT_NORM = 0.5

Losses = dict[str, Tensor]
"""Scalars of this process's samples, detached and still on the device: reading one in a step would
stall every step for the sake of the few that are logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step is told beside its samples."""

    settings: TrainSettings
    group: Group
    lanes: range
    """This process's samples among the ``settings.batch`` of the step."""
    learning_rate: float
    kl_weight: float = 1.0

    @property
    def share(self) -> float:
        """Own samples divided by all samples."""
        return len(self.lanes) / self.settings.batch


def pixel_step(
    state: TrainState, degraded_ntchw: Tensor, clean_ntchw: Tensor, step: Step
) -> Losses:
    """Bring a restoration network closer to the clean frames."""
    assert isinstance(state.network, TemporalUNet)
    with autocast(state.device, step.settings):
        restored_ntchw = restored(state.network, degraded_ntchw, outputs=clean_ntchw.shape[1])
    losses, total = frame_losses(
        restored_ntchw.float(), clean_ntchw, step.settings, step.settings.structure
    )
    norm = update_network(state, total, step)
    return detached(losses | {"total": total, "norm": norm})


def vae_step(state: TrainState, degraded_ntchw: Tensor, clean_ntchw: Tensor, step: Step) -> Losses:
    """Raise the evidence lower bound of the clean clips."""
    assert isinstance(state.network, Vae)
    condition = degraded_ntchw if state.network.settings.is_conditional else None
    shapes = state.network.latent_shapes(clean_ntchw.shape)
    noise = [
        level.to(state.device)
        for level in latent_noise(shapes, step.settings.seed, state.step, step.lanes)
    ]
    with autocast(state.device, step.settings):
        output = state.network(clean_ntchw, condition, noise)
    elbo = negative_elbo(
        clean_ntchw, output, kl_weight=step.kl_weight, free_nats=step.settings.vae.free_nats
    )
    norm = update_network(state, elbo.loss, step)
    return detached(
        {
            "total": elbo.loss,
            "bits": elbo.bits_per_dimension,
            "reconstruction": elbo.reconstruction,
            "kl": elbo.kl,
            "psnr_db": psnr_db(output.frames_ntchw.flatten(0, 1), clean_ntchw.flatten(0, 1)),
            "norm": norm,
        }
    )


def restored(network: TemporalUNet, degraded_ntchw: Tensor, *, outputs: int) -> Tensor:
    """Restore the middle ``outputs`` frames of each clip, ``[N, outputs, 3, H, W]``.

    Each frame is embedded once, whatever the number of windows it is in.
    """
    n, t = degraded_ntchw.shape[:2]
    window = network.settings.window
    if t != window + outputs - 1:
        raise ValueError(f"{outputs} outputs of a window of {window} need other than {t} frames")
    features = network.embed(degraded_ntchw.flatten(0, 1))
    features_ntchw = features.reshape(n, t, *features.shape[1:])
    windows = torch.stack([features_ntchw[:, k : k + window] for k in range(outputs)], 1)
    residual = network.residual(windows.flatten(0, 1))
    centre = degraded_ntchw[:, window // 2 : window // 2 + outputs].flatten(0, 1)
    made = enlarge(centre, network.settings.scale) + residual
    return made.reshape(n, outputs, *made.shape[1:])


def frame_losses(
    restored_ntchw: Tensor,
    clean_ntchw: Tensor,
    settings: TrainSettings,
    structure: StructureWeights,
) -> tuple[Losses, Tensor]:
    """Return each term that needs no critic, PSNR to look at, and the terms' weighted sum."""
    restored_nchw, clean_nchw = restored_ntchw.flatten(0, 1), clean_ntchw.flatten(0, 1)
    losses = pixel_losses(restored_nchw, clean_nchw, settings.loss)
    total = losses.pop("total")
    losses["psnr_db"] = psnr_db(restored_nchw, clean_nchw)
    frame_terms = {"fft": fft_l1, "sobel": sobel_l1, "low_pass": low_pass_l1}
    for name, distance in frame_terms.items():
        if weight := getattr(structure, name):
            losses[name] = distance(restored_nchw, clean_nchw)
            total = total + weight * losses[name]
    if structure.temporal:
        losses["temporal"] = temporal_l1(restored_ntchw, clean_ntchw)
        total = total + structure.temporal * losses["temporal"]
    return losses, total


def psnr_db(restored_nchw: Tensor, clean_nchw: Tensor) -> Tensor:
    """Return the mean over samples of the RGB PSNR, without a gradient and without rounding."""
    errors_n = (restored_nchw - clean_nchw).detach().square().mean((1, 2, 3))
    return -10 * torch.log10(errors_n + 1e-10).mean()


def update_network(state: TrainState, total: Tensor, step: Step) -> Tensor:
    """Step down the gradient of ``total``; return the gradient's norm before clipping.

    A step whose gradients are not finite, or a spike, changes no weight and is counted.
    """
    norm = averaged_norm(state.network, state.optimizer, total, step)
    apply_update(state.optimizer, judge_norm(state.monitors, norm), step.learning_rate)
    decay = min(EMA_DECAY, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(
            list(state.average.parameters()), list(state.network.parameters()), 1 - decay
        )
    return norm


def averaged_norm(
    network: nn.Module, optimizer: torch.optim.Optimizer, total: Tensor, step: Step
) -> Tensor:
    """Leave the clipped gradient of the group's mean ``total``; return its norm before that."""
    optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    step.group.average_gradients(network.parameters(), share=step.share)
    return torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)


def apply_update(
    optimizer: torch.optim.Optimizer, is_left_out: Tensor, learning_rate: float
) -> None:
    """Update the weights, or leave them alone where ``is_left_out`` is 1.0."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    # The fused optimiser leaves all weights alone where this is 1, without the host having to
    # know; gradient scalers use the same door.
    optimizer.found_inf = is_left_out  # type: ignore[attr-defined]
    optimizer.step()


def whole_groups(network: Vae, frames: int) -> int:
    """Return how many of ``frames`` the network takes: a multiple of its temporal stride."""
    return frames - frames % network.settings.temporal_stride


def latent_noise(
    shapes: Sequence[tuple[int, ...]], seed: int, step: int, lanes: range
) -> list[Tensor]:
    """Return standard normal noise ``[lanes, ...]`` for latents of each of ``shapes``.

    The first number of a shape is that of lanes; a lane's noise follows from seed, step and lane.
    """
    made = []
    for lane in lanes:
        words = np.random.SeedSequence((seed, step, lane)).generate_state(2)
        generator = torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
        made.append([torch.randn(shape[1:], generator=generator) for shape in shapes])
    return [torch.stack(level) for level in zip(*made, strict=True)]


def autocast(device: torch.device, settings: TrainSettings) -> AbstractContextManager[object]:
    """Compute in the recipe's precision; bfloat16 needs no scaling of gradients."""
    is_half = settings.precision == "bfloat16" or (
        settings.precision == "auto" and device.type == "cuda"
    )
    return torch.autocast(device.type, torch.bfloat16, enabled=is_half)


def detached(losses: Mapping[str, Tensor]) -> Losses:
    """Return the values without what made them."""
    return {name: value.detach() for name, value in losses.items()}
