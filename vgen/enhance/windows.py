"""Windows of per-frame features over a stream of frames, never across a cut.

Axes: n batch, c channel, h height, w width.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown(Generic[Key]):
    """One frame, or its features, on its way through the network."""

    key: Key
    """Comes back with the result."""
    tensor_nchw: Tensor
    """RGB or features, n = 1."""
    starts_shot: bool
    """Whether a cut lies before this frame."""
    is_owned: bool
    """False for context frames, which are seen and not restored."""
    frame: int
    """Number in the video, from 0: what is random about a frame depends on it alone."""


def windows(
    shown: Iterable[Shown[Key]], *, lead: int, tail: int
) -> Iterator[tuple[Key, list[Tensor]]]:
    """Yield the ``lead + 1 + tail`` features around every owned frame, in order.

    Where the shot, or the stream, ends inside a window its edge frame is repeated. At most
    ``lead + 1 + tail`` frames are held.
    """
    shot: deque[Shown[Key]] = deque()
    at = 0
    for item in shown:
        if item.starts_shot:
            yield from _rest(shot, at, lead=lead, tail=tail)
            shot.clear()
            at = 0
        shot.append(item)
        if len(shot) > at + tail:
            yield from _window(shot, at, lead=lead, tail=tail)
            at += 1
        if at > lead:
            shot.popleft()
            at -= 1
    yield from _rest(shot, at, lead=lead, tail=tail)


def _rest(
    shot: deque[Shown[Key]], at: int, *, lead: int, tail: int
) -> Iterator[tuple[Key, list[Tensor]]]:
    for index in range(at, len(shot)):
        yield from _window(shot, index, lead=lead, tail=tail)


def _window(
    shot: deque[Shown[Key]], at: int, *, lead: int, tail: int
) -> Iterator[tuple[Key, list[Tensor]]]:
    if shot[at].is_owned:
        last = len(shot) - 1
        around = range(at - lead, at + tail + 1)
        yield shot[at].key, [shot[min(max(i, 0), last)].tensor_nchw for i in around]
