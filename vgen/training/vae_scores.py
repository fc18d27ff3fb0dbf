"""What makes a variational autoencoder one, in figures: its bound, its latents, its samples.

The bound is held against a normal distribution fitted to the same clips; samples against each
other, and against the clean clip.

Axes: n batch, t time, c channel (RGB), h height, w width. Frames are float32, nominally in
[0, 1].
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import linregress
from torch import Tensor

from vgen.enhance.enhancer import Enhancer
from vgen.models.ladder import Vae
from vgen.models.vae import Gaussian
from vgen.training.damages import DamageClass, to_tchw
from vgen.training.elbo import active_units, gaussian_baseline_bits, negative_elbo
from vgen.training.metrics import psnr_rgb_db
from vgen.training.objective import luma
from vgen.training.scores import VaeScore
from vgen.training.subjects import Subject, generator_for

SIDE_PX = 128
"""Side of what is cut out of the middle of a clip; smaller clips are left out."""
FRAMES = 4
"""Frames of a clip that are looked at: a multiple of every temporal stride in use."""
SAMPLES = 8
"""Restorations whose mean is held against a single one."""
MIN_SPECTRUM_PX = 64
"""Smallest side of frames whose spectrum is worth a line."""
EDGE_SHARE, FLAT_SHARE = 0.1, 0.25
"""Of the pixels: those of the steepest and of the flattest luma."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    clean_tchw: Tensor
    degraded_tchw: Tensor | None
    seed: int


@torch.inference_mode()
def score_vae(
    network: Vae,
    subjects: Iterable[Subject],
    damage: DamageClass | None,
    *,
    enhancer: Enhancer | None,
    seed: int,
) -> VaeScore | None:
    """Score an autoencoder on clips; None where no clip is large enough.

    Args:
        network: In evaluation mode, on any device.
        subjects: Clean clips.
        damage: What is done to them; None for an unconditional network.
        enhancer: The same network as it ships, which draws the samples; None for an
            unconditional one.
        seed: Decides the damage and the posterior's draw.
    """
    pairs = [pair for one in subjects if (pair := _pair(one, damage, seed)) is not None]
    if not pairs:
        return None
    bits, kl, shifts = [], [], []
    device = network.log_scale.device
    for pair in pairs:
        clean = pair.clean_tchw[None].to(device)
        degraded = None if pair.degraded_tchw is None else pair.degraded_tchw[None].to(device)
        generator = torch.Generator().manual_seed(pair.seed)
        noise = [
            torch.randn(shape, generator=generator).to(device)
            for shape in network.latent_shapes(clean.shape)
        ]
        made = network(clean, degraded, noise)
        elbo = negative_elbo(clean, made, free_nats=0.0)
        bits.append(float(elbo.bits_per_dimension))
        kl.append(float(elbo.kl_per_latent))
        shifts.append(list(zip(made.posterior, made.prior, strict=True)))
    clean_ntchw = torch.stack([pair.clean_tchw for pair in pairs])
    degraded_ntchw = None
    if damage is not None:
        degraded_ntchw = torch.stack([_given(pair) for pair in pairs])
    return VaeScore(
        damage=None if damage is None else damage.name,
        subjects=len(pairs),
        bits_per_dimension=float(np.mean(bits)),
        gaussian_bits=gaussian_baseline_bits(clean_ntchw, degraded_ntchw),
        kl_per_latent=float(np.mean(kl)),
        active_units=active_units(
            [
                (_joined(q), _joined(p))
                for q, p in (zip(*level, strict=True) for level in zip(*shifts, strict=True))
            ]
        ),
        **({} if enhancer is None else _sample_figures(enhancer, pairs)),
    )


def _sample_figures(enhancer: Enhancer, pairs: Sequence[_Pair]) -> dict[str, float]:
    rows = []
    for pair in pairs:
        degraded = _given(pair)
        one, _ = enhancer.sample(degraded, samples=1)
        mean, deviation = enhancer.sample(degraded, samples=SAMPLES)
        # The deviation over few samples falls short of that of the distribution.
        levels = 255 * deviation.mean(1).numpy() * math.sqrt(SAMPLES / (SAMPLES - 1))
        steepness = _steepness(pair.clean_tchw)
        edge, flat = np.quantile(steepness, (1 - EDGE_SHARE, FLAT_SHARE))
        rows.append(
            (
                psnr_rgb_db(one, pair.clean_tchw),
                psnr_rgb_db(mean, pair.clean_tchw),
                float(levels.mean()),
                float(levels[steepness >= edge].mean()),
                float(levels[steepness <= flat].mean()),
            )
        )
    names = ("one_sample_db", "mean_of_samples_db", "deviation", "deviation_edges",
             "deviation_flat")  # fmt: skip
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


def spectrum_slope(frames_tchw: Tensor) -> float:
    """Return the slope of power against spatial frequency, both as logarithms; about -2 in nature.

    The radially averaged spectrum of luma under a Hann window, a line fitted from a sixteenth
    to a half of the Nyquist frequency (van der Schaaf and van Hateren, "Modelling the power
    spectra of natural images", 1996, fit such lines).

    Args:
        frames_tchw: In [0, 1], square or not; each side at least ``MIN_SPECTRUM_PX``.
    """
    planes = luma(frames_tchw.clamp(0, 1)).numpy()[:, 0].astype(np.float64)
    height, width = planes.shape[1:]
    window = np.outer(np.hanning(height), np.hanning(width))
    planes = (planes - planes.mean((1, 2), keepdims=True)) * window
    power = (np.abs(np.fft.fft2(planes)) ** 2).mean(0)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    edges = np.geomspace(0.5 / 16, 0.25, 9)
    at, level = [], []
    for low, high in pairwise(edges):
        ring = power[(radius >= low) & (radius < high)]
        if ring.size:
            at.append(0.5 * math.log(low * high))
            level.append(math.log(ring.mean() + 1e-20))
    return linregress(at, level).slope  # type: ignore[no-any-return]


def _pair(subject: Subject, damage: DamageClass | None, seed: int) -> _Pair | None:
    frames, height, width = subject.clip_thwc.shape[:3]
    if frames < FRAMES or min(height, width) < SIDE_PX:
        return None
    begin = (frames - FRAMES) // 2
    top, left = (height - SIDE_PX) // 2, (width - SIDE_PX) // 2
    cut = (
        slice(begin, begin + FRAMES),
        slice(None),
        slice(top, top + SIDE_PX),
        slice(left, left + SIDE_PX),
    )
    clean = to_tchw(subject.clip_thwc)[cut]
    rng = generator_for(seed, subject.name, "vae" if damage is None else damage.name)
    # Damaged whole and cut afterwards, as a codec's block grid starts at the frame's corner.
    degraded = None if damage is None else damage.apply(subject.clip_thwc, rng)[cut]
    return _Pair(clean_tchw=clean, degraded_tchw=degraded, seed=int(rng.integers(1 << 31)))


def _given(pair: _Pair) -> Tensor:
    assert pair.degraded_tchw is not None
    return pair.degraded_tchw


def _joined(parts: Sequence[Gaussian]) -> Gaussian:
    return Gaussian(
        mean=torch.cat([part.mean for part in parts]),
        log_variance=torch.cat([part.log_variance for part in parts]),
    )


def _steepness(clean_tchw: Tensor) -> NDArray[np.float32]:
    """Return the gradient's magnitude of every pixel's luma, ``[T, H, W]``."""
    planes = luma(clean_tchw).numpy()[:, 0]
    across = [cv2.Sobel(plane, cv2.CV_32F, 1, 0) for plane in planes]
    down = [cv2.Sobel(plane, cv2.CV_32F, 0, 1) for plane in planes]
    return np.asarray(np.hypot(np.stack(across), np.stack(down)), np.float32)
