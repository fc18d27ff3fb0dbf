import math

import pytest
import torch
from torch import nn

from vgen.models.discriminator import ImageDiscriminator
from vgen.training.adversarial import (
    accuracy,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)

KINDS = ["ns", "hinge", "rpgan"]


def slope(loss_of, at):
    logit = torch.tensor([at], requires_grad=True)
    loss_of(logit).backward()
    return logit.grad.item()


@pytest.mark.parametrize(
    ("kind", "generator", "discriminator"),
    [
        ("ns", math.log(2), 2 * math.log(2)),
        ("hinge", 0.0, 2.0),
        ("rpgan", math.log(2), math.log(2)),
    ],
)
def test_an_undecided_discriminator_costs_what_it_should(kind, generator, discriminator):
    zeros = torch.zeros(2, 1, 3, 3)
    assert generator_loss(kind, zeros, zeros).item() == pytest.approx(generator)
    assert discriminator_loss(kind, zeros, zeros).item() == pytest.approx(discriminator)


def test_the_classic_game_is_that_of_probabilities():
    real, fake = torch.randn(2, 4, 1, 5, 5, dtype=torch.double)
    real_d, fake_d = real.sigmoid(), fake.sigmoid()
    expected = -real_d.log().mean() - (1 - fake_d).log().mean()
    torch.testing.assert_close(discriminator_loss("ns", real, fake), expected)
    torch.testing.assert_close(generator_loss("ns", fake, real), -fake_d.log().mean())


def test_a_beaten_generator_still_learns_where_the_saturating_form_would_not():
    zero = torch.zeros(1)
    assert slope(lambda a: generator_loss("ns", a, zero), -10.0) == pytest.approx(-1, abs=1e-4)
    assert slope(lambda a: generator_loss("rpgan", a, zero), -10.0) == pytest.approx(-1, abs=1e-4)
    assert slope(lambda a: torch.log(1 - a.sigmoid()), -10.0) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_generator_and_discriminator_pull_in_opposite_directions(kind):
    other = torch.zeros(1)
    down = slope(lambda fake: generator_loss(kind, fake, other), 0.3)
    up = slope(lambda fake: discriminator_loss(kind, other, fake), 0.3)
    real = slope(lambda clean: discriminator_loss(kind, clean, other), 0.3)
    assert down < 0 < up
    assert real < 0


def test_the_hinge_leaves_alone_what_is_told_apart_by_far():
    far = torch.tensor([4.0])
    assert discriminator_loss("hinge", far, -far).item() == 0
    assert slope(lambda clean: discriminator_loss("hinge", clean, -far), 4.0) == 0


def test_only_differences_count_in_the_relativistic_game():
    real, fake = torch.randn(2, 3, 1, 4, 4)
    for loss in (discriminator_loss, generator_loss):
        torch.testing.assert_close(loss("rpgan", real + 7, fake + 7), loss("rpgan", real, fake))


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_logits_stay_finite(kind):
    real, fake = torch.tensor([-1e4, 1e4]), torch.tensor([1e4, -1e4])
    for loss in (discriminator_loss(kind, real, fake), generator_loss(kind, fake, real)):
        assert loss.isfinite()


def test_the_penalty_of_a_linear_discriminator_is_its_squared_weight():
    weight = torch.randn(3, 8, 8)
    images = torch.rand(5, 3, 8, 8, requires_grad=True)
    logits = (images * weight).sum((1, 2, 3))[:, None]
    penalty = gradient_penalty(logits, images)
    torch.testing.assert_close(penalty, weight.square().sum())


def test_the_penalty_takes_the_mean_of_the_logits_of_a_picture():
    images = torch.rand(4, 3, 6, 6, requires_grad=True)
    # One logit a pixel: twice the sum of its colours, so the score's slope is 2 / 36 everywhere.
    penalty = gradient_penalty(2 * images.sum(1, keepdim=True), images)
    assert penalty.item() == pytest.approx(3 * 36 * (2 / 36) ** 2)


def test_the_penalty_is_averaged_over_pictures_and_sees_each_alone():
    images = torch.rand(4, 3, 6, 6, requires_grad=True)
    together = gradient_penalty(images.square(), images)
    alone = [gradient_penalty(image.square(), image) for image in images.split(1)]
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_the_penalty_teaches_the_discriminator():
    network = nn.Sequential(ImageDiscriminator(4))
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    gradient_penalty(network(images), images).backward()
    # A bias does not change the slope of the part that follows a bend.
    weights = [p.grad for name, p in network.named_parameters() if "weight" in name]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in weights)


def test_a_penalty_without_a_gradient_to_take_is_refused():
    images = torch.rand(1, 3, 4, 4)
    with pytest.raises(ValueError, match="needs images that require gradients"):
        gradient_penalty(images.sum().reshape(1, 1), images)


def test_accuracy_is_the_share_of_pairs_told_apart():
    real, fake = torch.tensor([1.0, 2.0, 3.0, 0.0]), torch.tensor([0.0, 5.0, 1.0, 0.0])
    assert accuracy(real, fake).item() == pytest.approx((2 + 0.5) / 4)
    assert accuracy(real + 9, fake + 9).item() == accuracy(real, fake).item()
    assert accuracy(fake + 9, fake).item() == 1
    assert accuracy(fake - 9, fake).item() == 0
