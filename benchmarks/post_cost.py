"""What each post-processing step costs a frame, at 480p and 1080p.

``python -m benchmarks.post_cost``. On a CPU, CPU milliseconds of one thread; on a GPU, where there
is one, wall milliseconds between synchronisations. The least of several rounds counts, as whoever
else is on the machine only ever adds. Every step has something to do: the camera shakes, the light
flickers and has a cast, and noise of five levels is taken out.
"""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import cv2
import numpy as np
import torch

from vgen.enhance.coding import Coding
from vgen.enhance.colorspace import Converter
from vgen.enhance.shots import is_cut, thumbnail
from vgen.enhance.small import luma_levels, small_rgb
from vgen.media.facts import ColorTags
from vgen.media.pixels import planar_format
from vgen.post.chain import Chain, ChainPlan
from vgen.post.color import ColorPlan, Grade, ShotColor
from vgen.post.deflicker import DeflickerPlan
from vgen.post.denoise import DenoisePlan
from vgen.post.stabilize import ShotPath, StabilizePlan
from vgen.post.stats import Observer
from vgen.post_options import STEPS, ColorOptions, PostSettings

SIZES = {"480p": (854, 480), "1080p": (1920, 1080)}
NUM_FRAMES = {"cpu": 5, "cuda": 60}
WARM_UP = 2
ROUNDS, CALLS = 10, 8
MEASURES = (
    "light, colour and cuts",
    "the same, and motion",
    "the same, motion and flicker",
    "noise, one frame in 12",
)
CODING = Coding.of(
    planar_format("yuv420p"),
    ColorTags(matrix=1, primaries=1, transfer=1, is_full_range=False),
)
Planes = list[np.ndarray]


def main() -> None:
    """Print two tables."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print("measuring the source, CPU ms a frame beyond decoding | 480p | 1080p")
    for name in MEASURES:
        print(f"{name} | {' | '.join(f'{measured_ms(name, *s):.1f}' for s in SIZES.values())}")
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        print(f"step on {device}, ms a frame | 480p | 1080p")
        for name in ("YUV to RGB and back", *STEPS):
            costs = " | ".join(f"{step_ms(name, device, *size):.2f}" for size in SIZES.values())
            print(f"{name} | {costs}", flush=True)


def planes_of_clip(width: int, height: int, count: int) -> list[Planes]:
    """A textured still, moving three pixels a frame, noisy."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(60, 190, (height // 8, width // 8)).astype(np.float32)
    still = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    chroma = [np.full(shape, 128, np.uint8) for shape in CODING.format.plane_shapes(width, height)]
    clip = []
    for t in range(count):
        luma = np.roll(still, 3 * t, axis=1) + rng.normal(0, 5, still.shape)
        clip.append([luma.clip(0, 255).astype(np.uint8), *chroma[1:]])
    return clip


def measured_ms(name: str, width: int, height: int) -> float:
    """CPU milliseconds a frame of what the analyze pass does."""
    clip = planes_of_clip(width, height, 8)
    if name.startswith("noise"):
        observer = Observer(with_motion=False)
        small = small_rgb(clip[0], CODING, uri="")
        plain = spent_ms(lambda t: observer.see(t, small))
        luma_hw, _ = luma_levels(clip[0], CODING)
        return (spent_ms(lambda t: observer.see(t, small, luma_hw=luma_hw)) - plain) / 12
    observer = Observer(with_motion="motion" in name, with_light="flicker" in name)
    thumbnails = [thumbnail(planes[0], 8) for planes in clip]

    def work(t: int) -> None:
        planes = clip[t % len(clip)]
        is_cut(thumbnails[t % len(clip) - 1], thumbnail(planes[0], 8))
        observer.see(t, small_rgb(planes, CODING, uri=""))

    return spent_ms(work)


def spent_ms(work: Callable[[int], object]) -> float:
    """CPU milliseconds of a call, the mean over the round that took least."""
    work(0)
    spent = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for t in range(1, CALLS + 1):
            work(t)
        spent.append(time.process_time() - began)
    return min(spent) / CALLS * 1e3


def step_ms(name: str, device: str, width: int, height: int) -> float:
    """Milliseconds a frame of one step, or of the conversion that all of them need."""
    where, count = torch.device(device), NUM_FRAMES[device]
    planes = planes_of_clip(width, height, 1)[0]
    converter = Converter(CODING, CODING, scale=1, device=where, uri="")
    loaded = converter.load(planes)
    rgb_nchw = converter.rgb(loaded)
    clock = time.process_time
    if device == "cuda":

        def clock() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

    if name not in STEPS:

        def passed(_: int) -> object:
            return converter.paint(converter.rgb(loaded))
    else:
        chain = Chain(
            PostSettings(steps=(name,), color=ColorOptions(saturation=1.1)),
            plan_of(width, height, count + WARM_UP),
        )
        stream: Iterator[object] = chain.stream(
            (t, rgb_nchw.clone()) for t in range(count + WARM_UP + chain.tail)
        )

        def passed(_: int) -> object:
            return next(stream)

    for t in range(WARM_UP):
        passed(t)
    moments = [clock()]
    for t in range(count):
        passed(t)
        moments.append(clock())
    return min(after - before for before, after in pairwise(moments)) * 1e3


def plan_of(width: int, height: int, count: int) -> ChainPlan:
    """Something to do for every step."""
    matrix = (1.1, 0.0, 0.0, 0.01, 0.0, 1.0, 0.0, 0.01, 0.0, 0.0, 0.9, 0.01)
    grade = Grade(frame=0, matrix=matrix, power=1.1)
    maps = tuple((0.002 * (t % 3), 0.001, 1.0, 0.002) for t in range(count + 8))
    return ChainPlan(
        color=ColorPlan(shots=(ShotColor(start=0, grades=(grade,)),)),
        denoise=DenoisePlan(starts=(0,), sigmas=(5.0,)),
        deflicker=DeflickerPlan(first=0, gains=(1.03,) * (count + 8)),
        stabilize=StabilizePlan(
            aspect=width / height, paths=(ShotPath(start=0, zoom=0.95, maps=maps),)
        ),
    )


if __name__ == "__main__":
    main()
