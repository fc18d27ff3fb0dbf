"""Encoded bytes do not depend on what memory held before."""

import os
import subprocess
import sys

import pytest

from vgen.media.simd import has_avx512, steady_options

# 854 columns do not fill rows of AVX-512 registers; noise with motion gives the tree work.
ENCODE = """
import hashlib, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from vgen.media.encode import encode_chunk
from vgen.media.facts import ColorTags, EncodePlan
from vgen.media.pixels import frame_from_planes
rows, columns = np.mgrid[:480, :854]
gray = np.full((240, 427), 128, np.uint8)


def luma(n):
    waves = np.sin((columns + 3 * n) / 17) + np.sin((rows - n) / 11 + columns / 40)
    return (128 + 50 * waves + rng.normal(0, 6, rows.shape)).clip(0, 255).astype(np.uint8)


rng = np.random.default_rng(7)
frames = (frame_from_planes([luma(n), gray, gray], "yuv420p", n, None) for n in range(30))
tags = ColorTags(matrix=1, primaries=1, transfer=1, is_full_range=False)
plan = EncodePlan(
    encoder="libx264", options={"preset": "medium", "crf": "20", "x264-params": "open-gop=0"},
    threads=1, pixel_format="yuv420p", width=854, height=480, time_base=Fraction(1, 25),
    average_rate=Fraction(25), sample_aspect_ratio=Fraction(1), color=tags,
    field_order="progressive", hdr10=None, display_matrix=None, chunk_format="mp4",
    container="mp4",
)
path = Path(sys.argv[1])
encode_chunk(frames, plan, path, uri="noise")
print(hashlib.sha256(path.read_bytes()).hexdigest())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="MALLOC_PERTURB_ is glibc's")
def test_equal_frames_give_equal_bytes_whatever_memory_held(tmp_path):
    made = set()
    for junk in ("37", "200"):
        environment = {**os.environ, "MALLOC_PERTURB_": junk}
        done = subprocess.run(
            [sys.executable, "-c", ENCODE, str(tmp_path / "chunk.mp4")],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        made.add(done.stdout)
    assert len(made) == 1


def test_only_x264_on_wide_machines_is_held():
    options = {"x264-params": "open-gop=0"}
    held = {"x264-params": "open-gop=0:asm=avx2"} if has_avx512() else options
    assert steady_options("libx264", options) == held
    assert steady_options("libx265", options) == options
