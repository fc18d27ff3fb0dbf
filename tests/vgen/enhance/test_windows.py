"""Windows against the definition: clamp every neighbour into the frame's own shot."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from vgen.enhance.windows import Shown, windows

contexts = st.integers(0, 4)
streams = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40)


def shown_of(stream):
    return [
        Shown(
            key=index,
            tensor_nchw=torch.tensor(float(index)),
            starts_shot=starts_shot,
            is_owned=is_owned,
            frame=index,
        )
        for index, (starts_shot, is_owned) in enumerate(stream)
    ]


def slow_windows(stream, lead, tail):
    starts = [i for i, (starts_shot, _) in enumerate(stream) if starts_shot or i == 0]
    expected = []
    for index, (_, is_owned) in enumerate(stream):
        first = max(start for start in starts if start <= index)
        last = min([start for start in starts if start > index], default=len(stream)) - 1
        around = range(index - lead, index + tail + 1)
        if is_owned:
            expected.append((index, [min(max(i, first), last) for i in around]))
    return expected


@given(streams, contexts, contexts)
def test_windows_stay_inside_the_shot_and_repeat_its_edges(stream, lead, tail):
    got = windows(shown_of(stream), lead=lead, tail=tail)
    assert [(key, [int(t) for t in tensors]) for key, tensors in got] == slow_windows(
        stream, lead, tail
    )


@given(contexts, contexts)
def test_a_window_comes_as_soon_as_its_last_frame_has(lead, tail):
    drawn = []

    def source():
        for item in shown_of([(False, True)] * 20):
            drawn.append(item.key)
            yield item

    for key, _ in windows(source(), lead=lead, tail=tail):
        assert drawn[-1] == min(key + tail, 19)
