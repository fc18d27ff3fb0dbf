"""Lossy coding as archives have it: real encoders at the qualities and rates of their time.

Clips are uint8 RGB arrays ``[T, H, W, 3]``; H and W are even.
"""

import cv2
import numpy as np
from numpy.random import Generator

from vgen.training.codec import X265_LEAST_PX, Clip, Encoding, Upsampling, code_clip
from vgen.training.degrade_soft import walk

PRESETS = {
    "ultrafast": 0.05,
    "superfast": 0.1,
    "veryfast": 0.2,
    "faster": 0.1,
    "fast": 0.15,
    "medium": 0.4,
}
"""Presets of x264 and how often each is drawn."""

_UPSAMPLINGS: tuple[Upsampling, ...] = ("left", "centre", "nearest")


def jpeg(clip_thwc: Clip, *, quality: int) -> Clip:
    """Code every frame as a JPEG of ``quality`` 1 to 100."""
    return np.stack([_jpeg_frame(frame, quality) for frame in clip_thwc])


def draw_encoding(rng: Generator, *, best_crf: int, worst_crf: int) -> Encoding:
    """Draw a codec and its settings; crf in ``[best_crf, worst_crf]``, q to match for MPEG."""
    codec = rng.choice(["libx264", "mpeg2video", "mpeg4"], p=[0.86, 0.07, 0.07])
    crf = int(rng.integers(best_crf, worst_crf + 1))
    # Six steps of crf double the quantiser; crf 18 looks about like q 2.
    quantiser = int(np.clip(2 * 2 ** ((crf - 18) / 6), 2, 31))
    return Encoding(
        codec=str(codec),
        quality=crf if codec == "libx264" else quantiser,
        preset=str(rng.choice(list(PRESETS), p=list(PRESETS.values()))),
        keyframe_every=int(rng.choice([1, 12, 48], p=[0.1, 0.2, 0.7])),
        matrix=str(rng.choice(["bt601", "bt709"])),
        is_full_range=bool(rng.random() < 0.15),
        upsampling=_UPSAMPLINGS[rng.choice(3, p=[0.5, 0.3, 0.2])],
    )


def draw_coded(clip_thwc: Clip, rng: Generator) -> Clip:
    """x264 crf 18 to 46, MPEG-2 and MPEG-4 to match."""
    # A tenth is far gone, as archives of the web's first years are. Beyond crf 46 too little of
    # a picture this small is left to learn from.
    low, high = ((18, 25), (26, 40), (41, 46))[rng.choice(3, p=[0.15, 0.75, 0.1])]
    return code_clip(clip_thwc, draw_encoding(rng, best_crf=low, worst_crf=high))


def draw_jpeg(clip_thwc: Clip, rng: Generator, *, worst: int = 20) -> Clip:
    """Every frame a JPEG of one quality, ``worst`` to 95."""
    return jpeg(clip_thwc, quality=int(rng.integers(worst, 96)))


def draw_motion_jpeg(clip_thwc: Clip, rng: Generator, *, worst: int = 20) -> Clip:
    """Every frame a JPEG of a quality that drifts, as a camera holds a rate."""
    qualities = walk(len(clip_thwc), rng.uniform(worst, 95), 3, (worst, 95), rng)
    pairs = zip(clip_thwc, qualities, strict=True)
    return np.stack([_jpeg_frame(frame, round(quality)) for frame, quality in pairs])


def draw_bit_rate(clip_thwc: Clip, rng: Generator) -> Clip:
    """x264 that has to do with 0.04 to 0.5 bits a pixel: a starved stream of a live service."""
    return code_clip(
        clip_thwc,
        Encoding(
            codec="libx264",
            quality=0,
            bits_per_pixel=float(np.exp(rng.uniform(np.log(0.04), np.log(0.5)))),
            preset=str(rng.choice(["veryfast", "faster", "medium"])),
            keyframe_every=int(rng.choice([12, 48])),
            matrix=str(rng.choice(["bt601", "bt709"])),
            upsampling=_UPSAMPLINGS[rng.choice(3, p=[0.5, 0.3, 0.2])],
        ),
    )


def draw_broadcast(clip_thwc: Clip, rng: Generator) -> Clip:
    """MPEG-2 or MPEG-4 with B-frames at the quantisers of low rates: discs, tuners, DivX."""
    return code_clip(
        clip_thwc,
        Encoding(
            codec=str(rng.choice(["mpeg2video", "mpeg4"], p=[0.7, 0.3])),
            quality=int(rng.integers(4, 25)),
            keyframe_every=12,
            b_frames=2,
            matrix="bt601",
            upsampling=_UPSAMPLINGS[rng.choice(3, p=[0.5, 0.3, 0.2])],
        ),
    )


def draw_modern(clip_thwc: Clip, rng: Generator) -> Clip:
    """x265 or VP9 as phones and the web write them; three to five times as slow as x264."""
    is_x265 = rng.random() < 0.5 and min(clip_thwc.shape[1:3]) >= X265_LEAST_PX
    return code_clip(
        clip_thwc,
        Encoding(
            codec="libx265" if is_x265 else "libvpx-vp9",
            quality=int(rng.integers(22, 43) if is_x265 else rng.integers(28, 51)),
            preset=str(rng.choice(["ultrafast", "veryfast", "fast"])),
            matrix=str(rng.choice(["bt601", "bt709"])),
            upsampling=_UPSAMPLINGS[rng.choice(3, p=[0.5, 0.3, 0.2])],
        ),
    )


def _jpeg_frame(frame_hwc: Clip, quality: int) -> Clip:
    # OpenCV takes the last axis for B, G, R.
    is_coded, stream = cv2.imencode(
        ".jpg", frame_hwc[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert is_coded
    decoded = np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), np.uint8)
    return decoded[..., ::-1]
