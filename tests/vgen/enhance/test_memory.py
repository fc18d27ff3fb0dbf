"""Running out of memory costs speed, never a frame."""

import pytest
import torch

from vgen.enhance.memory import MIN_SIDE, NOTE, Limits, Memory
from vgen.models.spec import ModelSpec

SPEC = ModelSpec(
    architecture="temporal_unet", scale=2, lead=1, tail=1, multiple_of=8, receptive_radius=3
)


class Narrow:
    """Blurs and doubles, but only what fits into ``room`` numbers."""

    def __init__(self, room):
        self.room = room
        self.calls = []

    def __call__(self, windows):
        inputs_nchw = torch.cat([frame for (frame,) in windows])
        self.calls.append(tuple(inputs_nchw.shape))
        if inputs_nchw.numel() > self.room:
            raise torch.OutOfMemoryError("no room")
        blurred = torch.nn.functional.avg_pool2d(
            inputs_nchw, 7, stride=1, padding=3, count_include_pad=True
        )
        return blurred.repeat_interleave(2, -1).repeat_interleave(2, -2)


def memory(**changes):
    return Memory(SPEC, **({"most_windows": 4, "most_bytes": 10**9} | changes))


@pytest.mark.parametrize("room", [10**9, 2 * 192 * 256, 192 * 256, 15_000])
def test_smaller_pieces_give_the_same_result(room):
    inputs = torch.rand(4, 1, 192, 256)
    expected = Narrow(10**9)([[frame[None]] for frame in inputs])
    got = run(memory(), Narrow(room), inputs, notes=[])
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5


def test_the_batch_is_halved_before_the_tile():
    function, inputs = Narrow(15_000), torch.rand(4, 1, 192, 256)
    run(memory(), function, inputs, notes=[])
    tried = list(dict.fromkeys(function.calls))
    assert tried[:3] == [(4, 1, 192, 256), (2, 1, 192, 256), (1, 1, 192, 256)]
    assert all(shape[0] == 1 and shape[-1] < 256 for shape in tried[3:])


def test_stepping_down_is_noted_once_and_lasts():
    held, notes = memory(), []
    function, inputs = Narrow(192 * 256), torch.rand(4, 1, 192, 256)
    run(held, function, inputs, notes=notes)
    function.calls.clear()
    run(held, function, inputs, notes=notes)
    assert notes == ["out of memory on the device: smaller batches or tiles were used"]
    assert function.calls == [(1, 1, 192, 256)] * 4


def test_the_next_video_is_told_too_unless_it_is_small_enough_anyway():
    held, notes, small = memory(), [], []
    function = Narrow(192 * 256)
    run(held, function, torch.rand(4, 1, 192, 256), notes=[])
    run(held, function, torch.rand(4, 1, 192, 256), notes=notes)
    run(held, function, torch.rand(1, 1, 192, 256), notes=small, batch=1)
    assert notes == [NOTE]
    assert small == []


def test_a_device_too_small_for_the_smallest_tile_is_an_error():
    function = Narrow(10)
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        run(memory(), function, torch.rand(2, 1, 192, 256), notes=[])
    assert min(shape[-1] for shape in function.calls) >= MIN_SIDE // 2


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(windows):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run(memory(), broken, torch.rand(2, 1, 192, 256), notes=[])


def test_batches_fit_into_the_bytes_allowed():
    held = memory(most_windows=8, most_bytes=1000)
    assert held.limits(100, 64, 64) == Limits(batch=8, side=None)
    assert held.limits(300, 64, 64) == Limits(batch=3, side=None)
    assert held.limits(1000, 64, 64) == Limits(batch=1, side=None)


def test_frames_too_large_for_the_bytes_allowed_are_cut_into_tiles_that_fit():
    held = memory(most_windows=8, most_bytes=10**6)
    limits = held.limits(16 * 10**6, 2048, 4096)
    assert limits.batch == 1
    seen = (limits.side + 2 * SPEC.receptive_radius) ** 2
    assert 16 * 10**6 * seen / (2048 * 4096) <= 10**6


def run(held, function, inputs, notes, batch=4):
    start = Limits(batch=batch, side=None)
    windows = [[frame[None]] for frame in inputs]
    return held.run(function, windows, start, height=192, width=256, notes=notes)
