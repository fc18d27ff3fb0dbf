"""Every packed or semi-planar format becomes planes without a sample changed."""

import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media_factory import FFMPEG
from vgen.media.pixels import (
    frame_from_planes,
    planar_format,
    planar_name,
    planes_of,
    to_planar,
)

WIDTH, HEIGHT = 18, 10
PLANAR = ["gray", "gray10le", "gray16le", "yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p",
          "yuv410p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv444p12le", "gbrp",
          "gbrp10le", "gbrp12le", "gbrp16le"]  # fmt: skip
# Each with the planar format that holds its samples.
REPACKED = {
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "nv24": "yuv444p",
    "yuyv422": "yuv422p", "uyvy422": "yuv422p", "yvyu422": "yuv422p", "p010le": "yuv420p10le",
    "p210le": "yuv422p10le", "y210le": "yuv422p10le", "rgb24": "gbrp", "bgr24": "gbrp",
    "rgb0": "gbrp", "bgr0": "gbrp", "0rgb": "gbrp", "0bgr": "gbrp", "rgb48le": "gbrp16le",
    "rgb48be": "gbrp16le", "yuv420p10be": "yuv420p10le", "gray16be": "gray16le",
}  # fmt: skip


def noise(format_name: str) -> av.VideoFrame:
    """A frame of the format with random samples."""
    frame = av.VideoFrame(WIDTH, HEIGHT, format_name)
    mask = {10: 0x03FF, 12: 0x0FFF}.get(frame.format.components[0].bits, 0xFFFF)
    for plane in frame.planes:
        size = plane.buffer_size
        if frame.format.components[0].bits > 8:
            values = np.random.randint(0, 1 << 16, size // 2, dtype=np.uint16) & mask
            if format_name.startswith(("p0", "p2", "y2")):
                values = values << 6  # the value is in the high bits
            kind = ">u2" if format_name.endswith("be") else "<u2"
            plane.update(values.astype(kind).tobytes())
        else:
            plane.update(np.random.randint(0, 256, size, dtype=np.uint8).tobytes())
    frame.pts, frame.time_base = 7, Fraction(1, 25)
    return frame


def packed_bytes(frame: av.VideoFrame) -> bytes:
    """The frame as ffmpeg's rawvideo has it, line padding left out."""
    encoder = av.CodecContext.create("rawvideo", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, frame.format.name
    encoder.time_base = Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def by_program(raw: bytes, source: str, target: str) -> bytes:
    """Convert a raw frame with the independent program."""
    size = ("-s", f"{WIDTH}x{HEIGHT}")
    done = subprocess.run(
        [FFMPEG, "-nostdin", "-loglevel", "error", "-f", "rawvideo", *size, "-pix_fmt", source,
         "-i", "-", "-f", "rawvideo", "-pix_fmt", target, "-"],
        input=raw, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(("source", "target"), sorted(REPACKED.items()))
def test_packed_samples_reach_their_planes_and_come_back(source, target):
    frame = noise(source)
    planar = to_planar(frame)
    assert planar_name(source) == (target, False)
    assert (planar.format.name, planar.pts, planar.time_base) == (target, 7, Fraction(1, 25))
    raw = b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes_of(planar))
    assert raw == by_program(packed_bytes(frame), source, target)
    if source not in ("rgb0", "bgr0", "0rgb", "0bgr"):  # their spare byte is lost
        assert by_program(raw, target, source) == packed_bytes(frame)


@pytest.mark.parametrize("name", PLANAR)
def test_planar_frames_pass_as_they_are(name):
    frame = noise(name)
    assert planar_name(name) == (name, False)
    assert to_planar(frame) is frame


@pytest.mark.parametrize("name", ["yuvj420p", "yuvj422p", "yuvj444p"])
def test_full_range_is_a_label_and_no_sample_changes(name):
    frame = noise(name)
    planar = to_planar(frame)
    assert planar.format.name == name.replace("j", "")
    assert packed_bytes(planar) == packed_bytes(frame)
    assert planar.pts == 7


@pytest.mark.parametrize(
    ("source", "target"),
    [("rgba", "gbrp"), ("bgra", "gbrp"), ("yuva420p", "yuv420p"), ("yuva444p10le", "yuv444p10le"),
     ("gbrap", "gbrp"), ("ya8", "gray"), ("rgba64le", "gbrp16le")],
)  # fmt: skip
def test_alpha_goes_and_the_rest_stays(source, target):
    frame = noise(source)
    assert planar_name(source) == (target, True)
    planar = to_planar(frame)
    raw = b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes_of(planar))
    # With the alpha plane made opaque the program's conversion cannot blend anything.
    assert raw == by_program(packed_bytes(frame), source, target)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("end", ["le", "be"])
def test_deep_planes_beside_alpha_are_kept_to_the_last_sample(bits, end):
    """swscale leaves parts of lines as it found them in memory."""
    rng = np.random.default_rng(bits)
    planes = [rng.integers(0, 1 << bits, (10, 18), np.uint16) for _ in range(4)]
    frame = frame_from_planes(planes, f"gbrap{bits}le", 7, None)
    if end == "be":
        frame = frame.reformat(format=f"gbrap{bits}be")
    made = to_planar(frame)
    assert (made.format.name, made.pts) == (f"gbrp{bits}le", 7)
    for plane, wanted in zip(planes_of(made), planes[:3], strict=True):
        np.testing.assert_array_equal(plane, wanted)


@pytest.mark.parametrize(
    "name", ["yuv420p9000", "xyz12le", "grayf32le", "gbrpf32le", "yuv420p7le", "bayer_rggb8", ""]
)
def test_what_has_no_planes_of_integers_is_refused(name):
    with pytest.raises(ValueError, match="is not a planar gray, gbrp or yuv format"):
        planar_name(name)


@pytest.mark.parametrize("name", PLANAR)
def test_the_description_of_a_format_is_ffmpegs(name):
    described, ffmpegs = planar_format(name), av.VideoFormat(name, WIDTH, HEIGHT)
    assert described.name == name
    assert described.bit_depth == ffmpegs.components[0].bits
    assert described.is_rgb == ffmpegs.is_rgb
    assert described.is_gray == (len(ffmpegs.components) == 1)
    planes = planes_of(av.VideoFrame(WIDTH, HEIGHT, name))
    assert tuple(plane.shape for plane in planes) == described.plane_shapes(WIDTH, HEIGHT)
    assert {plane.dtype for plane in planes} == {described.dtype}


@given(width=st.integers(1, 70), height=st.integers(1, 70), name=st.sampled_from(PLANAR))
def test_planes_survive_the_way_through_a_frame(width, height, name):
    described = planar_format(name)
    top = 1 << described.bit_depth
    planes = [
        np.random.randint(0, top, shape).astype(described.dtype)
        for shape in described.plane_shapes(width, height)
    ]
    frame = frame_from_planes(planes, name, -3, Fraction(1, 90_000))
    assert (frame.width, frame.height, frame.pts) == (width, height, -3)
    assert frame.time_base == Fraction(1, 90_000)
    assert all(np.array_equal(a, b) for a, b in zip(planes_of(frame), planes, strict=True))


def test_planes_are_views_that_can_be_written():
    frame = noise("yuv420p10le")
    planes_of(frame)[1][2, 3] = 513
    assert planes_of(frame)[1][2, 3] == 513


def test_planes_that_do_not_fit_are_refused():
    planes = [np.zeros((8, 8), np.uint8), np.zeros((3, 4), np.uint8), np.zeros((4, 4), np.uint8)]
    with pytest.raises(ValueError, match="could not broadcast"):
        frame_from_planes(planes, "yuv420p", 0, None)
    with pytest.raises(ValueError, match="zip"):
        frame_from_planes(planes[:1], "yuv420p", 0, None)
