"""The step of the adversarial stage: the critics learn, and the generator answers them.

Generator first: it wants what the critics, held still, take for clean, and to stay what the pixel
stage made of it. Then each critic, on the same pictures. Real and restored pictures show the
same content, so that relativistic pairing compares like with like. Each network has one backward
pass and one all-reduce a step.

Axes: n sample, t time, c channel, h height, w width. Frames are float32 in [0, 1].
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from vgen.models.generator import TemporalUNet
from vgen.training.adversarial import (
    accuracy,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from vgen.training.guard import judge_accuracy
from vgen.training.settings import AdversarialSettings
from vgen.training.state import Critic, CriticKind, TrainState
from vgen.training.step import (
    Losses,
    Step,
    apply_update,
    autocast,
    averaged_norm,
    detached,
    frame_losses,
    restored,
    update_network,
)
from vgen.training.structure import feature_matching


def critics_of(settings: AdversarialSettings) -> list[CriticKind]:
    """Return the kinds of critics that have a say."""
    kinds: dict[CriticKind, float] = {
        "image": settings.image_weight,
        "temporal": settings.temporal_weight,
    }
    return [kind for kind, weight in kinds.items() if weight > 0]


def adversarial_step(
    state: TrainState, degraded_ntchw: Tensor, clean_ntchw: Tensor, step: Step
) -> Losses:
    """Update the generator, unless critics are still warming up, then each critic."""
    assert isinstance(state.network, TemporalUNet)
    learns = state.stage_step >= step.settings.adversarial.warmup_steps
    with torch.set_grad_enabled(learns), autocast(state.device, step.settings):
        made = restored(state.network, degraded_ntchw, outputs=clean_ntchw.shape[1])
    restored_ntchw = made.float()
    losses: Losses = {}
    if learns:
        losses = _generator_losses(state, restored_ntchw, clean_ntchw, step)
        losses["norm"] = update_network(state, losses["total"], step)
    for kind, critic in state.critics.items():
        told = _critic_step(state, kind, critic, restored_ntchw.detach(), clean_ntchw, step)
        losses |= {f"{kind}_{name}": value for name, value in told.items()}
    return detached(losses)


def _generator_losses(
    state: TrainState, restored_ntchw: Tensor, clean_ntchw: Tensor, step: Step
) -> Losses:
    chosen = step.settings.adversarial
    losses, total = frame_losses(restored_ntchw, clean_ntchw, step.settings, chosen.structure)
    weights = {"image": chosen.image_weight, "temporal": chosen.temporal_weight}
    for kind, critic in state.critics.items():
        fake, real = _shown(kind, restored_ntchw), _shown(kind, clean_ntchw)
        with frozen(critic.network), autocast(state.device, step.settings):
            fake_logits, real_logits = critic.network(torch.cat((fake, real))).float().chunk(2)
            wish = generator_loss(chosen.loss, fake_logits, real_logits)
            losses[f"{kind}_wish"] = wish
            total = total + weights[kind] * wish
            if chosen.structure.features:
                with torch.no_grad():
                    wanted = critic.network.features(real)
                distance = feature_matching(critic.network.features(fake), wanted)
                losses[f"{kind}_features"] = distance
                total = total + chosen.structure.features * distance / len(state.critics)
    if chosen.structure.perceptual and state.reference is not None:
        with autocast(state.device, step.settings):
            seen = perceived(state.reference, restored_ntchw.flatten(0, 1))
            with torch.no_grad():
                wanted = perceived(state.reference, clean_ntchw.flatten(0, 1))
            losses["perceptual"] = feature_matching(*normalised(seen, wanted))
        total = total + chosen.structure.perceptual * losses["perceptual"]
    return losses | {"total": total}


def _critic_step(
    state: TrainState,
    kind: CriticKind,
    critic: Critic,
    restored_ntchw: Tensor,
    clean_ntchw: Tensor,
    step: Step,
) -> Losses:
    chosen = step.settings.adversarial
    real, fake = _shown(kind, clean_ntchw), _shown(kind, restored_ntchw)
    has_penalty = chosen.penalty > 0 and state.stage_step % chosen.penalty_every == 0
    # The penalty differentiates twice; squares of bfloat16 gradients are noise.
    with (
        torch.autocast(state.device.type, enabled=False)
        if has_penalty
        else autocast(state.device, step.settings)
    ):
        shown = torch.cat((real, fake)).requires_grad_(has_penalty)
        logits = critic.network(shown).float()
    real_logits, fake_logits = logits.chunk(2)
    total = discriminator_loss(chosen.loss, real_logits, fake_logits)
    told = {"critic": total, "accuracy": accuracy(real_logits, fake_logits)}
    if has_penalty:
        # The mean over clean and restored together is half of R1 + R2.
        told["penalty"] = 2 * gradient_penalty(logits, shown)
        total = total + 0.5 * chosen.penalty * chosen.penalty_every * told["penalty"]
    norm = averaged_norm(critic.network, critic.optimizer, total, step)
    share = step.group.average(told["accuracy"], share=step.share)
    is_ahead = judge_accuracy(state.monitors[f"{kind}_accuracy"], share)
    is_left_out = torch.maximum(is_ahead, (~norm.isfinite()).float())
    apply_update(critic.optimizer, is_left_out, step.learning_rate)
    return told


def _shown(kind: CriticKind, frames_ntchw: Tensor) -> Tensor:
    """Return what a critic looks at: single frames, or three in a row."""
    return frames_ntchw.flatten(0, 1) if kind == "image" else frames_ntchw


def perceived(network: TemporalUNet, frames_nchw: Tensor) -> list[Tensor]:
    """Return what the encoder of a restoration network sees in single frames, two levels."""
    enlarged = pixel_unshuffle(frames_nchw, network.settings.unshuffle)
    fine: Tensor = network.encoder[0](network.head(enlarged))
    return [fine, network.encoder[1](network.down[0](fine))]


def normalised(ours: list[Tensor], theirs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return both divided by the standard deviation of each channel of each of ``theirs``."""
    # Of each sample on its own: shared by several workers, a batch gives what it gives as one.
    scales = [1 / (their.std((2, 3), keepdim=True) + 1e-3) for their in theirs]
    return (
        [our * scale for our, scale in zip(ours, scales, strict=True)],
        [their * scale for their, scale in zip(theirs, scales, strict=True)],
    )


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through ``network`` in the body, and none into it."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
