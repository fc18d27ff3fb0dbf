"""Tiles give what the whole picture gives, and keep every pixel once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.vgen.enhance.toys import small_network
from vgen.enhance.tiling import cut_axis, run_tiled
from vgen.models.spec import ModelSpec


@given(st.integers(1, 60), st.integers(1, 300), st.sampled_from([1, 4, 8]), st.integers(0, 70))
def test_tiles_keep_every_pixel_once_and_see_their_surroundings(strides, side, multiple, radius):
    spec = ModelSpec(
        architecture="temporal_unet",
        scale=1,
        lead=0,
        tail=0,
        multiple_of=multiple,
        receptive_radius=radius,
    )
    length = strides * multiple
    tiles = cut_axis(length, side=side, spec=spec)
    assert [x for t in tiles for x in range(t.start, t.stop)] == list(range(length))
    for tile in tiles:
        assert tile.stop - tile.start <= max(side, multiple)
        assert not any(at % multiple for at in (tile.begin, tile.start, tile.stop, tile.end))
        assert tile.begin <= max(tile.start - radius, 0)
        assert tile.end >= min(tile.stop + radius, length)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("side", [24, 56])
def test_tiles_give_what_the_whole_gives(scale, side):
    network, spec = small_network(scale)
    frames = torch.rand(4, 3, 96, 136)

    def embed(windows):
        return network.embed(torch.cat([frame for (frame,) in windows]))

    def residual(windows):
        return network.residual(torch.stack([torch.cat(list(frames)) for frames in windows]))

    def tiled(function, inputs):
        return run_tiled(function, inputs, height=96, width=136, side=side, spec=spec)

    with torch.inference_mode():
        whole = network.embed(frames)
        got = tiled(embed, [[frame[None]] for frame in frames])
        assert got.shape == whole.shape
        assert (got - whole).abs().max() <= 1e-5
        features = [frame[None] for frame in whole]
        windows = [features[:3], features[1:]]
        whole, got = residual(windows), tiled(residual, windows)
    assert whole.abs().max() > 0.01
    assert got.shape == whole.shape == (2, 3, 96 * scale, 136 * scale)
    assert (got - whole).abs().max() <= 1e-5
