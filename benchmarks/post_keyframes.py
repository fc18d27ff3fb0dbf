"""What looking at keyframes costs beside decoding, where colour alone is asked for.

``python -m benchmarks.post_keyframes``. CPU seconds of one thread for the whole of real clips: what
the analyze pass does for a recipe with the step ``color``, and decoding every frame. The least of
three rounds counts, as whoever else is on the machine only ever adds.
"""

import time
from collections.abc import Callable

import cv2

from benchmarks.deinterlace import whole_span
from benchmarks.post_clips import clip_paths
from pipelines.jobs import VideoJob
from pipelines.observe import measure_keyframes
from pipelines.span import SpanRun
from vgen.config import Limits, load_recipe
from vgen.enhance.plan import plan_spans
from vgen.media.decode import DecodeStats, decode_span
from vgen.media.encoders import resolve_encoding
from vgen.media.probe import probe_video
from vgen.records import VideoRef

CLIPS = (
    "intel_bottle_360p",
    "intel_one_by_one_432p",
    "bbb_720p_30s",
    "opencv_cup",
    "street_dog_720p_audio",
    "bbb_1080p60_audio",
)
ROUNDS = 3


def main() -> None:
    """Print a table."""
    cv2.setNumThreads(1)
    print("clip | frames | keyframes seen | decoding, s | colour at keyframes, s | share")
    for name in CLIPS:
        print(f"{name} | {compared(name)}", flush=True)


def compared(name: str) -> str:
    """Return the line of one clip."""
    path = clip_paths()[name]
    ref = VideoRef(uri=str(path), relative_path=path.name, etag="", size_bytes=path.stat().st_size)
    info, timeline = probe_video(ref, Limits())
    recipe = load_recipe(None, {"post": {"steps": ("color",)}})
    encode = resolve_encoding(info, recipe.encode, scale=1, is_deinterlaced=False)
    job = VideoJob(
        ref=ref,
        output_path="",
        output_uri="",
        work_key="",
        info=info,
        encode=encode,
        last_duration=timeline.last_duration,
    )
    spans = plan_spans(timeline, lead=1, tail=1, max_frames=None)
    run = SpanRun(job=job, span=spans[0], recipe=recipe, source_path=None, threads=1)
    seen = len(measure_keyframes(run, spans).stats)
    looking_s = least_s(lambda: measure_keyframes(run, spans))
    decoding_s = least_s(lambda: decode_all(job, timeline.pts))
    figures = f"{decoding_s:.2f} | {looking_s:.2f} | {looking_s / decoding_s:.0%}"
    return f"{len(timeline)} | {seen} | {figures}"


def decode_all(job: VideoJob, pts: tuple[int, ...]) -> None:
    """Decode every frame of a video."""
    span = whole_span(pts)
    frames = decode_span(job.ref.uri, job.info, span, threads=1, salvage=True, stats=DecodeStats())
    for _ in frames:
        pass


def least_s(work: Callable[[], object]) -> float:
    """Return the CPU seconds of the round that took least."""
    spent = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


if __name__ == "__main__":
    main()
