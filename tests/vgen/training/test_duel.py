import pytest
import torch

from tests.vgen.training.toys import (
    adversarial,
    is_same,
    pairs,
    settings,
    step_of,
    unet,
    weights_of,
)
from vgen.training.duel import adversarial_step, critics_of, frozen, normalised, perceived
from vgen.training.state import TrainState


def begun(chosen):
    state = TrainState.fresh(unet(), "window")
    torch.manual_seed(1)
    state.begin_adversarial(chosen.adversarial.channels, critics_of(chosen.adversarial))
    return state


def take(state, chosen, seed=0, **options):
    losses = adversarial_step(state, *pairs(4, 5, outputs=3, seed=seed), step_of(chosen, **options))
    state.step += 1
    state.stage_step += 1
    return losses


def test_critics_without_weight_are_left_out():
    assert critics_of(adversarial()) == ["image", "temporal"]
    assert critics_of(adversarial(image_weight=0)) == ["temporal"]


def test_only_critics_learn_while_they_warm_up():
    chosen = settings(batch=4, adversarial=adversarial(warmup_steps=2))
    state = begun(chosen)
    before = weights_of(state.network)
    critic = weights_of(state.critics["image"].network)
    for seed in range(2):
        assert "total" not in take(state, chosen, seed)
    assert is_same(weights_of(state.network), before)
    assert not is_same(weights_of(state.critics["image"].network), critic)
    assert "total" in take(state, chosen)
    assert not is_same(weights_of(state.network), before)


@pytest.mark.parametrize("kind", ["rpgan", "ns", "hinge"])
def test_a_critic_learns_to_tell_restored_from_clean(kind):
    chosen = settings(batch=4, adversarial=adversarial(loss=kind, warmup_steps=10_000))
    state = begun(chosen)
    told = [take(state, chosen, seed, learning_rate=2e-3) for seed in range(25)]
    for critic in ("image", "temporal"):
        assert told[-1][f"{critic}_critic"] < told[0][f"{critic}_critic"]
        assert sum(one[f"{critic}_accuracy"].item() for one in told[-5:]) / 5 > 0.6
    penalties = [seed for seed, one in enumerate(told) if "image_penalty" in one]
    assert penalties == [0, 8, 16, 24]


def test_the_generators_step_leaves_no_gradient_in_its_critics():
    chosen = settings(batch=4, adversarial=adversarial())
    state = begun(chosen)
    state.monitors["image_accuracy"].fill_(1.0)
    state.monitors["temporal_accuracy"].fill_(1.0)
    before = {kind: weights_of(critic.network) for kind, critic in state.critics.items()}
    generator = weights_of(state.network)
    take(state, chosen)
    assert not is_same(weights_of(state.network), generator)
    for kind, critic in state.critics.items():
        # They are ahead and wait; power iteration alone moves their buffers.
        parameters = dict(critic.network.named_parameters())
        assert all(torch.equal(parameters[key], before[kind][key]) for key in parameters)


def test_frozen_lets_gradients_through_and_none_in():
    chosen = settings(batch=4, adversarial=adversarial())
    critic = begun(chosen).critics["image"].network
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    with frozen(critic):
        logits = critic(images)
    logits.sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(value.grad is None for value in critic.parameters())
    assert all(value.requires_grad for value in critic.parameters())


def test_the_penalty_is_that_of_clean_and_restored_pictures():
    chosen = settings(batch=2, adversarial=adversarial(penalty=3.0, penalty_every=4))
    state = begun(chosen)
    degraded, clean = pairs(2, 5, outputs=3)
    told = adversarial_step(state, degraded, clean, step_of(chosen, learning_rate=0.0))
    critic = state.critics["temporal"].network
    with torch.no_grad():
        made = torch.stack([state.network(degraded[:, k : k + 3]) for k in range(3)], 1)
    expected = 0.0
    for frames in (clean, made):
        shown = frames.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(shown).mean((1, 2, 3)).sum(), shown)
        expected += gradient.square().sum((1, 2, 3, 4)).mean().item()
    assert told["temporal_penalty"].item() == pytest.approx(expected, rel=0.05)


def test_perception_is_blind_to_what_the_encoder_does_not_see_and_scale_free():
    network = unet()
    frames = torch.rand(2, 3, 16, 16)
    seen = perceived(network, frames)
    assert [one.shape for one in seen] == [(2, 4, 8, 8), (2, 8, 4, 4)]
    ours, theirs = normalised(seen, [one * 100 for one in seen])
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our * 100, their)
        assert their.std((2, 3)).max() <= 1.0
