import torch

from vgen.models.ladder import LadderVae
from vgen.models.sampling import sample_clip
from vgen.models.vae import VaeSettings

SETTINGS = VaeSettings(
    widths=(8, 8), blocks=1, latents=4, latent_levels=2, temporal_stride=2, is_conditional=False
)


def small_vae():
    torch.manual_seed(4)
    return LadderVae(SETTINGS).eval()


def sampled(network, **changes):
    order = {"frames": 11, "height": 18, "width": 22, "seed": 5, "index": 0} | changes
    return torch.cat(list(sample_clip(network, **order)))


def test_a_clip_has_the_size_that_was_asked_for():
    clip = sampled(small_vae())
    assert clip.shape == (11, 3, 18, 22)
    assert clip.dtype == torch.float32
    assert torch.isfinite(clip).all()


def test_the_same_seed_and_number_give_the_same_clip_and_no_two_are_alike():
    network = small_vae()
    clips = {
        (seed, index): sampled(network, seed=seed, index=index)
        for seed in (0, 1)
        for index in range(4)
    }
    assert torch.equal(sampled(network, seed=1, index=2), clips[1, 2])
    kept = list(clips.values())
    differences = [
        float((one - other).abs().mean()) for n, one in enumerate(kept) for other in kept[:n]
    ]
    assert min(differences) > 1e-3


def test_pieces_are_the_clip_decoded_whole():
    network = small_vae()
    seen, draw = [], network.sample

    def watched(noise, cache):
        made, latents = draw(noise, cache)
        seen.append(latents)
        return made, latents

    network.sample = watched
    pieces = sampled(network, frames=10, height=16, width=16)
    with torch.inference_mode():
        whole = network.decode([torch.cat(level, dim=1) for level in zip(*seen, strict=True)])
    assert len(seen) == 5
    assert torch.allclose(pieces, whole[0], atol=1e-5)
