"""The single-process peer: ffmpeg pipe -> the same network -> ffmpeg pipe, done well.

``python -m benchmarks.peer IN OUT WIDTH HEIGHT RATE RELEASE`` restores a video as the usual
scripts of super-resolution tools do: rgb24 through pipes, torch with two threads, batches of
four, the same encoder settings as vgen. ``RELEASE`` is a bundled name, or identity.
"""

import subprocess
import sys
import time
from typing import IO, cast

import imageio_ffmpeg
import numpy as np
import torch
from torch import Tensor

from vgen.models.generator import Network
from vgen.models.release import bundled_releases, load_network

BATCH = 4
THREADS = 2


def main() -> None:
    source, target, width, height, rate, release = sys.argv[1:]
    w, h = int(width), int(height)
    program = imageio_ffmpeg.get_ffmpeg_exe()
    quiet = [program, "-v", "error", "-nostdin", "-y"]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    torch.set_num_threads(THREADS)
    network: Network | None = None
    if release != "identity":
        module = load_network(bundled_releases()[release])[1]
        # torch states no type for this form of it.
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network = cast("Network", module)
    with (
        subprocess.Popen([*quiet, "-i", source, *raw, "-"], stdout=subprocess.PIPE) as reader,
        subprocess.Popen(
            [*quiet, *raw, "-s", f"{w}x{h}", "-r", rate, "-i", "-", "-pix_fmt", "yuv420p"]
            + ["-c:v", "libx264", "-preset", "medium", "-crf", "18", "-g", "120", target],
            stdin=subprocess.PIPE,
        ) as writer,
        torch.inference_mode(),
    ):
        assert reader.stdout is not None
        assert writer.stdin is not None
        size = w * h * 3
        if network is None:
            while frame := reader.stdout.read(size):
                writer.stdin.write(frame)
        else:
            restore(network, reader.stdout, writer.stdin, w, h)
        writer.stdin.close()


def restore(network: Network, frames: IO[bytes], sink: IO[bytes], w: int, h: int) -> None:
    """Slide a window of three over the frames, four centre frames a call."""
    pad_w, pad_h = -w % 8, -h % 8
    size = w * h * 3
    rgb: list[Tensor] = []
    features: list[Tensor] = []
    first_at = None

    def load() -> bool:
        batch: list[Tensor] = []
        while len(batch) < BATCH and len(raw := frames.read(size)) == size:
            batch.append(torch.from_numpy(np.frombuffer(raw, np.uint8).reshape(h, w, 3).copy()))
        if not batch:
            return False
        x = torch.stack(batch).permute(0, 3, 1, 2).float().div_(255)
        x = torch.nn.functional.pad(x, (0, pad_w, 0, pad_h), mode="reflect")
        x = x.contiguous(memory_format=torch.channels_last)
        rgb.extend(x)
        features.extend(network.embed(x))
        return True

    more, index = load(), 0
    while index < len(rgb):
        while more and len(rgb) < index + BATCH + 1:
            more = load()
        centres = range(index, min(index + BATCH, len(rgb) if not more else len(rgb) - 1))
        last = len(rgb) - 1
        windows = torch.stack(
            [
                torch.stack([features[max(n - 1, 0)], features[n], features[min(n + 1, last)]])
                for n in centres
            ]
        )
        out = network.residual(windows) + torch.stack([rgb[n] for n in centres])
        if first_at is None:
            first_at = time.time()
        done = out[:, :, :h, :w].clamp_(0, 1).mul_(255).round_().byte().permute(0, 2, 3, 1)
        sink.write(done.contiguous().numpy().tobytes())
        drop = centres.stop - 1 - 1
        if drop > 0:
            del rgb[:drop], features[:drop]
        index = centres.stop - max(drop, 0)


if __name__ == "__main__":
    main()
