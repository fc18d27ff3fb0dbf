"""vgen against its own stages and against the single-process peer: ``make bench``.

One clip, one sitting, rounds in turn. Prints a Markdown table; ``--output`` keeps it.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import imageio_ffmpeg

from benchmarks.measure import Measured, measure, median
from pipelines.cluster import WORKER_ENVIRONMENT, usable_cpus
from pipelines.demo import sample_folder

WIDTH, HEIGHT, RATE = 854, 480, "30000/1001"
STAGE_FRAMES = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="length of the clip")
    parser.add_argument("--rounds", type=int, default=1, help="how often each case runs")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--case", choices=["tiny", "identity", "start"], action="append")
    options = parser.parse_args()
    cases = options.case or ["start", "tiny", "identity"]
    with tempfile.TemporaryDirectory(prefix="vgen-bench-") as name:
        folder = Path(name)
        clip, tiny_clip = folder / "in" / "clip.mp4", folder / "short" / "clip.mp4"
        make_clip(clip, options.seconds)
        make_clip(tiny_clip, 1)
        lines = [*heading(clip), *stage_lines(clip)]
        if "start" in cases:
            lines += start_lines(tiny_clip, folder)
        if "tiny" in cases:
            lines += race_lines(clip, folder, options.rounds)
        if "identity" in cases:
            lines += identity_lines(clip, folder, options.rounds)
    text = "\n".join(lines)
    print(text)
    if options.output:
        options.output.write_text(f"{text}\n", encoding="utf-8")


def make_clip(path: Path, seconds: int) -> None:
    """Encode real material, looped and scaled to 480p, as archives hold it (x264, no audio)."""
    real = os.environ.get("VGEN_REAL_CLIPS")
    source = (
        Path(real) / "gopro_karma_drone_480p_audio_telemetry.mp4"
        if real
        else sample_folder() / "bikes.mp4"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-stream_loop", "-1"]
        + ["-i", str(source), "-t", str(seconds), "-an", "-dn", "-sn", "-r", RATE]
        + ["-vf", f"scale={WIDTH}:{HEIGHT},format=yuv420p", "-c:v", "libx264"]
        + ["-preset", "veryfast", "-crf", "20", "-g", "60", str(path)],
        check=True,
    )


def environment() -> dict[str, str]:
    """Return the environment of all cases: what vgen sets for its workers, for the peer too."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "VGEN_"))}
    return {**clean, **WORKER_ENVIRONMENT}


def heading(clip: Path) -> list[str]:
    return [
        f"# Enhancing on {usable_cpus()} CPU cores, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"Machine: {_processor()}, {usable_cpus()} cores, no GPU.",
        f"Python {platform.python_version()}, torch {version('torch')}, ray {version('ray')}.",
        f"Clip: {WIDTH}x{HEIGHT}, {_count(clip)} frames. Encoder: libx264 medium crf 18 g 120.",
        "Command: `make bench`. CPU seconds are of the whole process tree; `others` is the share",
        "of the machine that other processes used meanwhile.",
        "",
    ]


def stage_lines(clip: Path) -> list[str]:
    lines = ["| stage alone, 1 thread | CPU-ms a frame |", "| --- | --- |"]
    total = 0.0
    for stage in ("decode", "network", "enhance", "encode"):
        spent = stage_ms(stage, clip)
        total += spent if stage != "network" else 0.0
        lines.append(f"| {stage} | {spent:.1f} |")
    lines.append(f"| sum (decode + enhance + encode) | {total:.1f} |")
    lines.append(f"| ideal on {usable_cpus()} cores | {total / usable_cpus():.1f} wall |")
    return [*lines, ""]


def stage_ms(stage: str, clip: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.stages", stage, str(clip), str(STAGE_FRAMES)],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return 1000 * float(found["cpu_s"]) / int(found["frames"])


def start_lines(clip: Path, folder: Path) -> list[str]:
    """Cold start: from the command to the first restored frame, three times."""
    runs, firsts = [], []
    for number in range(3):
        target = folder / f"start{number}"
        began, run = _vgen(clip.parent, target, "restore-tiny")
        runs.append(run)
        firsts.append(min(row["first_frame_at"] for row in spans_of(target)) - began)
    return [
        "| cold start, 1 s clip, Ray not running | median of 3 |",
        "| --- | --- |",
        f"| first restored frames after | {median(firsts):.1f} s |",
        f"| whole run, wall | {median([run.wall_s for run in runs]):.1f} s |",
        f"| whole run, CPU | {median([run.cpu_s for run in runs]):.1f} s |",
        f"| others | {median([run.others for run in runs]):.2f} |",
        "",
    ]


def _sum_ms(clip: Path, copies: int) -> float:
    """Sum up the stages, each measured in ``copies`` processes at once: their mean."""
    with ThreadPoolExecutor(copies) as pool:
        return sum(
            sum(pool.map(partial(stage_ms, stage), [clip] * copies)) / copies
            for stage in ("decode", "enhance", "encode")
        )


def race_lines(clip: Path, folder: Path, rounds: int) -> list[str]:
    frames = _count(clip)
    rows = ["| round | case | wall s | CPU s | frames/s | peak MB | others |", "| --- " * 7 + "|"]
    ratios_wall, ratios_cpu = [], []
    at_once = max(2, usable_cpus())
    efficiencies: dict[int, list[float]] = {1: [], at_once: []}
    for number in range(1, rounds + 1):
        target = folder / f"tiny{number}"
        # Before and after the run: machines drift by a tenth in minutes.
        before_ms = {copies: _sum_ms(clip, copies) for copies in efficiencies}
        _, ours = _vgen(clip.parent, target, "restore-tiny")
        ideal_ms = {
            copies: (before_ms[copies] + _sum_ms(clip, copies)) / 2 / usable_cpus()
            for copies in efficiencies
        }
        spans = spans_of(target)
        steady_s = max(s["ended"] for s in spans) - min(s["began"] for s in spans)
        for copies, ideal in ideal_ms.items():
            efficiencies[copies].append(ideal / (1000 * steady_s / frames))
        peer = _peer(clip, folder, "restore-tiny")
        rows += [_row(number, "vgen", ours, frames), _row(number, "peer", peer, frames)]
        ratios_wall.append(ours.wall_s / peer.wall_s)
        ratios_cpu.append(ours.cpu_s / peer.cpu_s)
        shutil.rmtree(target)
    ratios = f"wall {median(ratios_wall):.2f}, CPU {median(ratios_cpu):.2f}"
    alone, together = (f"{median(found):.2f}" for found in efficiencies.values())
    return [
        *rows,
        "",
        f"restore-tiny, vgen / peer: {ratios}",
        "",
        f"Steady-state efficiency (ideal / measured): {alone} against stages alone, {together}",
        f"against stages in {at_once} processes at once, which share memory and clock.",
        "",
    ]


def identity_lines(clip: Path, folder: Path, rounds: int) -> list[str]:
    # A second for each worker: start-up is that of all whom the whole clip keeps busy.
    short = folder / "start" / "clip.mp4"
    make_clip(short, usable_cpus())
    frames, few = _count(clip), _count(short)
    spans = ["--span-frames", str(-(-few // usable_cpus()))]
    rows = ["| round | case | wall s | CPU s | frames/s | peak MB | others |", "| --- " * 7 + "|"]
    # It varies by a third from run to run, more than a tenth of what it is taken off.
    starts = [
        _vgen(short.parent, folder / f"ids{number}", "identity", *spans)[1] for number in range(3)
    ]
    rows += [_row(number, f"start, {few} frames", run, few) for number, run in enumerate(starts, 1)]
    start_s = median([run.cpu_s for run in starts])
    ratios = []
    for number in range(1, rounds + 1):
        _, ours = _vgen(clip.parent, folder / f"id{number}", "identity")
        program = imageio_ffmpeg.get_ffmpeg_exe()
        coding = ["-c:v", "libx264", "-preset", "medium", "-crf", "18", "-g", "120"]
        plain = [program, "-v", "error", "-nostdin", "-y", "-i", str(clip), *coding]
        peer = measure([*plain, str(folder / "plain.mp4")], env=environment())
        rows += [_row(number, "vgen identity", ours, frames), _row(number, "ffmpeg", peer, frames)]
        ours_ms = 1000 * (ours.cpu_s - start_s) / (frames - few)
        peer_ms = 1000 * peer.cpu_s / frames
        rows.append(f"| {number} | CPU-ms a frame, no start-up | | {ours_ms:.1f} / {peer_ms:.1f} |")
        ratios.append(ours_ms / peer_ms)
    return [*rows, "", f"identity, vgen / ffmpeg, CPU a frame: {median(ratios):.2f}", ""]


def spans_of(target: Path) -> list[dict[str, float]]:
    """Read who did which span from when to when."""
    (path,) = (target / "_vgen" / "runs").glob("*/spans.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _vgen(source: Path, target: Path, release: str, *options: str) -> tuple[float, Measured]:
    import time

    began = time.time()
    command = [str(Path(sys.executable).with_name("vgen")), "enhance", str(source), str(target)]
    command += ["--release", release, "--address", "local", *options]
    run = measure(command, env=environment())
    if run.returncode:
        sys.exit(f"vgen ended with {run.returncode}:\n{run.output}")
    return began, run


def _peer(clip: Path, folder: Path, release: str) -> Measured:
    command = [sys.executable, "-m", "benchmarks.peer", str(clip), str(folder / "peer.mp4")]
    run = measure([*command, str(WIDTH), str(HEIGHT), RATE, release], env=environment())
    if run.returncode:
        sys.exit(f"the peer ended with {run.returncode}:\n{run.output}")
    return run


def _row(number: int, case: str, run: Measured, frames: int) -> str:
    return (
        f"| {number} | {case} | {run.wall_s:.1f} | {run.cpu_s:.1f} | {frames / run.wall_s:.1f} "
        f"| {run.peak_bytes / 1e6:.0f} | {run.others:.2f} |"
    )


def _count(clip: Path) -> int:
    import av

    with av.open(str(clip)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
