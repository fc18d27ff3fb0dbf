import math

import numpy as np
import pytest
import torch

from tests.vgen.training.materials import subject
from vgen.enhance.enhancer import Enhancer
from vgen.models.ladder import new_vae
from vgen.models.release import ReleaseHeader
from vgen.models.vae import VaeSettings, vae_spec
from vgen.training.damages import classes_for
from vgen.training.elbo import gaussian_baseline_bits, negative_elbo
from vgen.training.metrics import psnr_rgb_db
from vgen.training.subjects import Subject
from vgen.training.vae_scores import FRAMES, SIDE_PX, score_vae, spectrum_slope

TINY = VaeSettings(widths=(8, 8), blocks=1, latents=4)
(NOISE,) = classes_for(1, ("noise 25",))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def half_smooth(name="half", frames=FRAMES):
    """Flat on the left, fine texture on the right."""
    rng = np.random.default_rng(3)
    clip = np.full((frames, SIDE_PX, SIDE_PX, 3), 120, np.uint8)
    clip[..., SIDE_PX // 2 :, :] = rng.integers(40, 200, (SIDE_PX, SIDE_PX // 2, 3))
    return Subject(name=name, kind="video", clip_thwc=clip, still_hwc=None)


def network_of(settings=TINY, noise=0.05):
    torch.manual_seed(4)
    network = new_vae(settings)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape) * noise)
        network.log_scale.fill_(-3.0)
    return network.eval()


def enhancer_of(network):
    spec = vae_spec(network.settings)
    header = ReleaseHeader(
        name="toy", spec=spec, settings=network.settings.to_mapping(), provenance={}
    )
    return Enhancer(header=header, digest="0" * 64, network=network, device=torch.device("cpu"))


def test_an_unconditional_network_is_scored_by_its_bound_alone():
    settings = VaeSettings(
        widths=(8, 8), blocks=1, latents=4, latent_levels=2, temporal_stride=2, is_conditional=False
    )
    network, one = network_of(settings), half_smooth()
    found = score_vae(network, [one], None, enhancer=None, seed=0)
    clean = torch.from_numpy(one.clip_thwc).movedim(-1, 1)[None].float() / 255
    assert found.gaussian_bits == pytest.approx(gaussian_baseline_bits(clean))
    with torch.inference_mode():
        bits = [
            float(negative_elbo(clean, network(clean, None), free_nats=0.0).bits_per_dimension)
            for _ in range(20)
        ]
    # Another draw of the posterior: the same up to their scatter.
    assert abs(found.bits_per_dimension - np.mean(bits)) < 5 * np.std(bits) + 1e-3
    assert (found.damage, found.one_sample_db, found.deviation) == (None, None, None)
    assert 0 <= found.active_units <= 1
    assert found.kl_per_latent > 0


def test_samples_are_held_against_their_mean():
    network = network_of()
    found = score_vae(network, [half_smooth()], NOISE, enhancer=enhancer_of(network), seed=0)
    assert found.damage == "noise 25"
    assert found.mean_of_samples_db > found.one_sample_db
    assert found.deviation > 0
    assert found.gaussian_bits == pytest.approx(
        0.5 * math.log2(2 * math.pi * math.e * 25**2), abs=0.05
    )


def test_the_same_seed_gives_the_same_figures_and_another_one_others():
    network = network_of()
    enhancer = enhancer_of(network)
    one, same, other = (
        score_vae(network, [half_smooth()], NOISE, enhancer=enhancer, seed=seed)
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one.one_sample_db != other.one_sample_db


def test_edges_and_flat_areas_are_told_apart():
    class Scripted:
        """Samples that differ where the picture is not flat."""

        def sample(self, clip_tchw, *, samples):
            deviation = torch.zeros_like(clip_tchw)
            deviation[..., SIDE_PX // 2 + 2 :] = 4 / 255
            return clip_tchw, deviation

    found = score_vae(network_of(), [half_smooth()], NOISE, enhancer=Scripted(), seed=0)
    unbiased = 4 * math.sqrt(8 / 7)
    assert found.deviation_edges == pytest.approx(unbiased, rel=0.1)
    # The filter of steepness reaches a pixel across the border between the halves.
    assert found.deviation_flat < 0.01
    assert found.deviation == pytest.approx(unbiased * (0.5 - 2 / SIDE_PX), rel=0.01)


def test_clips_that_are_too_small_or_short_are_left_out():
    short = half_smooth(frames=FRAMES - 1)
    assert score_vae(network_of(), [subject(), short], NOISE, enhancer=None, seed=0) is None


@pytest.mark.parametrize("slope", [0.0, -1.0, -2.0, -3.0])
def test_the_slope_of_a_made_spectrum_is_found(slope):
    rng = np.random.default_rng(5)
    radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    radius[0, 0] = 1
    planes = []
    for _ in range(8):
        white = np.fft.rfft2(rng.standard_normal((256, 256)))
        plane = np.fft.irfft2(white * radius ** (slope / 2))
        planes.append(0.5 + 0.1 * plane / plane.std())
    frames = torch.from_numpy(np.stack(planes)).float()[:, None].expand(-1, 3, -1, -1)
    assert spectrum_slope(frames) == pytest.approx(slope, abs=0.2)


def test_psnr_of_one_sample_is_that_of_the_enhancer():
    network = network_of()
    enhancer = enhancer_of(network)
    seen = []

    class Watched:
        def sample(self, clip_tchw, *, samples):
            made = enhancer.sample(clip_tchw, samples=samples)
            seen.append((samples, made[0]))
            return made

    one = half_smooth()
    found = score_vae(network, [one], NOISE, enhancer=Watched(), seed=0)
    clean = torch.from_numpy(one.clip_thwc).movedim(-1, 1).float() / 255
    assert [samples for samples, _ in seen] == [1, 8]
    assert found.one_sample_db == pytest.approx(psnr_rgb_db(seen[0][1], clean))
    assert found.mean_of_samples_db == pytest.approx(psnr_rgb_db(seen[1][1], clean))
