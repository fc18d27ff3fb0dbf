from dataclasses import asdict, fields

import numpy as np
import pytest

from vgen.training.degrade import (
    Mix,
    add_noise,
    add_sensor_noise,
    blur,
    degrade_clip,
    draw_encoding,
    jpeg,
    shrink_and_enlarge,
)

KINDS = [field.name for field in fields(Mix)]


def only(kind):
    return Mix(**{name: float(name == kind) for name in KINDS})


def textured_clip(frames=5, side=48, seed=0):
    rng = np.random.default_rng(seed)
    # Nearly grey: 4:2:0 alone would ruin such blocks in colour.
    grey = rng.integers(30, 220, (side // 4, side // 4, 1)) + np.array([0, 3, 6])
    frame = np.kron(grey, np.ones((4, 4, 1)))
    return np.repeat(frame[None].astype(np.uint8), frames, axis=0)


def rms(a, b):
    return np.sqrt(np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_shape_and_type_and_repeats_with_its_seed(kind):
    clip = textured_clip()
    for seed in range(6):
        first = degrade_clip(clip, only(kind), np.random.default_rng(seed))
        again = degrade_clip(clip, only(kind), np.random.default_rng(seed))
        assert first.shape == clip.shape
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"clean"}))
def test_every_kind_of_damage_changes_the_picture(kind):
    clip = textured_clip()
    assert rms(degrade_clip(clip, only(kind), np.random.default_rng(1)), clip) > 0


def test_near_clean_pictures_are_near():
    clip = textured_clip()
    errors = [
        rms(degrade_clip(clip, only("near_clean"), np.random.default_rng(seed)), clip)
        for seed in range(10)
    ]
    strong = [
        rms(degrade_clip(clip, only("codec"), np.random.default_rng(seed)), clip)
        for seed in range(10)
    ]
    assert np.median(errors) < 0.5 * np.median(strong)


def test_the_input_is_never_written_to():
    clip = textured_clip()
    clip.flags.writeable = False
    for kind in KINDS:
        degrade_clip(clip, only(kind), np.random.default_rng(0))


def test_noise_has_its_sigma_and_is_new_in_every_frame():
    clip = np.full((4, 64, 64, 3), 128, np.uint8)
    noise = add_noise(clip, sigma=25, rng=np.random.default_rng(0)).astype(float) - 128
    assert noise.std() == pytest.approx(25, rel=0.03)
    assert abs(noise.mean()) < 0.5
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05


def test_grey_noise_is_the_same_in_all_channels():
    clip = np.full((1, 16, 16, 3), 128, np.uint8)
    noisy = add_noise(clip, sigma=25, rng=np.random.default_rng(0), is_gray=True)
    assert (noisy[..., 0] == noisy[..., 1]).all()
    assert (noisy[..., 0] == noisy[..., 2]).all()


def test_noise_is_clipped_to_bytes_and_does_not_wrap():
    white = np.full((1, 32, 32, 3), 255, np.uint8)
    noisy = add_noise(white, sigma=25, rng=np.random.default_rng(0))
    assert noisy.min() > 100
    assert (noisy == 255).mean() > 0.4


def test_sensor_noise_grows_with_light():
    rng = np.random.default_rng(0)
    dark, bright = (
        add_sensor_noise(
            np.full((1, 64, 64, 3), level, np.uint8), shot=0.01, read=1e-4, blur_px=0, rng=rng
        )
        for level in (10, 200)
    )
    # In linear light, where the model is stated.
    assert ((bright / 255) ** 2.2).std() > 5 * ((dark / 255) ** 2.2).std()


def test_blurred_sensor_noise_is_correlated_between_neighbours():
    clip = np.full((1, 64, 64, 3), 128, np.uint8)
    noisy = add_sensor_noise(
        clip, shot=0.01, read=0.0, blur_px=0.8, rng=np.random.default_rng(0)
    ).astype(float)
    noise = (noisy - noisy.mean())[0, ..., 0]
    assert np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1] > 0.3


@pytest.mark.parametrize(
    "soften",
    [
        lambda clip: blur(clip, sigma_x_px=1.2, sigma_y_px=1.2),
        lambda clip: shrink_and_enlarge(clip, ratio=0.6, is_sharp=False),
    ],
)
def test_softening_removes_contrast_and_keeps_brightness(soften):
    clip = textured_clip()
    softened = soften(clip)
    assert np.abs(np.diff(softened.astype(float), axis=2)).max() < 200
    assert softened.std() < clip.std()
    assert softened.mean() == pytest.approx(clip.mean(), abs=1)


def test_a_better_jpeg_is_closer():
    clip = textured_clip()
    assert rms(jpeg(clip, quality=95), clip) < rms(jpeg(clip, quality=20), clip)


def test_encodings_stay_in_their_range():
    rng = np.random.default_rng(0)
    for _ in range(200):
        encoding = draw_encoding(rng, best_crf=18, worst_crf=36)
        low, high = (18, 36) if encoding.codec == "libx264" else (2, 31)
        assert low <= encoding.quality <= high


def test_kinds_come_in_their_shares():
    mix = Mix(**(dict.fromkeys(KINDS, 0.0) | {"clean": 3.0, "noise": 1.0}))
    clip = np.full((1, 16, 16, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    noisy = sum(rms(degrade_clip(clip, mix, rng), clip) > 0.6 for _ in range(400))
    assert 70 <= noisy <= 130


def test_the_default_shares_sum_to_one():
    assert sum(asdict(Mix()).values()) == pytest.approx(1)


@pytest.mark.parametrize("shares", [{"noise": -0.1}, dict.fromkeys(KINDS, 0.0)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(ValueError, match="shares must not be negative and not all 0"):
        Mix(**shares)
