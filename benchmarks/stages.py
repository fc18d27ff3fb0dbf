"""One stage alone, in a process of its own: ``python -m benchmarks.stages STAGE CLIP FRAMES``.

Prints CPU seconds and frames as JSON. Imports and loading are not counted.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from av import VideoFrame

from benchmarks.measure import cpu_seconds_of
from vgen.config import Recipe
from vgen.media.decode import DecodeStats, decode_span
from vgen.media.encode import encode_chunk
from vgen.media.encoders import resolve_encoding
from vgen.media.probe import probe_video
from vgen.records import Span, VideoRef

if TYPE_CHECKING:
    from vgen.models.generator import Network

RELEASE = "restore-tiny"


def main() -> None:
    stage, clip, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
    path = Path(clip)
    ref = VideoRef(uri=clip, relative_path=path.name, etag="", size_bytes=path.stat().st_size)
    recipe = Recipe()
    info, timeline = probe_video(ref, recipe.limits)
    frames = min(wanted, len(timeline))
    span = Span(
        start=0,
        stop=frames,
        begin_pts=None,
        start_pts=None,
        stop_pts=timeline.pts[frames] if frames < len(timeline) else None,
        end_pts=timeline.pts[frames] if frames < len(timeline) else None,
        pts=timeline.pts[:frames],
    )

    def decoded() -> Iterator[VideoFrame]:
        return decode_span(clip, info, span, threads=1, salvage=True, stats=DecodeStats())

    def drain(items: Iterable[object]) -> None:
        for _ in items:
            pass

    if stage == "decode":
        cpu_s = cpu_seconds_of(lambda: drain(decoded()))
    elif stage == "network":
        cpu_s = cpu_seconds_of(bare_network(info.video.width, info.video.height, frames))
    elif stage == "enhance":
        from vgen.enhance.enhancer import Enhancer
        from vgen.enhance.stream import enhance_frames

        enhancer = Enhancer.load(RELEASE, device="cpu")
        held = list(islice(decoded(), frames))
        cpu_s = cpu_seconds_of(
            lambda: drain(
                enhance_frames(
                    enhancer,
                    held,
                    span,
                    video=info.video,
                    out_format=info.video.planar_format,
                    strength=1.0,
                    notes=[],
                )
            )
        )
    elif stage == "encode":
        plan = resolve_encoding(info, recipe.encode, scale=1)
        held = list(islice(decoded(), frames))
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "chunk.mp4"
            cpu_s = cpu_seconds_of(lambda: encode_chunk(held, plan, target, uri=clip))
    else:
        sys.exit(f"unknown stage {stage!r}")
    sys.stdout.write(json.dumps({"cpu_s": cpu_s, "frames": frames}) + "\n")


def bare_network(width: int, height: int, frames: int) -> Callable[[], None]:
    """Return the network alone on noise of the clip's size, batches of four."""
    import torch

    from vgen.models.release import bundled_releases, load_network

    torch.set_num_threads(1)
    module = load_network(bundled_releases()[RELEASE])[1]
    # torch states no type for this form of it.
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = cast("Network", module)
    shape = (4, 3, height + -height % 8, width + -width % 8)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)

    def work() -> None:
        with torch.inference_mode():
            for _ in range(-(-frames // 4)):
                features = network.embed(x)
                network.residual(torch.stack([features] * 3, dim=1))

    return work


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main()
