"""A released network, placed on a device, that restores frames.

A restorer embeds each frame once; windows of embeddings go through the network in batches of one
fixed shape, so the arithmetic of a frame is the same wherever its span was cut. Precision
follows from the device: float32 on a CPU; on CUDA the embedding in float32, as the eight bits
of bfloat16's significand cannot tell the input's levels apart, and the rest in bfloat16. A
variational autoencoder restores by sampling (``vgen.enhance.sampling``).

Axes: n batch, t time, c channel, h height, w width. Frames are RGB, nominally in [0, 1].
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from vgen.enhance.devices import find_device
from vgen.enhance.memory import Limits, Memory
from vgen.enhance.padding import padded, rounded_up
from vgen.enhance.sampling import SAMPLES, Sampler
from vgen.enhance.tiling import Windows
from vgen.enhance.windows import Shown, windows
from vgen.errors import ReleaseError
from vgen.models.generator import Network, enlarge
from vgen.models.release import (
    IDENTITY,
    ReleaseHeader,
    bundled_releases,
    check_restores,
    load_network,
    release_digest,
)
from vgen.models.spec import ModelSpec
from vgen.models.vae import VideoVae

Key = TypeVar("Key")


class Enhancer:
    """One release on one device; not for use by several threads at once."""

    def __init__(
        self,
        *,
        header: ReleaseHeader,
        digest: str,
        network: nn.Module | None,
        device: torch.device,
        memory: Memory | None = None,
    ) -> None:
        """Place ``network``; ``memory`` replaces what is measured of the device."""
        self.header = header
        """What the release says about itself."""
        self.digest = digest
        """SHA-256 of the release."""
        self.device = device
        """Where frames are restored."""
        self._memory = memory or Memory.of(device, header.spec)
        is_cuda = device.type == "cuda"
        self._feature_dtype = torch.bfloat16 if is_cuda else torch.float32
        self._network: Network | None = None
        self._sampler: Sampler | None = None
        if isinstance(network, VideoVae):
            self._sampler = Sampler(network, header.spec, device, self._memory)
        elif network is not None:
            placed = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._network = cast(Network, placed.eval().requires_grad_(False))

    @classmethod
    def load(cls, release: str | Path, device: str = "auto") -> Self:
        """Load a release.

        Args:
            release: identity, the name of a bundled release, or the path of a file.
            device: cpu, cuda, cuda:N, or auto: cuda where there is one.

        Raises:
            ConfigError: there is no such device.
            ReleaseError: there is no such release, it does not fit the code, or it does not
                restore.
        """
        where = find_device(device)
        if str(release) == IDENTITY.name:
            digest = release_digest(Path(IDENTITY.name))
            return cls(header=IDENTITY, digest=digest, network=None, device=where)
        bundled = bundled_releases()
        path = bundled.get(str(release), Path(release))
        if not path.is_file():
            raise ReleaseError(
                f"no release {str(release)!r}: expected a file, {IDENTITY.name}, "
                f"or one of {', '.join(bundled)}"
            )
        header, network = load_network(path)
        check_restores(header.name, header.spec)
        return cls(header=header, digest=release_digest(path), network=network, device=where)

    @property
    def spec(self) -> ModelSpec:
        """What the network needs from whoever runs it."""
        return self.header.spec

    @property
    def is_identity(self) -> bool:
        """Whether frames pass through unchanged."""
        return self._network is None and self._sampler is None

    @property
    def vae(self) -> VideoVae | None:
        """The autoencoder that restores by sampling, if it is one."""
        return None if self._sampler is None else self._sampler.network

    def restore(self, clip: Tensor) -> Tensor:
        """Restore ``clip`` ``[T, 3, H, W]`` as one shot.

        Args:
            clip: Float, in [0, 1] or slightly outside, on any device.

        Returns:
            ``[T, 3, H * scale, W * scale]`` float32 on the CPU, not clipped.
        """
        clip = _checked(clip)
        if self.is_identity:
            return clip.to("cpu", torch.float32, copy=True)
        height, width = (size * self.spec.scale for size in clip.shape[-2:])
        restored = torch.empty((len(clip), 3, height, width))
        for t, residual_nchw in self.residuals(_shot(clip), notes=[]):
            base_nchw = enlarge(clip[t : t + 1].to(residual_nchw), self.spec.scale)
            restored[t] = (base_nchw + residual_nchw)[0]
        return restored

    def sample(self, clip: Tensor, *, samples: int = SAMPLES) -> tuple[Tensor, Tensor]:
        """Restore ``clip`` ``[T, 3, H, W]`` as one shot, several times over.

        Args:
            clip: As for ``restore``, which gives the mean of 8 samples.
            samples: Restorations to draw; of frame ``t`` always the same ones.

        Returns:
            Mean and standard deviation over the samples, each ``[T, 3, H, W]`` float32 on the
            CPU; the mean is not clipped, and the deviation of one sample is 0.

        Raises:
            ValueError: the release gives one restoration only.
        """
        if self._sampler is None:
            raise ValueError(f"release {self.header.name!r} gives one restoration, not samples")
        clip = _checked(clip)
        mean, deviation = torch.empty(clip.shape), torch.empty(clip.shape)
        for drawn in self._sampler.run(_shot(clip), samples=samples):
            base_nchw = clip[drawn.key : drawn.key + 1].to(drawn.residual_nchw)
            mean[drawn.key] = (base_nchw + drawn.residual_nchw)[0]
            deviation[drawn.key] = drawn.deviation_nchw[0]
        return mean, deviation

    @torch.inference_mode()
    def residuals(
        self, shown: Iterable[Shown[Key]], *, notes: list[str]
    ) -> Iterator[tuple[Key, Tensor]]:
        """Yield what to add to the base of every owned frame, in order.

        Args:
            shown: RGB frames ``[1, 3, H, W]`` of one size, float32, drawn lazily.
            notes: Told if memory ran out and smaller pieces were taken.

        Yields:
            The frame's key, and the residual ``[1, 3, H * scale, W * scale]`` float32 on the
            device. At most ``lead + 1 + tail`` frames and one batch are held.
        """
        if self._sampler is not None:
            for drawn in self._sampler.run(shown):
                yield drawn.key, drawn.residual_nchw
            return
        spec = self.spec
        group: list[_Window[Key]] = []
        # Not a generator expression: that would keep each frame's RGB alive beside its features.
        features = map(partial(self._embedded, notes=notes), shown)
        for (key, size), around in windows(features, lead=spec.lead, tail=spec.tail):
            group.append(_Window(key=key, size=size, features=around))
            if len(group) == self._limits(group[0]).batch:
                yield from self._restored(group, notes)
                group = []
        if group:
            yield from self._restored(group, notes)

    def _embedded(self, item: Shown[Key], notes: list[str]) -> Shown[tuple[Key, tuple[int, int]]]:
        height, width = item.tensor_nchw.shape[-2:]
        padded_nchw = padded(item.tensor_nchw.to(self.device), self.spec.multiple_of)
        features_nchw = self._memory.run(
            self._features,
            [[padded_nchw]],
            Limits(batch=1, side=None),
            height=padded_nchw.shape[-2],
            width=padded_nchw.shape[-1],
            notes=notes,
        )
        return Shown(
            key=(item.key, (height, width)),
            tensor_nchw=features_nchw.to(self._feature_dtype),
            starts_shot=item.starts_shot,
            is_owned=item.is_owned,
            frame=item.frame,
        )

    def _limits(self, window: "_Window[Key]") -> Limits:
        features_nchw = window.features[0]
        window_bytes = features_nchw.nbytes * len(window.features)
        return self._memory.limits(window_bytes, *self._padded_size(window))

    def _restored(
        self, group: list["_Window[Key]"], notes: list[str]
    ) -> Iterator[tuple[Key, Tensor]]:
        limits = self._limits(group[0])
        height, width = self._padded_size(group[0])
        batch = [window.features for window in group]
        # Always of one shape, so that a frame's arithmetic is the same at a span's end.
        batch += [batch[-1]] * (limits.batch - len(batch))
        residual_nchw = self._memory.run(
            self._residual, batch, limits, height=height, width=width, notes=notes
        )
        for index, window in enumerate(group):
            tall, wide = (length * self.spec.scale for length in window.size)
            yield window.key, residual_nchw[index : index + 1, :, :tall, :wide].float()

    def _features(self, frames: Windows) -> Tensor:
        assert self._network is not None
        ((frame_nchw,),) = frames
        return self._network.embed(frame_nchw)

    def _residual(self, batch: Windows) -> Tensor:
        assert self._network is not None
        is_cuda = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_cuda):
            return self._network.residual(_stacked(batch))

    def _padded_size(self, window: "_Window[Key]") -> tuple[int, int]:
        height, width = (rounded_up(length, self.spec.multiple_of) for length in window.size)
        return height, width


def _checked(clip: Tensor) -> Tensor:
    if clip.dim() != 4 or clip.shape[1] != 3 or not clip.is_floating_point():
        raise ValueError(f"expected a float [T, 3, H, W], got {clip.dtype} {tuple(clip.shape)}")
    return clip.detach()


def _shot(clip: Tensor) -> Iterator[Shown[int]]:
    for t, frame in enumerate(clip.to(torch.float32)):
        yield Shown(key=t, tensor_nchw=frame[None], starts_shot=t == 0, is_owned=True, frame=t)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window(Generic[Key]):
    key: Key
    size: tuple[int, int]
    features: list[Tensor]


def _stacked(batch: Windows) -> Tensor:
    """Return ``[N, T, C, h, w]`` with the channels of all frames of a pixel together in memory.

    That is how the network's first convolution wants them.
    """
    frames, channels = len(batch[0]), batch[0][0].shape[1]
    # Joined along the last axis in memory: twice as fast as filling a window frame by frame.
    joined = [torch.cat([f.permute(0, 2, 3, 1) for f in window], dim=-1) for window in batch]
    joined_nhwc = joined[0] if len(joined) == 1 else torch.cat(joined)
    n, h, w, _ = joined_nhwc.shape
    return joined_nhwc.reshape(n, h, w, frames, channels).permute(0, 3, 4, 1, 2)
