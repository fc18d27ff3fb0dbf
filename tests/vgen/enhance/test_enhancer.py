"""A released network restores clips as its definition says, in whatever batches."""

import os
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.vgen.enhance.toys import Shift, enhancer_of, small_enhancer, small_network
from vgen.enhance.enhancer import Enhancer
from vgen.errors import ConfigError, ReleaseError
from vgen.models.generator import enlarge
from vgen.models.release import bundled_releases, release_digest


def slow_restore(network, spec, clip):
    """Frame by frame through ``forward``, on the whole padded clip."""
    height, width = clip.shape[-2:]
    down, across = -height % spec.multiple_of, -width % spec.multiple_of
    padded = functional.pad(clip, (0, across, 0, down), mode="reflect")
    frames = []
    for t in range(len(clip)):
        around = [min(max(i, 0), len(clip) - 1) for i in range(t - spec.lead, t + spec.tail + 1)]
        residual = network(padded[around][None]) - enlarge(padded[t : t + 1], spec.scale)
        base = enlarge(clip[t : t + 1], spec.scale)
        frames.append(base + residual[..., : height * spec.scale, : width * spec.scale])
    return torch.cat(frames)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("window", [1, 3, 5])
def test_a_clip_is_restored_as_the_network_defines_it(scale, window):
    network, spec = small_network(scale, window)
    clip = torch.rand(6, 3, 21, 30)
    got = enhancer_of(network, spec).restore(clip)
    expected = slow_restore(network, spec, clip)
    assert got.shape == (6, 3, 21 * scale, 30 * scale)
    assert (expected - enlarge(clip, scale)).abs().max() > 0.01
    assert (got - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("most_windows", [2, 4, 8])
def test_batches_change_nothing(most_windows):
    clip = torch.rand(7, 3, 24, 32)
    one, many = small_enhancer(), small_enhancer(most_windows=most_windows)
    assert (many.restore(clip) - one.restore(clip)).abs().max() <= 1e-5


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (1, 9), (3, 40)])
@pytest.mark.parametrize("scale", [1, 2])
def test_tiny_frames_are_restored(size, scale):
    got = small_enhancer(scale).restore(torch.rand(2, 3, *size))
    assert got.shape == (2, 3, size[0] * scale, size[1] * scale)
    assert got.isfinite().all()


def test_padding_mirrors_the_picture_or_repeats_its_edge_where_that_is_too_small():
    seen = []

    class Spy(Shift):
        def embed(self, frames_nchw):
            seen.append(frames_nchw[0, 0].clone())
            return super().embed(frames_nchw)

    spy = Spy(0, 0)
    for size in ((6, 7), (1, 6)):
        clip = torch.rand(1, 3, *size)
        enhancer_of(spy, spy.spec).restore(clip)
        mode = "reflect" if size[0] > 3 else "replicate"
        rows = functional.pad(clip, (0, 0, 0, -size[0] % 4), mode=mode)
        expected = functional.pad(rows, (0, -size[1] % 4, 0, 0), mode="reflect")
        assert torch.equal(seen.pop(), expected[0, 0])


def test_each_frame_is_embedded_once():
    network = Shift(2, 2)
    enhancer_of(network, network.spec).restore(torch.rand(9, 3, 8, 8))
    assert network.num_embedded == 9


def test_values_outside_of_nominal_range_are_kept():
    network = Shift(0, 0)
    clip = torch.rand(1, 3, 8, 8) * 3 - 1
    assert torch.equal(enhancer_of(network, network.spec).restore(clip), clip)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_floats_are_restored_in_float32(dtype):
    clip = torch.rand(2, 3, 8, 8).to(dtype)
    enhancer = small_enhancer()
    got = enhancer.restore(clip)
    assert got.dtype == torch.float32
    assert torch.equal(got, enhancer.restore(clip.float()))


def test_identity_returns_a_copy_of_the_clip():
    clip = torch.rand(2, 3, 5, 6)
    got = Enhancer.load("identity", device="cpu").restore(clip)
    assert torch.equal(got, clip)
    assert got.data_ptr() != clip.data_ptr()


@pytest.mark.parametrize("scale", [1, 2])
def test_an_empty_clip_gives_an_empty_clip(scale):
    got = small_enhancer(scale).restore(torch.rand(0, 3, 8, 6))
    assert got.shape == (0, 3, 8 * scale, 6 * scale)


@pytest.mark.parametrize(
    "clip",
    [torch.rand(3, 8, 8), torch.rand(2, 1, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)],
    ids=["no time", "gray", "uint8"],
)
def test_what_is_no_clip_is_refused(clip):
    with pytest.raises(ValueError, match=r"expected a float \[T, 3, H, W\], got"):
        small_enhancer().restore(clip)


def test_a_bundled_release_is_loaded_by_name_and_by_path():
    path = bundled_releases()["restore-tiny"]
    by_name = Enhancer.load("restore-tiny", device="cpu")
    by_path = Enhancer.load(path)
    clip = torch.rand(2, 3, 16, 16)
    assert by_name.digest == by_path.digest == release_digest(path)
    assert by_name.spec == by_name.header.spec
    assert not by_name.is_identity
    assert (by_name.restore(clip) - by_path.restore(clip)).abs().max() <= 0.01


def test_identity_is_a_release_without_a_network():
    enhancer = Enhancer.load("identity")
    assert enhancer.is_identity
    assert enhancer.digest == release_digest(Path("identity"))
    assert (enhancer.spec.scale, enhancer.spec.lead, enhancer.spec.tail) == (1, 0, 0)


@pytest.mark.parametrize("release", ["no-such-release", Path("/no/such.safetensors")], ids=str)
def test_a_missing_release_is_named_with_what_there_is(release):
    with pytest.raises(ReleaseError, match=r"no release .*no.such.*identity.*restore-tiny"):
        Enhancer.load(release)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="'cuda:1' was asked for, but torch finds no CUDA device"):
        Enhancer.load("identity", device="cuda:1")


def test_a_restored_clip_can_be_used_in_training():
    got = small_enhancer().restore(torch.rand(2, 3, 8, 8))
    assert not got.is_inference()


@pytest.mark.gpu
def test_a_gpu_restores_as_the_cpu_does():
    if not torch.cuda.is_available():
        if os.environ.get("VGEN_REQUIRE_GPU") == "1":
            pytest.fail("VGEN_REQUIRE_GPU=1, and there is no CUDA device")
        pytest.skip("no CUDA device")
    clip = torch.rand(9, 3, 70, 94)
    cpu = Enhancer.load("restore-tiny", device="cpu").restore(clip)
    gpu = Enhancer.load("restore-tiny", device="cuda").restore(clip)
    assert gpu.device.type == "cpu"
    # bfloat16 keeps eight bits of a residual that is a few levels large.
    assert (gpu - cpu).abs().max() <= 0.5 / 255 + 0.02 * (cpu - clip).abs().max()
