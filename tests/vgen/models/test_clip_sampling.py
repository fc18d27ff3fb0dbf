import torch

from vgen.models.sampling import CHUNK_LATENTS, sample_clip
from vgen.models.vae import VaeSettings, VideoVae

SETTINGS = VaeSettings(widths=(8, 8), blocks=1, latents=4, temporal_stride=2, is_conditional=False)


def small_vae():
    torch.manual_seed(4)
    return VideoVae(SETTINGS).eval()


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
    frames = 2 * SETTINGS.temporal_stride * CHUNK_LATENTS + 2
    seen = []
    decode = network.decode

    def watched(z, degraded, cache):
        seen.append(z)
        return decode(z, degraded, cache)

    network.decode = watched
    pieces = sampled(network, frames=frames, height=16, width=16)
    with torch.inference_mode():
        whole = decode(torch.cat(seen, dim=1), None)[0]
    assert len(seen) == 3
    assert torch.allclose(pieces, whole, atol=1e-5)
    latents = torch.cat(seen, dim=1)
    assert abs(float(latents.mean())) < 0.2
    assert 0.8 < float(latents.std()) < 1.2
