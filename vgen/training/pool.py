"""A pool of ready examples, renewed while training draws crops from it.

Making an example (warp, noise, a real encoder) costs more than one use of it is worth, so each
is used several times with other crops and turns. Example ``i`` is a pure function of seed and
``i``, and enters the pool in order: the stream of batches does not depend on how many processes
make examples, nor on how fast they are.

Axes: n batch, t time, c channel, h height, w width.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from types import TracebackType
from typing import Self

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from vgen.training.clips import Material, draw_clip
from vgen.training.codec import Clip
from vgen.training.degrade import Mix, degrade_clip

# Examples made by one task of a worker: enough to hide the cost of handing it over.
TASK_EXAMPLES = 8
TASKS_AHEAD = 4

# Keeps the streams of random numbers for examples and for batches apart.
_EXAMPLES, _BATCHES = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How many examples are kept, and how large they are."""

    size: int = 512
    """Examples in the pool; 0.5 MB each at the default size."""
    frames: int = 5
    """Frames of an example; the window is cut from them."""
    side_px: int = 128
    """Height and width of a damaged picture, coded whole and cropped later, so that the codec's
    block grid falls anywhere in a crop."""
    scale: int = 1
    """The clean picture is this many times as large along each side: 1, 2 or 4."""
    mix: Mix = field(default_factory=Mix)
    """Kinds of damage and their shares."""

    def __post_init__(self) -> None:
        if self.size < 1 or self.frames < 1 or self.side_px < 16 or self.side_px % 4:
            raise ValueError(f"need examples of a side that is a multiple of 4, got {self}")
        if self.scale not in (1, 2, 4):
            raise ValueError(f"scale must be 1, 2 or 4, got {self.scale}")


@dataclass(frozen=True, slots=True)
class Example:
    """One clip before and after damage, uint8 ``[T, H, W, 3]``.

    The clean one is larger by the scale.
    """

    degraded_thwc: Clip
    clean_thwc: Clip


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step learns from, float32 in [0, 1]."""

    degraded_ntchw: Tensor
    clean_nchw: Tensor
    """The centre frame of each window, undamaged."""


def make_example(material: Material, settings: PoolSettings, *, seed: int, index: int) -> Example:
    """Make example ``index`` of the stream that ``seed`` names."""
    rng = np.random.default_rng((seed, _EXAMPLES, index))
    side = settings.scale * settings.side_px
    clean = draw_clip(material, frames=settings.frames, side=side, rng=rng)
    return Example(degrade_clip(clean, settings.mix, rng, scale=settings.scale), clean)


class ExamplePool:
    """The latest ``size`` examples of a stream; closes its workers on exit."""

    def __init__(
        self, material: Material, settings: PoolSettings, *, seed: int, workers: int = 0
    ) -> None:
        self._maker = (material, settings, seed)
        self._settings = settings
        self._seed = seed
        self._workers = workers
        self._examples: list[Example] = []
        self._made = 0
        self._stack = ExitStack()
        self._stream: Iterator[Example] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def advance(self, made: int) -> None:
        """Bring the pool to where ``made`` examples of the stream have entered it.

        A resumed run starts far into the stream; examples that would be gone are not made.
        """
        if made < max(self._made, self._settings.size):
            raise ValueError(f"a pool of {self._made} examples cannot go back to {made}")
        if self._stream is None:
            self._made = made - self._settings.size
            self._examples = [_NOTHING] * self._settings.size
            self._stream = self._examples_from(self._made)
        while self._made < made:
            self._examples[self._made % self._settings.size] = next(self._stream)
            self._made += 1

    def draw_batch(self, *, step: int, batch: int, window: int, patch_px: int) -> Batch:
        """Draw crops for ``step``: the same for the same step and state of the pool.

        ``patch_px`` is the side of a damaged crop.
        """
        rng = np.random.default_rng((self._seed, _BATCHES, step))
        pairs = [self._draw_pair(window, patch_px, rng) for _ in range(batch)]
        return Batch(
            _to_tensor([degraded for degraded, _ in pairs]).movedim(-1, 2).contiguous(),
            _to_tensor([clean for _, clean in pairs]).movedim(-1, 1).contiguous(),
        )

    def _draw_pair(self, window: int, patch_px: int, rng: Generator) -> tuple[Clip, Clip]:
        example = self._examples[rng.integers(len(self._examples))]
        frames, height, width = example.degraded_thwc.shape[:3]
        scale = self._settings.scale
        centre = int(rng.integers(frames))
        step = -1 if rng.random() < 0.5 else 1
        # Beyond the first and last frame the edge is repeated, as at the edge of a shot.
        offsets = np.arange(-(window // 2), window // 2 + 1) * step
        chosen = np.clip(centre + offsets, 0, frames - 1)
        top = int(rng.integers(height - patch_px + 1))
        left = int(rng.integers(width - patch_px + 1))
        box, large_box = (
            (slice(k * top, k * (top + patch_px)), slice(k * left, k * (left + patch_px)))
            for k in (1, scale)
        )
        degraded = example.degraded_thwc[chosen][:, *box]
        clean = example.clean_thwc[centre][large_box]
        turns, is_flipped = int(rng.integers(4)), rng.random() < 0.5
        if is_flipped:
            degraded, clean = degraded[:, :, ::-1], clean[:, ::-1]
        return np.rot90(degraded, turns, axes=(1, 2)), np.rot90(clean, turns)

    def _examples_from(self, start: int) -> Iterator[Example]:
        if self._workers == 0:
            material, settings, seed = self._maker
            while True:
                yield make_example(material, settings, seed=seed, index=start)
                start += 1
        # Not forked: OpenCV's threads do not survive a fork, and the child waits for them forever.
        executor = ProcessPoolExecutor(
            self._workers, get_context("spawn"), initializer=_set_maker, initargs=self._maker
        )
        self._stack.callback(executor.shutdown, cancel_futures=True)
        tasks: deque[Future[list[Example]]] = deque()
        while True:
            while len(tasks) < TASKS_AHEAD * self._workers:
                tasks.append(executor.submit(_make_examples, start))
                start += TASK_EXAMPLES
            yield from tasks.popleft().result()


_NOTHING = Example(np.empty((0, 0, 0, 3), np.uint8), np.empty((0, 0, 0, 3), np.uint8))
_maker: tuple[Material, PoolSettings, int] | None = None


def _set_maker(material: Material, settings: PoolSettings, seed: int) -> None:
    """Keep what the tasks of a worker process share; runs once in each."""
    global _maker
    cv2.setNumThreads(1)
    _maker = (material, settings, seed)


def _make_examples(start: int) -> list[Example]:
    assert _maker is not None
    material, settings, seed = _maker
    return [
        make_example(material, settings, seed=seed, index=index)
        for index in range(start, start + TASK_EXAMPLES)
    ]


def _to_tensor(clips: list[Clip]) -> Tensor:
    return torch.from_numpy(np.stack(clips)).float() / 255
