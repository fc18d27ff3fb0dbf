"""Scores of a release on clean clips, through the same ``Enhancer`` that ``enhance`` uses.

Every clip is damaged in each of the fixed ways of ``damages``, restored, and compared with the
clean one, beside the damaged clip itself and the best of a few classical filters. Seed and names
decide the damage, so a clip is damaged alike whatever else is scored.
"""

import argparse
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata

import torch
from torch import Tensor

from vgen import storage
from vgen.enhance.enhancer import Enhancer
from vgen.errors import ConfigError, ReleaseError, VgenError
from vgen.models.ladder import LadderVae
from vgen.models.release import ReleaseHeader, check_restores
from vgen.training.baselines import Filter, run_filter
from vgen.training.codec import Clip
from vgen.training.damages import DamageClass, classes_for, enlarge, shrink, to_tchw, to_thwc
from vgen.training.metrics import (
    SSIM_SIDE_PX,
    mean_measures,
    measure,
    motion_of,
    warping_error,
)
from vgen.training.scores import (
    ClassScore,
    Evaluation,
    EvaluationSettings,
    Kind,
    LeftOut,
    Measures,
    RestoreSpeed,
    VaeScore,
    as_table,
)
from vgen.training.subjects import Subject, generator_for, load_subjects
from vgen.training.vae_scores import FRAMES as VAE_FRAMES
from vgen.training.vae_scores import SIDE_PX as VAE_SIDE_PX
from vgen.training.vae_scores import score_vae

log = logging.getLogger(__name__)

Restore = Callable[[Tensor], Tensor]


class _Gathered:
    """Measures of all subjects of one kind under one class of damage."""

    def __init__(self) -> None:
        self.before: list[Measures] = []
        self.after: list[Measures] = []
        self.rivals: dict[str, list[Measures]] = {}
        self.clean: list[float] = []


class _Timed:
    """A restoration that counts frames, pixels and seconds; the first call is a warm-up."""

    def __init__(self, restore: Restore) -> None:
        self._restore = restore
        self._is_warm = False
        self.frames = 0
        self.pixels = 0
        self.seconds = 0.0

    def __call__(self, clip_tchw: Tensor) -> Tensor:
        if not self._is_warm:
            self._restore(clip_tchw)
            self._is_warm = True
        start = time.perf_counter()
        # The result lies on the CPU: a GPU has finished when it is there.
        restored = self._restore(clip_tchw)
        self.seconds += time.perf_counter() - start
        self.frames += len(clip_tchw)
        self.pixels += clip_tchw.shape[0] * clip_tchw.shape[-2] * clip_tchw.shape[-1]
        return restored


def evaluate_release(
    enhancer: Enhancer,
    clips_uri: str,
    settings: EvaluationSettings,
    *,
    say: Callable[[str], None] = log.info,
) -> Evaluation:
    """Score a release on what lies at ``clips_uri``; ``say`` is told of each subject.

    Raises:
        ReleaseError: the release makes clips up and restores none, or gives no numbers.
        ConfigError: nothing there can be scored by these classes, or one of them is unknown.
        StorageError: the clips cannot be read.
    """
    header = enhancer.header
    check_restores(header.name, header.spec)
    classes = classes_for(header.spec.scale, settings.damages)
    uri = storage.normalize_uri(clips_uri)
    left_out: list[LeftOut] = []
    names: list[str] = []
    timed = _Timed(lambda clip_tchw: _numbers(enhancer.restore(clip_tchw), header.name))
    subjects = _large_enough(load_subjects(uri, settings, left_out), header.spec.scale, left_out)
    scores = evaluate(
        timed,
        _announced(subjects, names, say),
        classes=classes,
        scale=header.spec.scale,
        seed=settings.seed,
        has_baseline=settings.baseline,
    )
    if not scores:
        raise ConfigError(f"nothing in {uri!r} is of a kind that these classes of damage are for")
    vae: list[VaeScore] = []
    if enhancer.vae is not None:
        drawn = list(load_subjects(uri, settings, []))  # decoded once for all classes
        for damage in (one for one in classes if not one.is_single_frame):
            found = score_vae(enhancer.vae, drawn, damage, enhancer=enhancer, seed=settings.seed)
            vae += [] if found is None else [found]
    return Evaluation(
        release=header.name,
        release_digest=enhancer.digest,
        scale=header.spec.scale,
        clips_uri=uri,
        settings=settings,
        code_version=metadata.version("vgen"),
        subjects=tuple(names),
        num_left_out=sum(len(group.names) for group in left_out),
        left_out=tuple(left_out),
        scores=tuple(scores),
        vae=tuple(vae),
        speed=_speed(timed, enhancer.device),
    )


def _numbers(restored_tchw: Tensor, name: str) -> Tensor:
    """Return what was restored; no comparison with a rival would say that it is worse."""
    if not restored_tchw.isfinite().all():
        raise ReleaseError(f"release {name} gives values for a frame that are no numbers")
    return restored_tchw


def _large_enough(
    subjects: Iterable[Subject], scale: int, left_out: list[LeftOut]
) -> Iterator[Subject]:
    """Pass on what all measures can be taken of, without the border that does not count."""
    least_px = SSIM_SIDE_PX + 2 * _border_px(scale)
    small: list[str] = []
    for subject in subjects:
        if min(subject.clip_thwc.shape[1:3]) < least_px:
            small.append(subject.name)
        else:
            yield subject
    if small:
        left_out.append(LeftOut(reason=f"of under {least_px} pixels a side", names=tuple(small)))


def _border_px(scale: int) -> int:
    """Return how much of each edge does not count: by convention as many pixels as the scale."""
    return scale if scale > 1 else 0


def evaluate_generator(
    header: ReleaseHeader,
    digest: str,
    network: LadderVae,
    clips_uri: str,
    settings: EvaluationSettings,
) -> Evaluation:
    """Score an unconditional autoencoder by its bound on the clean clips at ``clips_uri``.

    Raises:
        ConfigError: nothing there can be scored, or all of it is too small.
        StorageError: the clips cannot be read.
    """
    uri = storage.normalize_uri(clips_uri)
    left_out: list[LeftOut] = []
    names: list[str] = []
    subjects = _announced(load_subjects(uri, settings, left_out), names, log.info)
    found = score_vae(network, subjects, None, enhancer=None, seed=settings.seed)
    if found is None:
        raise ConfigError(
            f"no clip in {uri!r} has {VAE_FRAMES} frames of {VAE_SIDE_PX}x{VAE_SIDE_PX} pixels"
        )
    return Evaluation(
        release=header.name,
        release_digest=digest,
        scale=header.spec.scale,
        clips_uri=uri,
        settings=settings,
        code_version=metadata.version("vgen"),
        subjects=tuple(names),
        num_left_out=sum(len(group.names) for group in left_out),
        left_out=tuple(left_out),
        scores=(),
        vae=(found,),
        speed=None,
    )


def _announced(
    subjects: Iterable[Subject], names: list[str], say: Callable[[str], None]
) -> Iterator[Subject]:
    """Pass subjects on, each named to ``say`` and added to ``names``."""
    for subject in subjects:
        names.append(subject.name)
        say(f"scoring {subject.kind} {subject.name}")
        yield subject


def evaluate(
    restore: Restore,
    subjects: Iterable[Subject],
    *,
    classes: Iterable[DamageClass],
    scale: int = 1,
    seed: int = 0,
    has_baseline: bool = True,
) -> list[ClassScore]:
    """Score ``restore`` under each class of damage.

    Args:
        restore: Maps ``[T, 3, H, W]`` in [0, 1] to ``[T, 3, H * scale, W * scale]``.
        subjects: Clean clips, drawn once.
        classes: What is done to them.
        scale: Output pixels for one input pixel, along each side.
        seed: Decides the damage, together with the names of subject and class.
        has_baseline: Whether to run the classical filters as well.
    """
    classes = tuple(classes)
    gathered: dict[tuple[str, Kind], _Gathered] = {}
    for subject in subjects:
        for damage in classes:
            if subject.kind not in damage.kinds:
                continue
            clean_thwc = subject.clip_thwc
            if damage.is_single_frame:
                assert subject.still_hwc is not None
                clean_thwc = subject.still_hwc[None]
            rng = generator_for(seed, subject.name, damage.name)
            damaged = damage.apply(shrink(clean_thwc, scale), rng)
            rivals = damage.filters if has_baseline else ()
            into = gathered.setdefault((damage.name, subject.kind), _Gathered())
            _score(restore, damaged, clean_thwc, scale, rivals, into)
    order = [(damage.name, kind) for damage in classes for kind in damage.kinds]
    return [_mean(*key, gathered[key], scale) for key in order if key in gathered]


def _score(
    restore: Restore,
    damaged_tchw: Tensor,
    clean_thwc: Clip,
    scale: int,
    filters: tuple[Filter, ...],
    into: _Gathered,
) -> None:
    """Take the measures of one subject under one class of damage."""
    clean = to_tchw(clean_thwc)
    motion = motion_of(clean)

    def measures(clip_tchw: Tensor) -> Measures:
        return measure(clip_tchw, clean, motion, border_px=_border_px(scale))

    into.before.append(measures(enlarge(damaged_tchw, scale)))
    into.after.append(measures(restore(damaged_tchw)))
    into.clean.append(warping_error(clean, motion))
    if filters:
        damaged_thwc = to_thwc(damaged_tchw)
        for one in filters:
            filtered = to_tchw(run_filter(damaged_thwc, one))
            into.rivals.setdefault(str(one), []).append(measures(filtered))


def _mean(damage: str, kind: Kind, found: _Gathered, scale: int) -> ClassScore:
    before = mean_measures(found.before)
    rivals = {name: mean_measures(measured) for name, measured in found.rivals.items()}
    if scale > 1:
        rivals["bicubic"] = before
    best = max(rivals, key=lambda name: rivals[name].psnr_rgb_db, default=None)
    return ClassScore(
        damage=damage,
        kind=kind,
        subjects=len(found.before),
        before=before,
        after=mean_measures(found.after),
        baseline=None if best is None else rivals[best],
        baseline_name=best,
        clean_warping_error=sum(found.clean) / len(found.clean),
    )


def _speed(timed: _Timed, device: torch.device) -> RestoreSpeed:
    is_cuda = device.type == "cuda"
    return RestoreSpeed(
        frames=timed.frames,
        frames_per_second=timed.frames / timed.seconds,
        ms_per_frame=1000 * timed.seconds / timed.frames,
        megapixels_per_frame=timed.pixels / timed.frames / 1e6,
        machine=f"{_processor()}, {os.cpu_count()} CPUs",
        device=torch.cuda.get_device_name(device) if is_cuda else "cpu",
        threads=torch.get_num_threads(),
    )


def _processor() -> str:
    """Return the name of the processor, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:  # noqa: PTH123 - no file on a disk
            named = [line.partition(":")[2].strip() for line in stream if "model name" in line]
    except OSError:
        named = []
    return named[0] if named else platform.processor() or platform.machine()


def main(arguments: list[str] | None = None) -> int:
    """Run from a shell, without the command line's libraries; returns the exit status."""
    chosen = EvaluationSettings()
    parser = argparse.ArgumentParser(prog="python -m vgen.training.evaluate", description=__doc__)
    parser.add_argument("release", help="name of a bundled release, or a file")
    parser.add_argument("clips", help="dataset, folder or file of clean stills and videos")
    parser.add_argument("--seed", type=int, default=chosen.seed)
    parser.add_argument("--limit", type=int, default=chosen.limit)
    parser.add_argument("--only", action="append", default=[], help="names, as shell patterns")
    parser.add_argument("--damages", action="append", default=[], help="classes of damage")
    parser.add_argument("--no-baseline", dest="baseline", action="store_false")
    parser.add_argument("--device", default=chosen.device)
    parser.add_argument("--threads", type=int, default=chosen.threads)
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    given = vars(parser.parse_args(arguments))
    release, clips, is_json = (given.pop(key) for key in ("release", "clips", "json"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settings = EvaluationSettings.model_validate(given)
    torch.set_num_threads(settings.threads)
    try:
        enhancer = Enhancer.load(release, device=settings.device)
        evaluation = evaluate_release(enhancer, clips, settings)
    except VgenError as error:
        log.error("%s", error)
        return 2
    sys.stdout.write(evaluation.model_dump_json(indent=2) if is_json else as_table(evaluation))
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
