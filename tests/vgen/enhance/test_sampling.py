"""A video autoencoder restores by sampling, wherever spans, cuts and tiles lie."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tests.vgen.enhance.toys import (
    VAE_SETTINGS,
    enhancer_of,
    noise_frames,
    restored_in_spans,
    small_enhancer,
    small_vae,
    spans_of,
    video_of,
)
from vgen.enhance.enhancer import Enhancer
from vgen.enhance.memory import Memory
from vgen.enhance.sampling import SAMPLES
from vgen.enhance.stream import enhance_frames
from vgen.errors import ReleaseError
from vgen.media.pixels import frame_from_planes, planes_of
from vgen.models.ladder import new_vae
from vgen.models.release import save_release
from vgen.models.vae_settings import VAE_SIZES, vae_spec


def small_sampler(memory=None):
    return enhancer_of(*small_vae(), memory)


def slow_samples(network, clip, samples=SAMPLES):
    """Every sample of the whole clip at once, without cache, tile or stream."""
    height, width = clip.shape[-2:]
    padded = functional.pad(clip, (0, -width % 4, 0, -height % 4), mode="reflect")[None]
    shape = network.latent_shape(padded.shape)
    noise = []
    for frame in range(len(clip)):
        dice = torch.Generator().manual_seed(frame)
        noise.append(torch.randn((samples, 1, *shape[2:]), generator=dice))
    _, prior = network.look(padded)
    z = prior.mean + (prior.log_variance / 2).exp() * torch.cat(noise, dim=1)
    made = [network.decode(one[None], padded)[0] for one in z]
    return torch.stack(made)[..., :height, :width]


@pytest.mark.parametrize("samples", [1, 3, 8])
def test_a_clip_is_restored_by_the_mean_of_samples(samples):
    network, spec = small_vae()
    clip = torch.rand(13, 3, 14, 22)
    mean, deviation = enhancer_of(network, spec).sample(clip, samples=samples)
    with torch.no_grad():
        expected = slow_samples(network, clip, samples)
    torch.testing.assert_close(mean, expected.mean(0), rtol=0, atol=1e-4)
    torch.testing.assert_close(deviation, expected.std(0, correction=0), rtol=0, atol=1e-3)
    assert (mean - clip).abs().max() > 0.05
    assert samples == 1 or deviation.mean() > 0.01


def test_what_is_restored_is_the_mean_of_eight():
    clip = torch.rand(4, 3, 16, 16)
    enhancer = small_sampler()
    mean, _ = enhancer.sample(clip)
    assert SAMPLES == 8
    assert torch.equal(enhancer.restore(clip), mean)
    assert torch.equal(enhancer.restore(clip), enhancer.restore(clip))
    assert not enhancer.is_identity
    assert not mean.is_inference()


def test_every_frame_is_sampled_with_noise_of_its_own():
    still = torch.rand(1, 3, 16, 16).expand(14, 3, 16, 16)
    restored = small_sampler().restore(still)
    assert (restored[13] - restored[12]).abs().max() > 0.01


CLIP = [
    *noise_frames("yuv420p", 22, 18, 15, seed=1),
    *[
        frame_from_planes(planes_of(f), "yuv420p", f.pts + 200, f.time_base)
        for f in noise_frames("yuv420p", 22, 18, 16, seed=2)
    ],
]
"""Two shots, longer than the network looks back."""
VIDEO = video_of("yuv420p", 22, 18)


@pytest.fixture(scope="module")
def whole():
    enhancer = small_sampler()
    return restored_in_spans(enhancer, CLIP, spans_of(CLIP, enhancer.spec, None), VIDEO)


@settings(max_examples=5, deadline=None)
@given(most=st.integers(4, 30))
def test_frames_do_not_depend_on_where_spans_were_cut(whole, most):
    enhancer = small_sampler()
    got = restored_in_spans(enhancer, CLIP, spans_of(CLIP, enhancer.spec, most), VIDEO)
    assert [pts for pts, _ in got] == [pts for pts, _ in whole] == [f.pts for f in CLIP]
    for (_, planes), (_, expected) in zip(got, whole, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(planes, expected, strict=True))


def test_the_network_does_not_remember_across_a_cut(whole):
    enhancer = small_sampler()
    second = [span for span in spans_of(CLIP, enhancer.spec, 16) if span.start >= 15]
    # Without any context, as if the film began at the cut; frame numbers stay.
    bare = [s.model_copy(update={"lead": 0, "pts": s.pts[s.lead :]}) for s in second[:1]]
    assert bare[0].start - 15 < enhancer.spec.lead  # where memory would show
    fresh = CLIP[15 : bare[0].stop]
    opened = bare[0].model_copy(
        update={"start": 15, "start_pts": CLIP[15].pts, "pts": tuple(f.pts for f in fresh)}
    )
    options = {"video": VIDEO, "out_format": "yuv420p", "strength": 1.0, "notes": []}
    got = list(enhance_frames(enhancer, iter(fresh), opened, **options))
    for frame, (pts, expected) in zip(got, whole[15 : bare[0].stop], strict=True):
        assert frame.pts == pts
        assert all(np.array_equal(a, b) for a, b in zip(planes_of(frame), expected, strict=True))


@pytest.mark.parametrize("most_bytes", [4_000, 20_000])
def test_tiles_with_their_memory_are_the_whole(most_bytes):
    network, spec = small_vae()
    clip = torch.rand(4, 3, 100, 130)
    expected = enhancer_of(network, spec).restore(clip)
    memory = Memory(spec, most_windows=1, most_bytes=most_bytes)
    assert memory.limits(4 * 100 * 132, 100, 132).side < 100
    got = enhancer_of(network, spec, memory).restore(clip)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 9)])
def test_tiny_frames_are_restored(size):
    got = small_sampler().restore(torch.rand(2, 3, *size))
    assert got.shape == (2, 3, *size)
    assert got.isfinite().all()


def test_less_than_one_sample_is_refused():
    with pytest.raises(ValueError, match="samples=0 must be at least 1"):
        small_sampler().sample(torch.rand(1, 3, 8, 8), samples=0)


def test_a_network_that_gives_one_answer_has_no_samples():
    with pytest.raises(ValueError, match="'toy' gives one restoration, not samples"):
        small_enhancer().sample(torch.rand(1, 3, 8, 8))


def test_what_is_no_clip_cannot_be_sampled():
    with pytest.raises(ValueError, match=r"expected a float \[T, 3, H, W\]"):
        small_sampler().sample(torch.rand(3, 8, 8))


def save(path, network, chosen, **changes):
    arguments = {
        "name": path.stem,
        "network": network,
        "spec": vae_spec(chosen),
        "settings": chosen.to_mapping(),
        "provenance": {},
    }
    save_release(path, **(arguments | changes))
    return path


def test_a_released_autoencoder_restores(tmp_path):
    network, _ = small_vae()
    release = Enhancer.load(save(tmp_path / "v.safetensors", network, VAE_SETTINGS), device="cpu")
    clip = torch.rand(3, 3, 16, 16)
    assert torch.equal(release.restore(clip), small_sampler().restore(clip))


def test_a_release_that_makes_clips_up_is_refused(tmp_path):
    chosen = VAE_SIZES["generate-tiny"]
    path = save(tmp_path / "clouds.safetensors", new_vae(chosen), chosen)
    with pytest.raises(ReleaseError, match="'clouds' makes clips up and cannot restore any"):
        Enhancer.load(path)


@pytest.mark.gpu
def test_a_gpu_samples_as_the_cpu_does(tmp_path):
    if not torch.cuda.is_available():
        if os.environ.get("VGEN_REQUIRE_GPU") == "1":
            pytest.fail("VGEN_REQUIRE_GPU=1, and there is no CUDA device")
        pytest.skip("no CUDA device")
    path = save(tmp_path / "v.safetensors", small_vae()[0], VAE_SETTINGS)
    clip = torch.rand(5, 3, 70, 94)
    cpu = Enhancer.load(path, device="cpu").restore(clip)
    gpu = Enhancer.load(path, device="cuda").restore(clip)
    # float32 on both, though convolutions may round to ten bits there (TF32).
    assert (gpu - cpu).abs().max() <= 0.01 * (cpu - clip).abs().max()
