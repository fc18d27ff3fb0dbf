"""A fixed set of held-back examples that scores every checkpoint alike.

These scores choose between checkpoints of one run. Scores to be published come from
``evaluate``, on material that no training has seen.

Axes: t time, c channel, h height, w width.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from vgen.models.generator import TemporalUNet
from vgen.models.ladder import Vae
from vgen.models.vae import VideoVae
from vgen.training.clips import Material
from vgen.training.codec import Clip
from vgen.training.elbo import negative_elbo
from vgen.training.metrics import psnr_luma_db, psnr_rgb_db
from vgen.training.news import Score
from vgen.training.objective import luma
from vgen.training.pool import make_example
from vgen.training.scores import CEILING_DB
from vgen.training.settings import TrainSettings
from vgen.training.state import Network, network_device
from vgen.training.step import latent_noise, restored, whole_groups

log = logging.getLogger(__name__)

HOLD_BACK_EVERY = 16
PICTURES = 4
"""Rows of a validation picture."""

# Names a stream of examples that no training run draws from.
_STREAM = 1 << 32


@dataclass(frozen=True, slots=True)
class Held:
    """One example, float32 in [0, 1]."""

    degraded_tchw: Tensor
    clean_tchw: Tensor


@dataclass(frozen=True, slots=True)
class Part(Sequence[Clip]):
    """The members of ``whole`` at ``places``, which are looked up when asked for."""

    whole: Sequence[Clip]
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Clip: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Clip]: ...
    def __getitem__(self, place: int | slice) -> Clip | Sequence[Clip]:
        if isinstance(place, slice):
            return Part(self.whole, self.places[place])
        return self.whole[self.places[place]]


def split_material(material: Material) -> tuple[Material, Material]:
    """Return what is learned from, and every 16th still and run, held back to score it.

    Where there is only one of all, it serves for both, which is said in the log.
    """
    if len(material.stills) + len(material.runs) < 2:
        log.warning("there is one clip alone: scores of checkpoints are those of a learned one")
        return material, material
    places = {kind: range(len(getattr(material, kind))) for kind in ("stills", "runs")}
    held = {
        kind: set(whole[HOLD_BACK_EVERY - 1 :: HOLD_BACK_EVERY]) for kind, whole in places.items()
    }
    if not any(held.values()):
        larger = max(places, key=lambda kind: len(places[kind]))
        held[larger] = {places[larger][-1]}

    def side(is_held: bool) -> Material:
        stills, runs = (
            Part(getattr(material, kind), [i for i in whole if (i in held[kind]) == is_held])
            for kind, whole in places.items()
        )
        return replace(material, stills=stills, runs=runs)

    return side(False), side(True)


class Validation:
    """Held-back examples, made once; the same for the same material and recipe."""

    def __init__(self, material: Material, settings: TrainSettings) -> None:
        self._settings = settings
        self._examples = [
            make_example(material, settings.pool, seed=settings.seed + _STREAM, index=index)
            for index in range(settings.validation_clips)
        ]

    def score(self, network: Network) -> Score:
        """Score ``network`` where it lies; takes about as long as a dozen steps."""
        rows = []
        for number, (degraded_tchw, clean_tchw) in enumerate(self._pairs(network)):
            made_tchw, bits = self._run(network, degraded_tchw, clean_tchw, number)
            clean = clean_tchw[len(clean_tchw) // 2][None]
            luma_db = psnr_luma_db(made_tchw, clean)
            # A NaN stays one: ``min`` would take it for the ceiling.
            score = float(np.minimum(luma_db, CEILING_DB))
            rough = roughness(made_tchw), roughness(clean)
            rows.append((score, psnr_rgb_db(made_tchw, clean), luma_db, *rough, bits))
        score, rgb_db, luma_db, rough_made, rough_clean, bits = np.mean(rows, axis=0).tolist()
        # Not a mean of ratios, which a single flat clip would rule.
        detail = rough_made / max(rough_clean, 1e-9)
        if isinstance(network, Vae):
            return Score(score=-bits, rgb_db=rgb_db, luma_db=luma_db, detail=detail, bits=bits)
        return Score(score=score, rgb_db=rgb_db, luma_db=luma_db, detail=detail)

    def picture(self, network: Network) -> bytes:
        """Return a PNG: a few examples below each other; damaged, restored, clean."""
        rows = []
        for number, (degraded_tchw, clean_tchw) in enumerate(self._pairs(network)):
            if number == PICTURES:
                break
            made_tchw, _ = self._run(network, degraded_tchw, clean_tchw, number)
            middle = len(clean_tchw) // 2
            size = clean_tchw.shape[-2:]
            damaged = interpolate(degraded_tchw[middle][None], size=size)
            rows.append(torch.cat((damaged, made_tchw, clean_tchw[middle][None]), dim=-1)[0])
        sheet_chw = (torch.cat(rows, dim=1).clamp(0, 1) * 255).round().byte().cpu()
        is_written, png = cv2.imencode(".png", sheet_chw.flip(0).permute(1, 2, 0).numpy())
        assert is_written
        return png.tobytes()

    def _pairs(self, network: Network) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield damaged and clean clips of as many frames as ``network`` takes."""
        device = network_device(network)
        for example in self._examples:
            pair = (example.degraded_thwc, example.clean_thwc)
            frames = len(example.clean_thwc)
            if isinstance(network, Vae):
                shown = np.arange(whole_groups(network, frames))
            else:
                reach = network.settings.window // 2
                shown = np.clip(np.arange(-reach, reach + 1) + frames // 2, 0, frames - 1)
            degraded, clean = (
                torch.from_numpy(clip[shown]).to(device).permute(0, 3, 1, 2).float() / 255
                for clip in pair
            )
            yield degraded, clean

    @torch.inference_mode()
    def _run(
        self, network: Network, degraded_tchw: Tensor, clean_tchw: Tensor, number: int
    ) -> tuple[Tensor, float]:
        """Return the restored middle frame ``[1, 3, H, W]``, and bits per dimension of a VAE."""
        if isinstance(network, TemporalUNet):
            return restored(network, degraded_tchw[None], outputs=1)[0], 0.0
        clean = clean_tchw[None]
        condition = degraded_tchw[None] if network.settings.is_conditional else None
        shapes = network.latent_shapes(clean.shape)
        noise = [
            level.to(clean.device)
            for level in latent_noise(shapes, self._settings.seed, number, range(1))
        ]
        output = network(clean, condition, noise)
        bits = float(negative_elbo(clean, output).bits_per_dimension)
        # A restored clip follows from the prior; without a condition there is only the posterior.
        made = output.frames_ntchw
        if isinstance(network, VideoVae):
            assert condition is not None
            made = network.decode(network.look(condition)[1].mean, condition)
        return made[:, len(clean_tchw) // 2], bits


def roughness(frames_nchw: Tensor) -> float:
    """Return the variance of the Laplacian of luma."""
    kernel = frames_nchw.new_tensor(((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0)))
    return float(conv2d(luma(frames_nchw), kernel[None, None]).var())
