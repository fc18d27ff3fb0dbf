"""Training speed: samples a second, time spent waiting for data, and what a second worker adds.

Part one makes examples in three ways: in the training process, in processes beside it as
training does, and by Ray Data. Part two trains ``tiny`` for a while with each division of the
same CPUs. One sitting, one torch thread a worker. Prints Markdown; ``--output`` keeps it.
"""

import argparse
import dataclasses
import itertools
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import torch

from pipelines.cluster import connected, usable_cpus
from pipelines.demo import sample_folder
from pipelines.train import TrainRequest, train_on
from vgen.training.clips import Material, load_material
from vgen.training.feed import Feed, View
from vgen.training.journal import read_curves
from vgen.training.loop import Place, train
from vgen.training.pool import make_example
from vgen.training.settings import TrainSettings

SETTINGS = TrainSettings(seconds=1, validation_clips=1, checkpoint_every_s=1e9)
LOG_EVERY_S = 5
MIN_S = 4 * LOG_EVERY_S
VIEW = View(inputs=3, outputs=1, patch_px=SETTINGS.patch_px)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("data", nargs="?", help="a dataset; made of the demo's clips if not given")
    parser.add_argument("--seconds", type=float, default=60, help="of each measurement")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    given = parser.parse_args()
    if given.seconds < MIN_S:
        parser.error(f"--seconds: at least {MIN_S}, as curves get a point every {LOG_EVERY_S} s")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="vgen-bench-") as folder:
        report(given.data or made_of_samples(Path(folder)), given.seconds, given.output)


def made_of_samples(folder: Path) -> str:
    """Make a dataset of the demo's clips; return where it lies."""
    command = [sys.executable, "-m", "pipelines.cli", "dataset", str(sample_folder()), str(folder)]
    subprocess.run([*command, "--address", "local"], check=True)
    return str(folder)


def report(data: str, seconds: float, output: Path | None) -> None:
    """Measure, and print the tables."""
    material = load_material(data)
    machine = f"{platform.processor() or platform.machine()}, {usable_cpus()} CPUs"
    lines = [f"{machine}, torch {torch.__version__}; load {os.getloadavg()[0]:.1f} before.", ""]
    lines += ["| examples made | examples/s |", "|---|---:|"]
    sys.stdout.write("\n".join(lines) + "\n")
    head = ["", "| training | samples/s | waiting for data |", "|---|---:|---:|"]
    for line in itertools.chain(
        examples(data, material, seconds), head, trainings(data, material, seconds)
    ):
        lines.append(line)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    if output is not None:
        output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def examples(data: str, material: Material, seconds: float) -> Iterator[str]:
    """Yield a row for each way of making examples."""

    def alone() -> Iterator[object]:
        for index in itertools.count():
            yield make_example(material, SETTINGS.pool, seed=0, index=index)

    yield row("in the training process", rate(alone(), seconds))
    for processes in (1, 2):
        with Feed(
            material,
            SETTINGS.pool,
            seed=0,
            lanes=range(8),
            num_lanes=8,
            steps_per_example=1.0,
            processes=processes,
        ) as feed:
            feed.draw(0, VIEW)  # fills the pool, and starts the processes
            made = (feed.draw(step, VIEW) for step in itertools.count(1))
            yield row(
                f"by {processes} processes beside it, and a batch cut of each", rate(made, seconds)
            )
    for workers in (1, 2):
        yield row(f"by Ray Data, {workers} actors", rate(by_ray_data(data, workers), seconds))


class Maker:
    """A Ray Data actor that makes the example of a row."""

    def __init__(self, data: str) -> None:
        cv2.setNumThreads(1)
        self._material = load_material(data)

    def __call__(self, line: dict[str, object]) -> dict[str, object]:
        example = make_example(self._material, SETTINGS.pool, seed=0, index=int(str(line["id"])))
        return {"degraded": example.degraded_thwc, "clean": example.clean_thwc}


def by_ray_data(data: str, workers: int) -> Iterator[object]:
    """Yield examples as an epoch without end would, after the actors have started."""
    import ray

    with connected("local"):
        rows = ray.data.range(100_000, override_num_blocks=5_000)
        made = rows.map(
            Maker, fn_constructor_args=(data,), compute=ray.data.ActorPoolStrategy(size=workers)
        )
        iterator = iter(made.iter_batches(batch_size=1, prefetch_batches=8))
        next(iterator)
        yield from iterator


def rate(things: Iterator[object], seconds: float) -> float:
    """Return how many a second come; the first one, which pays for starting, does not count."""
    next(things)
    began = time.monotonic()
    count = 0
    while time.monotonic() < began + seconds:
        next(things)
        count += 1
    return count / (time.monotonic() - began)


def trainings(data: str, material: Material, seconds: float) -> Iterator[str]:
    """Yield a row for each division of the CPUs."""
    settings = SETTINGS.model_copy(update={"seconds": seconds})

    def bare(processes: int) -> Callable[[str], None]:
        def run(folder: str) -> None:
            place = Place(run_uri=folder, processes=processes, log_every_s=LOG_EVERY_S)
            train(material, settings, place)

        return run

    def on_ray(workers: int, processes: int) -> Callable[[str], None]:
        request = TrainRequest(
            data=data, run="", settings=settings, workers=workers, processes=processes,
            log_every_s=LOG_EVERY_S,
        )  # fmt: skip

        def run(folder: str) -> None:
            with connected("local") as cluster:
                train_on(cluster, dataclasses.replace(request, run=folder), say=lambda line: None)

        return run

    cases = {
        "one process, examples made by a thread": bare(0),
        "one process, examples made by another": bare(1),
        "Ray Train, 1 worker and a process": on_ray(1, 1),
        "Ray Train, 1 worker": on_ray(1, 0),
        "Ray Train, 2 workers": on_ray(2, 0),
    }
    for name, run in cases.items():
        with tempfile.TemporaryDirectory(prefix="vgen-bench-") as folder:
            run(folder)
            rows = [line for line in read_curves(folder) if "samples_per_s" in line][1:]
            means = [
                sum(float(line[key]) for line in rows) / len(rows)
                for key in ("samples_per_s", "wait_share")
            ]
            yield f"| {name} | {means[0]:.1f} | {means[1]:.1%} |"


def row(name: str, per_second: float) -> str:
    return f"| {name} | {per_second:.1f} |"


if __name__ == "__main__":
    main()
