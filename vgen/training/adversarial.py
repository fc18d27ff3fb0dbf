"""What generator and discriminator want of each other, on logits.

With D = sigmoid(logit) the classic game (Goodfellow et al., 2014) is
L_D = -E[log D(x)] - E[log(1 - D(G(y)))] and, non-saturating, L_G = -E[log D(G(y))]; both are
softplus of a logit, which neither overflows nor loses its gradient. All means are over pixels
and batch, and losses are minimised.
"""

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from vgen.training.choices import GanKind


def generator_loss(kind: GanKind, fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Return what the generator minimises.

    Args:
        kind: Of the game.
        fake_logits: Of restored pictures, with their gradient.
        real_logits: Of the clean pictures of the same content; only ``rpgan`` looks at them.
    """
    match kind:
        case "ns":
            return softplus(-fake_logits).mean()
        case "hinge":
            return -fake_logits.mean()
        case "rpgan":
            return softplus(real_logits - fake_logits).mean()


def discriminator_loss(kind: GanKind, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return what the discriminator minimises; restored pictures come without gradient."""
    match kind:
        case "ns":
            return softplus(-real_logits).mean() + softplus(fake_logits).mean()
        case "hinge":
            return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()
        case "rpgan":
            return softplus(fake_logits - real_logits).mean()


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Return the squared norm of the gradient of a picture's score, averaged over the batch.

    R1 on clean and R2 on restored pictures (Mescheder, Geiger and Nowozin, 2018); the score of
    a picture is the mean of its logits. The caller multiplies by gamma / 2, and by
    ``PENALTY_EVERY`` where it is taken in one step out of as many. In float32, autocast off:
    squares of bfloat16 gradients are noise.

    Args:
        logits: ``[N, ...]`` as the discriminator gave them for ``images``.
        images: ``[N, ...]``, requiring gradients.

    Raises:
        ValueError: ``images`` require none.
    """
    if not images.requires_grad:
        raise ValueError("a gradient penalty needs images that require gradients")
    scores = logits.flatten(1).mean(1)
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def accuracy(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the share of places where the clean picture has the higher logit, ties half.

    Both are ``[N, 1, h, w]`` of the same content. Logits are compared with each other and not
    with zero, as a relativistic game leaves their common level free.
    """
    return (torch.sign(real_logits - fake_logits).mean() + 1) / 2
