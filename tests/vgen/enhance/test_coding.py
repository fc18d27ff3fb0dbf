"""The numbers of H.273, against the standard's own sentences."""

import numpy as np
import pytest

from tests.vgen.enhance.toys import video_of
from vgen.enhance.coding import Coding, luma_matrix, target_coding
from vgen.errors import ProbeError
from vgen.media.pixels import planar_format

KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}


@pytest.mark.parametrize("matrix", sorted(KR_KB))
def test_luma_and_chroma_follow_the_equations_of_the_standard(matrix):
    kr, kb = KR_KB[matrix]
    red, green, blue = rgb = np.random.default_rng(0).random((3, 50))
    y = kr * red + (1 - kr - kb) * green + kb * blue
    expected = [y, 0.5 * (blue - y) / (1 - kb), 0.5 * (red - y) / (1 - kr)]
    assert np.allclose(luma_matrix(matrix, uri="") @ rgb, expected, atol=1e-12)


def test_ycgco_follows_the_equations_of_the_standard():
    red, green, blue = rgb = np.random.default_rng(0).random((3, 50))
    expected = [
        0.5 * green + 0.25 * (red + blue),
        0.5 * green - 0.25 * (red + blue),
        0.5 * (red - blue),
    ]
    assert np.allclose(luma_matrix(8, uri="") @ rgb, expected, atol=1e-12)


@pytest.mark.parametrize("matrix", [0, 2, 3, 10, 11, 14, 999])
def test_a_matrix_that_is_not_linear_or_not_known_is_refused_by_name(matrix):
    with pytest.raises(ProbeError, match=rf"colour matrix {matrix} .*cannot be converted.*film"):
        luma_matrix(matrix, uri="film.mkv")


@pytest.mark.parametrize(
    ("name", "is_full_range", "luma", "chroma"),
    [
        ("yuv420p", False, (16, 235), (16, 240)),
        ("yuv420p", True, (0, 255), (0.5, 255.5)),
        ("yuv422p10le", False, (64, 940), (64, 960)),
        ("yuv444p12le", False, (256, 3760), (256, 3840)),
        ("yuv420p10le", True, (0, 1023), (0.5, 1023.5)),
    ],
)
def test_black_white_and_extreme_chroma_have_their_code_values(name, is_full_range, luma, chroma):
    scales = coding(name, is_full_range=is_full_range).scales()
    assert [scales[0][0] * e + scales[0][1] for e in (0, 1)] == list(luma)
    for gain, offset in scales[1:]:
        assert [gain * e + offset for e in (-0.5, 0.5)] == list(chroma)


def test_limited_ycgco_keeps_the_range_of_luma_in_its_differences():
    assert coding("yuv444p", matrix=8).scales() == ((219, 16), (219, 128), (219, 128))


def test_rgb_planes_all_have_the_range_of_luma():
    assert coding("gbrp", is_full_range=True).scales() == ((255, 0),) * 3
    assert coding("gbrp10le").scales() == ((876, 64),) * 3


@pytest.mark.parametrize(
    ("location", "expected"),
    [(0, (0, 0.5)), (1, (0, 0.5)), (2, (0.5, 0.5)), (3, (0, 0)), (4, (0.5, 0)), (5, (0, 1)),
     (6, (0.5, 1))],
)  # fmt: skip
def test_chroma_lies_where_its_location_says(location, expected):
    assert coding("yuv420p", chroma_location=location).siting() == expected


@pytest.mark.parametrize("location", range(7))
def test_chroma_that_is_not_subsampled_lies_on_luma(location):
    assert coding("yuv444p", chroma_location=location).siting() == (0, 0)
    assert coding("yuv422p", chroma_location=location).siting()[1] == 0


def test_output_is_coded_as_the_source_unless_told_otherwise():
    video = video_of("yuv420p", 64, 48, matrix=9, is_full_range=True)
    made = target_coding(video, "yuv444p10le", None)
    assert (made.matrix, made.is_full_range, made.format.name) == (9, True, "yuv444p10le")


def test_an_unspecified_matrix_to_write_stands_for_the_sources():
    video = video_of("yuv420p", 64, 48, matrix=5)
    tags = video.color.model_copy(update={"matrix": 2, "is_full_range": True})
    made = target_coding(video, "yuv420p", tags)
    assert (made.matrix, made.is_full_range) == (5, True)


def test_rgb_written_as_yuv_without_a_matrix_is_bt709():
    assert target_coding(video_of("gbrp", 64, 48), "yuv444p", None).matrix == 1
    assert target_coding(video_of("gbrp", 64, 48), "gbrp", None).matrix == 0


def coding(name, *, matrix=1, is_full_range=False, chroma_location=0):
    return Coding(
        format=planar_format(name),
        matrix=matrix,
        is_full_range=is_full_range,
        chroma_location=chroma_location,
    )
