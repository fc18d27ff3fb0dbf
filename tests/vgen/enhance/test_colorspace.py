"""Colour conversion against a slow float64 version written from the standard."""

import numpy as np
import pytest
import torch

from tests.vgen.enhance.toys import CPU, noise_planes
from vgen.enhance.coding import Coding
from vgen.enhance.colorspace import Converter
from vgen.errors import ProbeError
from vgen.media.pixels import planar_format

FORMATS = [
    "yuv420p",
    "yuv422p",
    "yuv444p",
    "yuv440p",
    "yuv411p",
    "yuv410p",
    "yuv420p10le",
    "yuv422p12le",
    "yuv444p16le",
    "gray",
    "gray10le",
    "gbrp",
    "gbrp10le",
]
SIZES = [(2, 2), (1, 1), (7, 5), (16, 10)]


def slow_rgb(planes, coding):
    """Each pixel alone: interpolate chroma at its place, undo the range, solve for R, G, B."""
    signals = [
        (p.astype(float) - o) / g for p, (g, o) in zip(planes, slow_scales(coding), strict=False)
    ]
    if coding.format.is_gray:
        return np.stack([signals[0]] * 3)
    if coding.format.is_rgb:
        green, blue, red = signals
        return np.stack([red, green, blue])
    height, width = signals[0].shape
    y, cb, cr = signals[0], *(slow_chroma(c, coding, height, width) for c in signals[1:])
    if coding.matrix == 8:
        return np.stack([y - cb + cr, y + cb, y - cb - cr])
    kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[coding.matrix]
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    return np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])


def slow_scales(coding):
    n = coding.format.bit_depth
    luma = (
        (2.0**n - 1, 0.0) if coding.is_full_range else (219 * 2.0 ** (n - 8), 16 * 2.0 ** (n - 8))
    )
    gain = 2.0**n - 1 if coding.is_full_range else 224 * 2.0 ** (n - 8)
    if coding.matrix == 8 and not coding.is_full_range:
        gain = luma[0]
    chroma = (gain, 2.0 ** (n - 1))
    return [luma] * 3 if coding.format.is_rgb else [luma, chroma, chroma]


def slow_chroma(chroma, coding, height, width):
    x, y = coding.siting()
    across = (np.arange(width) - x) / 2**coding.format.log2_chroma_w
    down = (np.arange(height) - y) / 2**coding.format.log2_chroma_h
    rows = np.stack([np.interp(across, np.arange(chroma.shape[1]), row) for row in chroma])
    return np.stack([np.interp(down, np.arange(len(rows)), c) for c in rows.T], axis=1)


def slow_footprints(channel, coding):
    """Average a full-size channel over the area of each chroma sample, a slice at a time."""
    x, y = coding.siting()
    for step, offset in (
        (2**coding.format.log2_chroma_w, x),
        (2**coding.format.log2_chroma_h, y),
    ):
        slices = 20
        thin = np.repeat(np.pad(channel, [(0, 0), (9, 9)], mode="edge"), slices, axis=1)
        starts = [
            round((9.5 + step * j + offset - step / 2) * slices)
            for j in range(-(-channel.shape[1] // step))
        ]
        means = [thin[:, s : s + step * slices].mean(axis=1) for s in starts]
        channel = (np.stack(means, axis=1) if step > 1 else channel).T
    return channel


def slow_added(planes, residual, coding):
    """Unrounded code values of planes plus an RGB residual."""
    red, green, blue = residual
    if coding.format.is_rgb:
        signals = [green, blue, red]
    else:
        kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[coding.matrix]
        y = kr * red + (1 - kr - kb) * green + kb * blue
        chroma = [0.5 * (blue - y) / (1 - kb), 0.5 * (red - y) / (1 - kr)]
        signals = [y, *(slow_footprints(c, coding) for c in chroma)]
    scaled = zip(planes, signals, slow_scales(coding), strict=False)
    return [plane + gain * signal for plane, signal, (gain, _) in scaled]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("is_full_range", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_rgb_is_that_of_the_slow_version(name, is_full_range, size):
    coding = coding_of(name, is_full_range=is_full_range)
    planes = noise_planes(name, *size, np.random.default_rng(4))
    converter = converter_of(coding, coding)
    got = converter.rgb(converter.load(planes))[0].numpy()
    assert np.allclose(got, slow_rgb(planes, coding), atol=2e-6)


@pytest.mark.parametrize("matrix", [1, 6, 8, 9])
@pytest.mark.parametrize("location", range(7))
def test_every_matrix_and_siting_is_that_of_the_slow_version(matrix, location):
    coding = coding_of("yuv420p", matrix=matrix, chroma_location=location)
    planes = noise_planes("yuv420p", 9, 11, np.random.default_rng(5))
    converter = converter_of(coding, coding)
    got = converter.rgb(converter.load(planes))[0].numpy()
    assert np.allclose(got, slow_rgb(planes, coding), atol=2e-6)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_a_residual_of_zero_gives_the_source_bit_for_bit(name, size):
    coding = coding_of(name)
    planes = noise_planes(name, *size, np.random.default_rng(6))
    converter = converter_of(coding, coding)
    got = converter.compose(converter.load(planes), torch.zeros(1, 3, size[1], size[0]))
    assert_same_planes(got, planes)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("is_full_range", [False, True])
@pytest.mark.parametrize("location", [0, 2, 3, 5])
@pytest.mark.parametrize("name", [n for n in FORMATS if "gray" not in n])
def test_a_residual_is_added_as_the_slow_version_adds_it(name, location, is_full_range, size):
    coding = coding_of(name, is_full_range=is_full_range, chroma_location=location)
    generator = np.random.default_rng(7)
    planes = noise_planes(name, *size, generator)
    residual = generator.normal(0, 0.1, (3, size[1], size[0]))
    converter = converter_of(coding, coding)
    added = torch.from_numpy(residual)[None].float().contiguous(memory_format=torch.channels_last)
    got = converter.compose(converter.load(planes), added)
    top = 2**coding.format.bit_depth - 1
    for plane, expected in zip(got, slow_added(planes, residual, coding), strict=True):
        assert np.abs(plane - expected.clip(0, top)).max() <= 0.5 + top * 2e-6


def test_gray_takes_the_luma_of_the_residual():
    coding = coding_of("gray")
    converter = converter_of(coding, coding)
    planes = converter.load([np.full((4, 4), 100, np.uint8)])
    residual = torch.tensor([0.1, 0.2, -0.3])[None, :, None, None].expand(1, 3, 4, 4)
    luma = 0.2126 * 0.1 + 0.7152 * 0.2 - 0.0722 * 0.3
    assert (converter.compose(planes, residual)[0] == round(100 + 219 * luma)).all()


def test_strength_scales_the_residual():
    coding = coding_of("gbrp", is_full_range=True)
    converter = converter_of(coding, coding)
    planes = converter.load([np.full((4, 4), 100, np.uint8)] * 3)
    residual = torch.full((1, 3, 4, 4), 10 / 255)
    assert (converter.compose(planes, residual, strength=1.5)[0] == 115).all()


def test_values_are_rounded_half_up_and_clipped_to_the_bits():
    coding = coding_of("gbrp", is_full_range=True)
    converter = converter_of(coding, coding)
    planes = converter.load([np.array([[0, 9, 10, 255]], np.uint8)] * 3)
    residual = torch.tensor([-3.0, 0.5, 0.25, 3.0]) / 255
    got = converter.compose(planes, residual.expand(1, 3, 1, 4))
    assert got[0].tolist() == [[0, 10, 10, 255]]


@pytest.mark.parametrize("matrix", [1, 6, 8, 9])
@pytest.mark.parametrize("is_full_range", [False, True])
@pytest.mark.parametrize("bits", ["", "10le", "12le"])
def test_yuv_comes_back_from_rgb_unchanged(matrix, is_full_range, bits):
    yuv = coding_of(f"yuv444p{bits}", matrix=matrix, is_full_range=is_full_range)
    rgb = coding_of("gbrp16le", is_full_range=True)
    colours = np.random.default_rng(8).integers(0, 65536, (3, 12, 10)).astype(np.uint16)
    coded = convert(list(colours), rgb, yuv)
    again = convert(convert(coded, yuv, rgb), rgb, yuv)
    assert_same_planes(again, coded)


@pytest.mark.parametrize("name", ["yuv420p", "gbrp", "gray"])
def test_more_bits_of_limited_range_are_a_shift(name):
    planes = noise_planes(name, 6, 4, np.random.default_rng(9))
    deep = f"{name}10le"
    got = convert(planes, coding_of(name), coding_of(deep))
    assert_same_planes(got, [plane.astype(np.uint16) * 4 for plane in planes])
    assert_same_planes(convert(got, coding_of(deep), coding_of(name)), planes)


def test_ranges_are_converted_by_the_equations():
    full, limited = coding_of("yuv444p", is_full_range=True), coding_of("yuv444p")
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    got = convert([levels] * 3, full, limited)
    luma = np.floor(levels / 255 * 219 + 16 + 0.5)
    chroma = np.floor((levels - 128.0) / 255 * 224 + 128 + 0.5)
    assert np.abs(got[0] - luma).max() == 0
    assert np.abs(got[1] - chroma).max() == 0


def test_more_chroma_is_interpolated_and_less_is_averaged():
    few, many = coding_of("yuv420p"), coding_of("yuv444p")
    planes = noise_planes("yuv420p", 8, 6, np.random.default_rng(10))
    got = convert(planes, few, many)
    for plane, source in zip(got[1:], planes[1:], strict=True):
        assert np.abs(plane - slow_chroma(source, few, 6, 8)).max() <= 0.5001
    back = convert(got, many, few)
    for plane, source in zip(back[1:], got[1:], strict=True):
        assert np.abs(plane - slow_footprints(source.astype(float), few)).max() <= 0.5001


def test_gray_becomes_yuv_without_colour_and_colour_becomes_gray_by_luma():
    luma = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    got = convert([luma], coding_of("gray"), coding_of("yuv420p10le"))
    assert_same_planes(got[:1], [luma.astype(np.uint16) * 4])
    assert all((plane == 512).all() and plane.shape == (2, 3) for plane in got[1:])
    assert_same_planes(convert(got, coding_of("yuv420p10le"), coding_of("gray")), [luma])


@pytest.mark.parametrize("scale", [2, 4])
def test_luma_is_enlarged_by_torchs_bicubic(scale):
    planes = noise_planes("yuv420p", 10, 8, np.random.default_rng(11))
    coding = coding_of("yuv420p")
    got = convert(planes, coding, coding, scale=scale)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(planes[0])[None, None].double(),
        scale_factor=scale,
        mode="bicubic",
        align_corners=False,
    )[0, 0].numpy()
    assert [plane.shape for plane in got] == [(8 * scale, 10 * scale)] + [
        (4 * scale, 5 * scale)
    ] * 2
    assert np.abs(got[0] - expected.clip(0, 255)).max() <= 0.5001


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("location", range(7))
def test_enlarged_chroma_stays_where_it_was_in_the_scene(scale, location):
    """A ramp over the scene is the same ramp after enlargement, whatever the siting."""
    coding = coding_of("yuv420p16le", chroma_location=location)
    x, y = coding.siting()
    across, down = np.arange(20) * 2 + x, np.arange(12) * 2 + y
    ramp = 20_000 + 400 * across + 150 * down[:, None]
    luma = np.zeros((24, 40), np.uint16)
    planes = [luma, ramp.astype(np.uint16), ramp.astype(np.uint16)]
    got = convert(planes, coding, coding, scale=scale)[1].astype(float)
    rows, columns = np.indices(got.shape)
    seen_across = (columns * 2 + x + 0.5) / scale - 0.5
    seen_down = (rows * 2 + y + 0.5) / scale - 0.5
    expected = 20_000 + 400 * seen_across + 150 * seen_down
    inner = np.s_[3 * scale : -3 * scale, 3 * scale : -3 * scale]
    # Keys' cubic with a = -0.75 bends a ramp by up to 0.05 samples; a wrong siting by 0.125.
    assert np.abs(got - expected)[inner].max() <= 0.06 * 2 * (400 + 150)


def test_odd_sizes_keep_their_chroma_size_when_enlarged():
    coding = coding_of("yuv420p")
    planes = noise_planes("yuv420p", 7, 5, np.random.default_rng(12))
    shapes = [plane.shape for plane in convert(planes, coding, coding, scale=2)]
    assert shapes == [(10, 14), (5, 7), (5, 7)]


@pytest.mark.parametrize("way", ["source", "target"])
def test_an_unknown_matrix_fails_the_video(way):
    known, unknown = coding_of("yuv420p"), coding_of("yuv420p", matrix=10)
    source, target = (unknown, known) if way == "source" else (known, unknown)
    with pytest.raises(ProbeError, match=r"colour matrix 10 .*film"):
        Converter(source, target, scale=1, device=CPU, uri="film.mkv")


def convert(planes, source, target, scale=1):
    converter = converter_of(source, target, scale)
    return converter.compose(converter.load(planes), None)


def converter_of(source, target, scale=1):
    return Converter(source, target, scale=scale, device=CPU, uri="")


def coding_of(name, *, matrix=1, is_full_range=False, chroma_location=0):
    return Coding(
        format=planar_format(name),
        matrix=matrix,
        is_full_range=is_full_range,
        chroma_location=chroma_location,
    )


def assert_same_planes(got, expected):
    assert len(got) == len(expected)
    for plane, wanted in zip(got, expected, strict=True):
        assert plane.dtype == wanted.dtype
        assert np.array_equal(plane, wanted)
