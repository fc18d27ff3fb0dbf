"""Every bundled release restores a video alike, whole, in spans and in tiles."""

import numpy as np
import pytest
import torch

from tests.vgen.enhance.toys import noise_frames, restored_in_spans, spans_of, video_of
from vgen.enhance.enhancer import Enhancer
from vgen.enhance.memory import Memory
from vgen.models.release import bundled_releases, load_network, read_header

RESTORING = sorted(
    name for name, path in bundled_releases().items() if read_header(path).spec.restores
)
CLIP = noise_frames("yuv420p", 46, 34, 17, seed=1)
VIDEO = video_of("yuv420p", 46, 34)


def restored(name, most_frames):
    """All planes, frame by frame, of the clip cut into spans of at most ``most_frames``."""
    enhancer = Enhancer.load(name, device="cpu")
    spans = spans_of(CLIP, enhancer.spec, most_frames)
    return [planes for _, planes in restored_in_spans(enhancer, CLIP, spans, VIDEO)]


@pytest.mark.parametrize("name", RESTORING)
def test_spans_give_the_whole(name):
    whole, spans = restored(name, None), restored(name, 5)
    assert len(whole) == len(spans) == len(CLIP)
    for planes, expected in zip(spans, whole, strict=True):
        for plane, plane_expected in zip(planes, expected, strict=True):
            # Other batches add up in another order: a value between two levels may tip over.
            assert np.abs(plane.astype(int) - plane_expected).max() <= 1


@pytest.mark.parametrize("name", RESTORING)
def test_tiles_give_the_whole(name):
    clip = torch.rand(3, 3, 112, 144, generator=torch.Generator().manual_seed(1))
    header, network = load_network(bundled_releases()[name])

    def restored_by(memory):
        enhancer = Enhancer(
            header=header, digest="0", network=network, device=torch.device("cpu"), memory=memory
        )
        return enhancer.restore(clip)

    few = Memory(header.spec, most_windows=1, most_bytes=200_000)
    torch.testing.assert_close(restored_by(few), restored_by(None), rtol=0, atol=1e-4)
