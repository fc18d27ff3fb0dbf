"""``vgen generate``: clips that an unconditional autoencoder makes up, as videos and a page."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.release_files import ReleaseRef, release_path, resolve_release
from pipelines.scratch import scratch
from vgen import storage
from vgen.config import EncodeSettings
from vgen.enhance.coding import Coding
from vgen.enhance.colorspace import Converter
from vgen.enhance.devices import find_device
from vgen.errors import ConfigError, ReleaseError
from vgen.media.encode import encode_chunk
from vgen.media.encoders import resolve_encoding
from vgen.media.facts import ColorTags, EncodePlan, VideoInfo, VideoStream
from vgen.media.pixels import frame_from_planes, planar_format
from vgen.models.ladder import LadderVae
from vgen.models.release import load_network
from vgen.models.sampling import sample_clip
from vgen.models.spec import UNCONDITIONAL_VAE
from vgen.records import Record
from vgen.training.damages import to_tchw
from vgen.training.vae_scores import MIN_SPECTRUM_PX, spectrum_slope

PAGE_ROWS = 16
"""Clips on the page at most; the others are videos only."""
PAGE_COLUMNS = 4
"""Frames of each clip on the page, evenly spread from the first to the last."""
MAX_SIDE_PX = 4096
MAX_FRAMES = 10_000
MAX_CLIPS = 10_000
_BT709 = ColorTags(matrix=1, primaries=1, transfer=1, is_full_range=False, chroma_location=1)
_SIZE = re.compile(r"(\d{1,4})x(\d{1,4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How many clips, of what kind."""

    clips: int
    frames: int
    width: int
    height: int
    rate: int
    """Frames a second."""
    crf: int
    seed: int

    def __post_init__(self) -> None:
        if not 1 <= self.clips <= MAX_CLIPS or not 1 <= self.frames <= MAX_FRAMES:
            raise ConfigError(
                f"expected 1 to {MAX_CLIPS} clips of 1 to {MAX_FRAMES} frames, "
                f"got {self.clips} of {self.frames}"
            )
        sides = (self.width, self.height)
        if any(side % 2 or not 16 <= side <= MAX_SIDE_PX for side in sides):
            raise ConfigError(
                f"a clip's sides must be even and 16 to {MAX_SIDE_PX} pixels, got "
                f"{self.width}x{self.height}"
            )
        if not 1 <= self.rate <= 240 or not 0 <= self.crf <= 51 or self.seed < 0:
            raise ConfigError(
                "expected 1 to 240 frames a second, a crf of 0 to 51 and a seed of 0 or more, "
                f"got {self.rate}, {self.crf} and {self.seed}"
            )


class Generated(Record):
    """What was made: what ``vgen generate --json`` prints."""

    release: str
    release_digest: str
    seed: int
    videos: tuple[str, ...]
    page: str
    spectrum_slope: float | None
    """Of power against frequency in the page's frames; natural pictures have about -2. None for
    frames too small to tell."""
    closest_levels: float | None
    """Mean absolute difference of the two clips on the page that are most alike, in 8-bit levels;
    None for a single clip."""


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height of ``WIDTHxHEIGHT``.

    Raises:
        ConfigError: it is not of that form.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(f"a size is WIDTHxHEIGHT, such as 128x96, got {text!r}")
    return int(match[1]), int(match[2])


def run_generation(
    release: str,
    output: str,
    order: Order,
    *,
    registry_uri: str | None,
    device: str,
    say: Callable[[str], None],
) -> Generated:
    """Write the clips of ``order`` below ``output`` as mp4 (H.264), and a page of their frames.

    File names hold release, seed, a mark of the rest of the order, and number, so that another
    order writes beside them and the same one writes the same files again.

    Raises:
        ReleaseError: there is no such release, or it makes nothing up.
        ConfigError: the device or ``output`` cannot be used.
        StorageError: a file cannot be written.
    """
    found = _inventive(release, registry_uri)
    placed = find_device(device)
    target = storage.normalize_uri(output)
    storage.check_reachable(target, writable=True)
    videos: list[str] = []
    shown: list[NDArray[np.uint8]] = []
    with scratch("generate") as folder:
        path = release_path(found, folder)
        assert path is not None
        header, network = load_network(path)
        assert isinstance(network, LadderVae)
        network = network.to(placed)
        stem = f"{header.name}-{order.seed}-{_mark(order, found)}"
        for index in range(order.clips):
            row: list[NDArray[np.uint8]] = []
            made = folder / f"{stem}-{index:04d}.mp4"
            _write_video(network, order, index, made, row)
            videos.append(storage.join(target, made.name))
            storage.publish(made, videos[-1])
            shown += [np.stack(row)] if index < PAGE_ROWS else []
            say(f"{index + 1} of {order.clips}: {videos[-1]}")
        page = storage.join(target, f"{stem}.png")
        rows = [np.concatenate(list(clip_thwc), axis=1) for clip_thwc in shown]
        storage.write_bytes(page, _png(np.concatenate(rows)))
    return Generated(
        release=header.name,
        release_digest=found.digest,
        seed=order.seed,
        videos=tuple(videos),
        page=page,
        spectrum_slope=_slope(np.concatenate(shown)),
        closest_levels=min(
            (float(np.abs(a.astype(float) - b).mean()) for a, b in combinations(shown, 2)),
            default=None,
        ),
    )


def _mark(order: Order, release: ReleaseRef) -> str:
    """Return what tells orders apart; one for more clips only goes on where another ended."""
    facts = dataclasses.asdict(order) | {"clips": None, "release": release.digest}
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


def _slope(frames_thwc: NDArray[np.uint8]) -> float | None:
    if min(frames_thwc.shape[1:3]) < MIN_SPECTRUM_PX:
        return None
    return spectrum_slope(to_tchw(frames_thwc))


def _inventive(release: str, registry_uri: str | None) -> ReleaseRef:
    found = resolve_release(release, registry=registry_uri)
    if found.spec.architecture != UNCONDITIONAL_VAE:
        raise ReleaseError(
            f"release {release!r} is a {found.spec.architecture}, which makes no clips up; "
            f"name one of architecture {UNCONDITIONAL_VAE}"
        )
    return found


def _write_video(
    network: LadderVae, order: Order, index: int, path: Path, row: list[NDArray[np.uint8]]
) -> None:
    """Encode one clip to ``path``; ``row`` gets the frames that the page shows."""
    info = _described(order)
    plan = resolve_encoding(
        info,
        EncodeSettings(codec="h264", crf=order.crf, pixel_format="yuv420p", container="mp4"),
        scale=1,
    )
    columns = min(PAGE_COLUMNS, order.frames)
    shown = {number * (order.frames - 1) // max(1, columns - 1) for number in range(columns)}

    def pictures() -> Iterator[NDArray[np.uint8]]:
        pieces = sample_clip(
            network,
            frames=order.frames,
            height=order.height,
            width=order.width,
            seed=order.seed,
            index=index,
        )
        number = 0
        for piece_tchw in pieces:
            if not piece_tchw.isfinite().all():
                raise ReleaseError(f"{path.name} cannot be made: the release gives no numbers")
            for picture_hwc in _to_levels(piece_tchw):
                if number in shown:
                    row.append(picture_hwc)
                number += 1
                yield picture_hwc

    encode_chunk(_frames(pictures(), info, plan), plan, path, uri=path.name)


def _described(order: Order) -> VideoInfo:
    """Return the facts that a probe would find of the clip if it were a file of RGB frames."""
    video = VideoStream(
        index=0,
        codec="rawvideo",
        width=order.width,
        height=order.height,
        pixel_format="gbrp",
        planar_format="gbrp",
        time_base=Fraction(1, 1000 * order.rate),
        average_rate=Fraction(order.rate),
        sample_aspect_ratio=Fraction(1),
        tagged=_BT709,
        color=_BT709.model_copy(update={"matrix": 0, "is_full_range": True}),
    )
    return VideoInfo(
        container="mp4",
        format_name="rawvideo",
        needs_local_copy=False,
        duration_s=order.frames / order.rate,
        num_frames=order.frames,
        access="sequential",
        video=video,
        others=(),
    )


def _frames(
    pictures: Iterator[NDArray[np.uint8]], info: VideoInfo, plan: EncodePlan
) -> Iterator[av.VideoFrame]:
    """Turn RGB pictures into the frames that the encoder wants."""
    source = Coding.of(planar_format("gbrp"), info.video.color)
    target = Coding.of(planar_format(plan.pixel_format), plan.color)
    converter = Converter(source, target, scale=1, device=torch.device("cpu"), uri="")
    ticks = info.video.time_base.denominator // info.video.average_rate.numerator
    for number, picture_hwc in enumerate(pictures):
        green_blue_red = [np.ascontiguousarray(picture_hwc[..., channel]) for channel in (1, 2, 0)]
        planes = converter.compose(converter.load(green_blue_red), None)
        yield frame_from_planes(planes, plan.pixel_format, number * ticks, plan.time_base)


def _to_levels(frames_tchw: Tensor) -> NDArray[np.uint8]:
    levels = frames_tchw.clamp(0, 1).mul(255).add(0.5).to(torch.uint8)
    return np.asarray(levels.movedim(1, -1).cpu())


def _png(page_hwc: NDArray[np.uint8]) -> bytes:
    is_written, content = cv2.imencode(".png", page_hwc[..., ::-1])
    assert is_written
    return content.tobytes()
