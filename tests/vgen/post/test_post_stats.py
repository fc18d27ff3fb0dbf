import numpy as np
import pytest

from tests.vgen.post.shaky import row, scene
from vgen.post.motion import IDENTITY
from vgen.post.shots import shot_of, split_shots
from vgen.post.stats import Observer, measure_noise, measure_picture, merge_stats


@pytest.mark.parametrize("sigma", [2.0, 8.0, 20.0])
def test_noise_of_known_size_is_measured_on_texture(sigma):
    rng = np.random.default_rng(1)
    clean = scene(192, 256)[..., 1]
    noisy = (clean + rng.normal(0, sigma, clean.shape)).round().clip(0, 255).astype(np.uint8)
    assert measure_noise(noisy) == pytest.approx(sigma, rel=0.12, abs=0.3)


def test_noise_is_not_read_where_there_is_none_to_see():
    assert measure_noise(np.zeros((64, 64), np.uint8)) == 0
    assert measure_noise(np.full((20, 20), 90, np.uint8)) == 0
    assert measure_noise(scene(128, 128)[..., 1]) < 1


def test_the_light_is_read_from_gray_pictures_exactly():
    gray = np.repeat(scene(64, 64)[..., :1] // 2 + 20, 3, axis=2)
    tinted = (gray * np.array([1.1, 1.0, 0.9])).round().astype(np.uint8)
    red, green, blue = measure_picture(tinted).illuminant
    assert red - green == pytest.approx(np.log(1.1), abs=0.01)
    assert blue - green == pytest.approx(np.log(0.9), abs=0.01)


def test_a_clipped_picture_does_not_tell_the_light():
    assert measure_picture(np.full((8, 8, 3), 255, np.uint8)).illuminant is None


def test_mean_and_spread_are_those_of_luma_and_colour_difference():
    picture = scene(40, 56)
    red, green, blue = np.moveaxis(picture / 255, -1, 0)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    stats = measure_picture(picture)
    axes = (luma, blue - luma, red - luma)
    assert stats.mean_ycc == pytest.approx([axis.mean() for axis in axes], abs=1e-5)
    assert stats.spread_ycc == pytest.approx([axis.std() for axis in axes], abs=1e-5)
    assert stats.luma[3] == pytest.approx(np.median(luma), abs=1e-4)


def test_brightness_is_compared_with_the_frame_before_within_a_shot_and_only_if_asked():
    picture = scene(96, 128)
    brighter = (picture * 1.05).round().clip(0, 255).astype(np.uint8)
    observer = Observer(with_motion=False, with_light=True)
    assert observer.see(0, picture).log_gain is None
    assert observer.see(1, brighter).log_gain == pytest.approx(np.log(1.05), abs=0.002)
    assert observer.see(2, picture, starts_shot=True).log_gain is None
    assert observer.see(3, brighter).log_gain == pytest.approx(np.log(1.05), abs=0.002)
    careless = Observer(with_motion=False)
    assert careless.see(0, picture).log_gain is careless.see(1, brighter).log_gain is None


@pytest.mark.parametrize("measures", [{"with_motion": True}, {"with_light": True}])
def test_stretches_measured_apart_merge_to_what_one_pass_measures(measures):
    still = scene(72, 160)
    frames = [np.ascontiguousarray(still[:, 2 * t : 2 * t + 96]) for t in range(12)]

    def seen(start, stop):
        observer = Observer(**{"with_motion": False, **measures})
        return [observer.see(t, frames[t]) for t in range(start, stop)]

    whole = seen(0, 12)
    assert merge_stats([seen(6, 12), seen(0, 7)])[:7] == whole[:7]
    assert merge_stats([seen(4, 12), seen(0, 6)]) == whole


def test_a_frame_that_nobody_saw_gets_its_neighbours_row_without_motion():
    merged = merge_stats([[row(3), row(6)]])
    assert [r.frame for r in merged] == [3, 4, 5, 6]
    assert merged[1].motion.quality == 0
    assert merged[1].log_gain is None
    assert merged[1].motion.similarity == IDENTITY
    assert merge_stats([[row(0, motion=None), row(2)]])[1].motion is None


def test_only_small_rgb_is_measured():
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\], got float64 \(4, 4, 3\)"):
        Observer(with_motion=False).see(0, np.zeros((4, 4, 3)))


def test_shots_begin_at_the_cuts_that_lie_inside():
    rows = [row(t) for t in range(5, 15)]
    shots = split_shots(rows, [12, 5, 8, 8, 99, 15])
    assert [(shot[0].frame, len(shot)) for shot in shots] == [(5, 3), (8, 4), (12, 3)]
    assert split_shots([], [3]) == []
    with pytest.raises(ValueError, match="a row for each of the frames 5 to 13, in order"):
        split_shots([*rows[:4], *rows[5:]], [])


def test_a_frame_belongs_to_the_last_shot_that_began():
    assert [shot_of([0, 4, 9], frame) for frame in (0, 3, 4, 8, 9, 50)] == [0, 0, 1, 1, 2, 2]
    assert shot_of([4, 9], 1) == 0


def test_detail_counts_what_has_detail_and_not_what_is_flat():
    """Half a white wall, half a checkerboard of dark grays."""
    board = np.where(np.indices((240, 160)).sum(axis=0) // 16 % 2, 40, 120)
    picture = np.full((240, 320, 3), 250, np.uint8)
    picture[:, :160] = board[..., None]
    stats = measure_picture(picture)
    assert stats.mean_ycc[0] > 0.6
    assert 40 / 255 < stats.detail < 0.5
    flat = measure_picture(np.full((240, 320, 3), 90, np.uint8))
    assert flat.detail == pytest.approx(90 / 255, abs=1e-3)
