import cv2
import numpy as np
import pytest

from vgen.training.codec import LUMA_WEIGHTS, Encoding, code_clip, subsample_clip, to_planes, to_rgb


def smooth_clip(frames=3, height=96, width=96, seed=0):
    """Colours that change slowly, so that 4:2:0 loses next to nothing."""
    rng = np.random.default_rng(seed)
    small = rng.integers(60, 196, (3, 5, 3)).astype(np.uint8)
    wide = cv2.resize(small, (width + 2 * frames, height), interpolation=cv2.INTER_CUBIC)
    return np.stack([wide[:, 2 * t : 2 * t + width] for t in range(frames)])


def psnr_db(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


ALL_WAYS = [
    (matrix, is_full_range, upsampling)
    for matrix in LUMA_WEIGHTS
    for is_full_range in (False, True)
    for upsampling in ("left", "centre", "nearest")
]


@pytest.mark.parametrize(("matrix", "is_full_range", "upsampling"), ALL_WAYS)
def test_coding_at_best_quality_keeps_the_colours(matrix, is_full_range, upsampling):
    clip = smooth_clip()
    encoding = Encoding(
        codec="libx264",
        quality=1,
        matrix=matrix,
        is_full_range=is_full_range,
        upsampling=upsampling,
    )
    coded = code_clip(clip, encoding)
    assert psnr_db(coded, clip) > 38
    shift = (coded.astype(float) - clip).mean(axis=(0, 1, 2))
    assert np.abs(shift).max() < 0.5


@pytest.mark.parametrize("is_full_range", [False, True])
def test_grey_survives_without_a_coder(is_full_range):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(2, 0).repeat(2, 1)
    clip = ramp[None, ..., None].repeat(3, -1)
    encoding = Encoding(codec="libx264", quality=0, is_full_range=is_full_range)
    difference = np.abs(subsample_clip(clip, encoding).astype(int) - clip)
    assert difference.max() <= 1  # limited range has 220 levels for 256


# Rec. ITU-R BT.601-7 and BT.709-6, 8-bit limited range: 75 % bars are 180,180,180 for white etc.
BARS = {
    "bt601": [((255, 0, 0), (81, 90, 240)), ((0, 255, 0), (145, 54, 34)),
              ((0, 0, 255), (41, 240, 110)), ((255, 255, 255), (235, 128, 128))],
    "bt709": [((255, 0, 0), (63, 102, 240)), ((0, 255, 0), (173, 42, 26)),
              ((0, 0, 255), (32, 240, 118)), ((0, 0, 0), (16, 128, 128))],
}  # fmt: skip


@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
def test_primaries_have_the_samples_of_the_standard(matrix):
    for rgb, (luma, blue, red) in BARS[matrix]:
        frame = np.broadcast_to(np.array(rgb, np.uint8), (8, 8, 3))
        encoding = Encoding(codec="libx264", quality=0, matrix=matrix)
        planes = to_planes(frame, encoding)
        assert planes.shape == (12, 8)
        assert (planes[:8] == luma).all()
        assert (planes[8:10] == blue).all()
        assert (planes[10:] == red).all()
        assert np.abs(to_rgb(planes, encoding).astype(int) - frame).max() <= 2


@pytest.mark.parametrize(
    ("codec", "best", "worst"),
    [
        ("libx264", 10, 45),
        ("libx265", 10, 45),
        ("libvpx-vp9", 10, 60),
        ("mpeg2video", 2, 31),
        ("mpeg4", 2, 31),
    ],
)
def test_quality_orders_every_codec(codec, best, worst):
    grain = np.random.default_rng(0).integers(0, 60, (3, 96, 96, 1), np.uint8)
    clip = smooth_clip() // 2 + grain
    scores = [
        psnr_db(code_clip(clip, Encoding(codec=codec, quality=quality)), clip)
        for quality in (best, worst)
    ]
    assert scores[0] > scores[1] + 3


CODECS = ["libx264", "libx265", "libvpx-vp9", "mpeg2video", "mpeg4"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("keyframe_every", [1, 48])
def test_frames_come_back_in_order(codec, keyframe_every):
    levels = np.array([30, 200, 90, 160, 60, 230, 120], np.uint8)
    clip = np.broadcast_to(levels[:, None, None, None], (7, 96, 96, 3))
    encoding = Encoding(codec=codec, quality=10, preset="medium", keyframe_every=keyframe_every)
    coded = code_clip(clip, encoding)
    assert coded.dtype == np.uint8
    np.testing.assert_allclose(coded.mean(axis=(1, 2, 3)), levels, atol=4)


@pytest.mark.parametrize("codec", ["mpeg2video", "mpeg4"])
def test_frames_predicted_from_both_sides_come_back_in_order(codec):
    levels = np.array([30, 200, 90, 160, 60, 230, 120], np.uint8)
    clip = np.broadcast_to(levels[:, None, None, None], (7, 32, 32, 3))
    coded = code_clip(clip, Encoding(codec=codec, quality=4, b_frames=2, keyframe_every=12))
    np.testing.assert_allclose(coded.mean(axis=(1, 2, 3)), levels, atol=6)


def test_more_bits_are_closer():
    rng = np.random.default_rng(0)
    clip = rng.integers(60, 190, (5, 64, 64, 1), np.uint8).repeat(3, axis=-1)
    scores = [
        psnr_db(code_clip(clip, Encoding(codec="libx264", quality=0, bits_per_pixel=bits)), clip)
        for bits in (0.05, 0.5, 5.0)
    ]
    assert scores[0] + 0.5 < scores[1] < scores[2] - 2


@pytest.mark.parametrize(("height", "width"), [(48, 96), (96, 92)])
def test_x265_is_not_given_what_it_writes_past(height, width):
    clip = np.zeros((2, height, width, 3), np.uint8)
    with pytest.raises(ValueError, match=f"sides of 96 pixels, got {width}x{height}"):
        code_clip(clip, Encoding(codec="libx265", quality=30))


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "mpeg2video", "mpeg4"])
def test_only_x264_aims_at_a_bit_rate(codec):
    with pytest.raises(ValueError, match=f"only libx264 aims at a bit rate, got {codec}"):
        Encoding(codec=codec, quality=0, bits_per_pixel=0.1)


@pytest.mark.parametrize(
    ("codec", "width"),
    [*(("libx264", w) for w in (64, 112, 128, 208)), *((c, 112) for c in CODECS)],
)
def test_coding_is_repeatable(codec, width):
    clip = smooth_clip(frames=6, width=width)
    encoding = Encoding(codec=codec, quality=30, preset="medium")
    first = code_clip(clip, encoding)
    assert all(np.array_equal(code_clip(clip, encoding), first) for _ in range(6))
