import pytest
import torch

from vgen.models.discriminator import ImageDiscriminator, TemporalDiscriminator
from vgen.models.generator import trainable


def test_the_stated_width_has_its_stated_parameters():
    assert trainable(ImageDiscriminator(48)) == pytest.approx(2_460_000, rel=0.01)


def test_every_pixel_of_a_picture_is_judged():
    frames_nchw = torch.rand(2, 3, 24, 40)
    assert ImageDiscriminator(4)(frames_nchw).shape == (2, 1, 24, 40)


def test_every_patch_of_three_frames_is_judged():
    frames_ntchw = torch.rand(2, 3, 3, 24, 40)
    assert TemporalDiscriminator(4)(frames_ntchw).shape == (2, 1, 3, 5)


def test_features_are_those_of_three_levels():
    expected = [(2, 8, 12, 20), (2, 16, 6, 10), (2, 32, 3, 5)]
    image, temporal = ImageDiscriminator(4), TemporalDiscriminator(4)
    for features in (
        image.features(torch.rand(2, 3, 24, 40)),
        temporal.features(torch.rand(2, 3, 3, 24, 40)),
    ):
        assert [f.shape for f in features] == expected


@pytest.mark.parametrize("kind", [ImageDiscriminator, TemporalDiscriminator])
def test_strided_convolutions_come_to_a_spectral_norm_of_one(kind):
    network = kind(4)
    frames = torch.rand(1, 3, 16, 16) if kind is ImageDiscriminator else torch.rand(1, 3, 3, 16, 16)
    for _ in range(30):
        network(frames)
    normed = [m for m in network.modules() if hasattr(m, "parametrizations")]
    assert len(normed) == (8 if kind is ImageDiscriminator else 3)
    for conv in normed:
        norm = torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2).item()
        assert 0.9 < norm <= 1.01


def test_without_training_a_logit_does_not_depend_on_the_calls_before():
    network, frames_nchw = ImageDiscriminator(4).eval(), torch.rand(1, 3, 16, 16)
    assert torch.equal(network(frames_nchw), network(frames_nchw))


@pytest.mark.parametrize("kind", [ImageDiscriminator, TemporalDiscriminator])
def test_every_weight_learns_from_logits_and_from_their_gradients(kind):
    network = kind(4)
    shape = (2, 3, 16, 16) if kind is ImageDiscriminator else (2, 3, 3, 16, 16)
    frames = torch.rand(shape, requires_grad=True)
    logits = network(frames)
    (gradient,) = torch.autograd.grad(logits.square().sum(), frames, create_graph=True)
    (logits.square().mean() + gradient.square().mean()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad.abs().sum() == 0]
    assert silent == []


def test_flicker_is_seen_where_single_frames_look_alike():
    """The temporal one is given differences, and they matter."""
    network = TemporalDiscriminator(4)
    still = torch.rand(1, 1, 3, 16, 16).expand(1, 3, 3, 16, 16)
    with torch.no_grad():
        network.head.weight[:, :9] = 0
    flat = torch.full((1, 3, 3, 16, 16), 0.3)
    torch.testing.assert_close(network.eval()(still), network(flat))
    flicker = still + torch.tensor([0, 0.1, 0])[:, None, None, None]
    assert (network(flicker) - network(still)).abs().max() > 1e-4


def test_frames_of_another_number_are_refused():
    with pytest.raises(ValueError, match="expected 3 frames, got 2"):
        TemporalDiscriminator(4)(torch.rand(1, 2, 3, 16, 16))


@pytest.mark.parametrize("size", [(12, 16), (16, 20)])
def test_sizes_that_do_not_halve_three_times_are_refused(size):
    with pytest.raises(ValueError, match="must be multiples of 8"):
        ImageDiscriminator(4)(torch.rand(1, 3, *size))
    with pytest.raises(ValueError, match="must be multiples of 8"):
        TemporalDiscriminator(4).features(torch.rand(1, 3, 3, *size))
