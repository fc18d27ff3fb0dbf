"""The row functions of a run, called one after the other without any scheduler."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from pipelines.analysis import Analysis, read_analysis
from pipelines.analyze import observe, reduce_video
from pipelines.assemble import Assembled, assemble
from pipelines.chunks import produce_row
from pipelines.context import RunContext
from pipelines.jobs import PLAN_SCHEMA, VideoJob, span_rows
from pipelines.plan import spec_around
from pipelines.post_files import read_post_files
from pipelines.probing import probe_source
from pipelines.release_files import resolve_release
from tests.media_factory import FFMPEG
from vgen import storage
from vgen.config import Recipe
from vgen.enhance.enhancer import Enhancer
from vgen.records import Fault, Span, VideoRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """A plan of one video, to be worked on by hand."""

    context: RunContext
    job: VideoJob
    spans: tuple[Span, ...]

    def analyze(self) -> Fault | None:
        """Do the analyze pass."""
        parts = [observe(0, n, self.context) for n in range(len(self.spans))]
        return reduce_video(0, self.context, *parts)

    def analysis(self) -> Analysis:
        """Return what the pass left."""
        return read_analysis(self.context.destination, self.job.work_key)

    def produce(self) -> list[dict[str, object]]:
        """Do every span with release identity and return its rows."""
        torch.set_num_threads(1)  # as workers have it: sums of several threads round differently
        enhancer = Enhancer.load("identity", device="cpu")
        rows = [{"video": 0, "row_group": 0, "span": n} for n in range(len(self.spans))]
        return [produce_row(row, enhancer, self.context) for row in rows]

    def assemble(self, *, is_overwrite: bool = False) -> Assembled:
        """Publish the video."""
        context = self.context
        return assemble(
            context.plan_uri, 0, destination=context.destination, recipe=context.recipe,
            release=context.release, is_overwrite=is_overwrite,
        )  # fmt: skip


def bare(source: Path, destination: Path, recipe: Recipe, *, span_frames: int | None) -> Bare:
    """Plan one video below ``destination``."""
    release = resolve_release("identity")
    stat = storage.stat(str(source))
    ref = VideoRef(
        uri=str(source), relative_path=source.name, etag=stat.etag, size_bytes=stat.size_bytes
    )
    probed = probe_source(ref, recipe, spec_around(release.spec, recipe), span_frames)
    assert probed.info is not None
    assert probed.encode is not None
    output = f"{source.stem}.{probed.encode.container}"
    job = VideoJob(
        ref=ref, output_path=output, output_uri=str(destination / output), work_key="key",
        info=probed.info, encode=probed.encode, last_duration=probed.last_duration,
        fields=probed.fields,
    )  # fmt: skip
    destination.mkdir(parents=True)
    plan_path = destination / "plan.parquet"
    with pq.ParquetWriter(plan_path, PLAN_SCHEMA) as writer:
        writer.write_table(span_rows(job, probed.spans))
    files = read_post_files(recipe.post)
    context = RunContext(
        run_id="run", plan_uri=str(plan_path), destination=str(destination), recipe=recipe,
        release=release, device="cpu", post_files=files,
    )  # fmt: skip
    if files.lut is not None:
        storage.write_bytes(context.lut_uri, files.lut)
    return Bare(context=context, job=job, spans=probed.spans)


def pixels_of(path: Path, *, width: int, height: int) -> np.ndarray:
    """Decode 4:2:0 with the independent program: ``[T, bytes of a frame]``."""
    command = [FFMPEG, "-v", "error", "-i", f"file:{path}", "-fps_mode", "passthrough",
               "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, width * height * 3 // 2)
