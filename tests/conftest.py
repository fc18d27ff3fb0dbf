"""What every test gets: clips on demand, real clips where asked for, and the same dice."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.media_factory import Media

pytest_plugins = ["tests.s3"]

_VIDEO_SUFFIXES = {".mp4", ".mkv", ".ts", ".mov", ".avi", ".webm", ".mpg"}


@pytest.fixture(autouse=True)
def same_dice():
    """Reset every random generator, so that a test does not depend on those before it."""
    random.seed(20)
    np.random.seed(20)
    if "torch" in sys.modules:  # importing it takes seconds that most tests need not pay
        sys.modules["torch"].manual_seed(20)


@pytest.fixture(scope="session")
def media(tmp_path_factory) -> Media:
    """Clips by name, built once per run: ``media["h264_mp4"]`` is a path."""
    return Media(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="session")
def real_clips() -> list[Path]:
    """The real clips of the folder ``VGEN_REAL_CLIPS``; the test is skipped without it."""
    named = os.environ.get("VGEN_REAL_CLIPS", "")
    folder = Path(named)
    clips = sorted(p for p in folder.glob("*") if p.suffix in _VIDEO_SUFFIXES) if named else []
    if not clips:
        message = f"VGEN_REAL_CLIPS={named!r} names no folder with clips"
        if os.environ.get("VGEN_REQUIRE_CLIPS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return clips
