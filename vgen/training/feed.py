"""Which samples a step learns from, and having them ready when it wants them.

A step takes ``lanes`` samples, numbered over all workers. Example ``i`` of the stream enters lane
``i % lanes``; a sample is a crop of one of the latest examples of its lane, chosen by seed, step
and lane alone. So a resumed run sees what an uninterrupted one does, and any number of workers
together see what one alone sees, while each makes only the examples of its own lanes.

Axes: n sample, t time, c channel, h height, w width.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, islice
from multiprocessing import get_context
from types import TracebackType
from typing import Self

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from vgen.training.choices import PoolSettings
from vgen.training.clips import Material
from vgen.training.codec import Clip
from vgen.training.pool import Example, make_example

TASK_EXAMPLES = 4
"""Examples made by one task of a process: enough to hide the cost of handing it over."""
TASKS_AHEAD = 4

GRID_PX = 8
"""Samples are cut at multiples of this of the damaged picture, where videos have their corner:
the blocks of codecs then lie for the network where they lie when it restores."""

# Keeps the random numbers of samples apart from those of examples, which use 0.
_SAMPLES = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What of an example a sample shows."""

    inputs: int
    """Damaged frames: an even number more than clean ones."""
    outputs: int
    """Clean frames in their middle."""
    patch_px: int
    """Height and width of the damaged frames."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What one worker learns from in one step, uint8 until it is on its device."""

    degraded_ntchw: Tensor
    clean_ntchw: Tensor
    """The middle frames, undamaged; larger than the damaged ones by the scale."""

    def floats(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return both on ``device`` as float32 in [0, 1]."""
        degraded, clean = (
            part.to(device, non_blocking=True).float() / 255
            for part in (self.degraded_ntchw, self.clean_ntchw)
        )
        return degraded, clean


class Feed:
    """Samples of this worker's lanes, drawn ahead by a thread; closes what it started on exit.

    Args:
        material: What examples are made of.
        settings: How many are kept, and the damage; the number is rounded up to whole lanes.
        seed: Names the stream of examples and samples.
        lanes: This worker's samples among all of a step.
        num_lanes: Samples of a step over all workers.
        steps_per_example: Steps between two examples that enter.
        processes: Make examples; 0 leaves it to the thread. Does not change the samples.
    """

    def __init__(
        self,
        material: Material,
        settings: PoolSettings,
        *,
        seed: int,
        lanes: range,
        num_lanes: int,
        steps_per_example: float,
        processes: int = 0,
    ) -> None:
        self._maker = (material, settings, seed)
        self._seed = seed
        self._lanes, self._num_lanes = lanes, num_lanes
        self._depth = -(-settings.size // num_lanes)
        self._steps_per_example = steps_per_example
        self._processes = processes
        self._held: dict[int, Example] = {}
        self._entered = 0
        self._stream: Iterator[Example] | None = None
        self._stack = ExitStack()
        self._thread = self._stack.enter_context(ThreadPoolExecutor(1, "feed"))
        self._ahead: tuple[int, View, Future[Samples]] | None = None
        self.waited_s = 0.0
        """Time that callers spent waiting for samples."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ahead is not None:
            self._ahead[2].cancel()
        self._stack.close()

    def take(self, step: int, view: View) -> Samples:
        """Return the samples of ``step``, and begin with those of the next in the same view.

        Steps must not go back.
        """
        began = time.monotonic()
        ahead = self._ahead
        if ahead is not None and ahead[:2] == (step, view):
            samples = ahead[2].result()
        else:
            samples = self._thread.submit(self.draw, step, view).result()
        self._ahead = (step + 1, view, self._thread.submit(self.draw, step + 1, view))
        self.waited_s += time.monotonic() - began
        return samples

    def draw(self, step: int, view: View) -> Samples:
        """Return the samples of ``step``; not to be called beside ``take``."""
        newest = self._advance(step)
        pairs = []
        for lane in self._lanes:
            rng = np.random.default_rng((self._seed, _SAMPLES, step, lane))
            last = newest - (newest - lane) % self._num_lanes
            chosen = last - int(rng.integers(self._depth)) * self._num_lanes
            pairs.append(cut_sample(self._held[chosen], view, rng))
        degraded, clean = (torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
        if torch.cuda.is_available():  # only pinned memory is copied while the GPU computes
            return Samples(degraded.pin_memory(), clean.pin_memory())
        return Samples(degraded, clean)

    def _advance(self, step: int) -> int:
        """Hold the examples that ``step`` chooses from; return the index of the newest."""
        size = self._depth * self._num_lanes
        newest = size - 1 + int(step / self._steps_per_example)
        oldest = newest - size + 1
        if self._stream is None:
            self._entered = oldest
            self._stream = self._examples_from(oldest)
        for index in range(self._entered, newest + 1):
            if index % self._num_lanes in self._lanes:
                self._held[index] = next(self._stream)
                self._held.pop(index - size, None)
        self._entered = max(self._entered, newest + 1)
        return newest

    def _examples_from(self, start: int) -> Iterator[Example]:
        own = (i for i in count(start) if i % self._num_lanes in self._lanes)
        if self._processes == 0:
            material, settings, seed = self._maker
            for index in own:
                yield make_example(material, settings, seed=seed, index=index)
        # Not forked: OpenCV's threads do not survive a fork, and the child waits for them forever.
        executor = ProcessPoolExecutor(
            self._processes, get_context("spawn"), initializer=_set_maker, initargs=self._maker
        )
        self._stack.callback(executor.shutdown, cancel_futures=True)
        tasks: deque[Future[list[Example]]] = deque()
        while True:
            while len(tasks) < TASKS_AHEAD * self._processes:
                indices = list(islice(own, TASK_EXAMPLES))
                tasks.append(executor.submit(_make_examples, indices))
            yield from tasks.popleft().result()


def cut_sample(example: Example, view: View, rng: Generator) -> tuple[Clip, Clip]:
    """Cut a random crop out of an example.

    Returns:
        Damaged ``[inputs, 3, H, W]`` and clean ``[outputs, 3, H * scale, W * scale]``.
    """
    frames, height, width = example.degraded_thwc.shape[:3]
    scale = example.clean_thwc.shape[1] // height
    start = int(rng.integers(frames - view.outputs + 1))
    top = GRID_PX * int(rng.integers((height - view.patch_px) // GRID_PX + 1))
    left = GRID_PX * int(rng.integers((width - view.patch_px) // GRID_PX + 1))

    def cut(clip_thwc: Clip, length: int, zoom: int) -> Clip:
        # Beyond the first and last frame the edge is repeated, as at the edge of a shot.
        context = (length - view.outputs) // 2
        shown = np.clip(np.arange(start - context, start + length - context), 0, frames - 1)
        part = clip_thwc[shown, zoom * top : zoom * (top + view.patch_px)]
        part = part[:, :, zoom * left : zoom * (left + view.patch_px)]
        return np.ascontiguousarray(part.transpose(0, 3, 1, 2))

    degraded = cut(example.degraded_thwc, view.inputs, 1)
    return degraded, cut(example.clean_thwc, view.outputs, scale)


_maker: tuple[Material, PoolSettings, int] | None = None


def _set_maker(material: Material, settings: PoolSettings, seed: int) -> None:
    """Keep what the tasks of a process share; runs once in each."""
    global _maker
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    cv2.setNumThreads(1)
    _maker = (material, settings, seed)


def _end_with_parent(parent: int) -> None:
    """End this process where the trainer was killed; the executor's own would wait for ever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _make_examples(indices: list[int]) -> list[Example]:
    assert _maker is not None
    material, settings, seed = _maker
    return [make_example(material, settings, seed=seed, index=index) for index in indices]
