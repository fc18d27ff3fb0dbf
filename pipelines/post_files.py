"""The files that a recipe's post-processing names, read once by the driver.

Workers never open them: what a still says travels with the run's settings, and a table is put
beside the run's plan, where every worker can read it. A file that changes is another work key.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vgen import storage
from vgen.errors import ConfigError, StorageError
from vgen.post_options import PostSettings

if TYPE_CHECKING:
    from vgen.post.stats import FrameStats

MAX_BYTES = 1 << 26
"""A table with 128 entries a side is as large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostFiles:
    """What the named files hold."""

    reference: "FrameStats | None" = None
    """Measured of the still."""
    lut: bytes | None = None
    """The ``.cube`` file."""
    digest: str = ""
    """Of both files' bytes; empty where none is named."""


def read_post_files(settings: PostSettings) -> PostFiles:
    """Read what the steps in use name.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
    """
    color = settings.color
    if "color" not in settings.steps or (color.reference is None and color.lut is None):
        return PostFiles()
    still = None if color.reference is None else _read(color.reference, "post.color.reference")
    lut = None if color.lut is None else _read(color.lut, "post.color.lut")
    if lut is not None:
        # Imports torch: a driver that has no table to check should not wait for it.
        from vgen.post.lut import parse_cube

        parse_cube(lut.decode("utf-8-sig", errors="replace"), uri=str(color.lut))
    parts = [hashlib.sha256(part).hexdigest() if part else "" for part in (still, lut)]
    return PostFiles(
        reference=None if still is None else _measured(still, str(color.reference)),
        lut=lut,
        digest=hashlib.sha256("/".join(parts).encode()).hexdigest(),
    )


def _read(named: str, setting: str) -> bytes:
    try:
        content = storage.read_bytes(storage.normalize_uri(named), 0, MAX_BYTES + 1)
    except StorageError as error:
        raise ConfigError(f"cannot read {setting} {named!r}: {error}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{setting} {named!r} is larger than {MAX_BYTES} bytes")
    return content


def _measured(content: bytes, named: str) -> "FrameStats":
    # The driver of most runs has no picture to open, and should not wait for OpenCV.
    import cv2
    import numpy as np

    from vgen.enhance.small import small_size
    from vgen.post.stats import measure_picture

    try:
        picture_bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        picture_bgr = None  # empty, or more pixels than OpenCV decodes
    if picture_bgr is None:
        raise ConfigError(f"post.color.reference {named!r} is no picture that can be read")
    size = small_size(*picture_bgr.shape[:2])
    small_hwc = cv2.resize(picture_bgr, size, interpolation=cv2.INTER_AREA)[..., ::-1]
    return measure_picture(np.ascontiguousarray(small_hwc, np.uint8))
