"""Small clean pictures and videos that pass the rules of a dataset."""

import av
import cv2
import numpy as np

from vgen.training.scores import ClassScore, Evaluation, EvaluationSettings, Measures, RestoreSpeed
from vgen.training.subjects import Subject


def texture(seed, height=80, width=96):
    """Smooth colours, sharp edges and a little grain."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 220, (height // 8, width // 8, 3)).astype(np.uint8)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(float)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def write_still(path, seed, **size):
    assert cv2.imwrite(str(path), texture(seed, **size)[..., ::-1])


def write_video(path, seed, frames=16, height=80, width=96):
    wide = texture(seed, height, width + 2 * frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = 1
        for t in range(frames):
            view = np.ascontiguousarray(wide[:, 2 * t : 2 * t + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))


def subject(name="flat", kind="still", level=128, frames=4, side=32):
    clip = np.full((frames, side, side, 3), level, np.uint8)
    still = np.full((64, 64, 3), level, np.uint8) if kind == "still" else None
    return Subject(name=name, kind=kind, clip_thwc=clip, still_hwc=still)


def measures(psnr_db, flicker=0.0):
    return Measures(
        psnr_rgb_db=psnr_db,
        psnr_luma_db=psnr_db + 2,
        ssim_luma=0.9,
        temporal_difference=flicker,
        warping_error=0.001,
    )


def score(damage, before_db, after_db, kind="video", flicker=(0.0, 0.0)):
    return ClassScore(
        damage=damage,
        kind=kind,
        subjects=3,
        before=measures(before_db, flicker[0]),
        after=measures(after_db, flicker[1]),
        baseline=None,
        baseline_name=None,
        clean_warping_error=0.0,
    )


def evaluation(*scores, digest="a" * 64, **changes):
    values = {
        "release": "toy",
        "release_digest": digest,
        "scale": 1,
        "clips_uri": "/clips",
        "settings": EvaluationSettings(),
        "code_version": "0",
        "subjects": ("one", "two"),
        "num_left_out": 0,
        "left_out": (),
        "scores": scores,
        "speed": RestoreSpeed(
            frames=7,
            frames_per_second=2.0,
            ms_per_frame=500.0,
            megapixels_per_frame=0.1,
            machine="toy",
            device="cpu",
            threads=1,
        ),
    }
    return Evaluation(**(values | changes))
