import numpy as np
import pytest

from vgen.training.degrade_noise import add_chroma_noise, add_noise, add_sensor_noise, draw_chroma


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


# Rec. ITU-R BT.601-7, colours centred on 0.
YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


@pytest.mark.parametrize("blur_px", [0.0, 0.7])
def test_colour_noise_is_stronger_in_colour_by_its_gain(blur_px):
    clip = np.full((3, 96, 96, 3), 128, np.uint8)
    noisy = add_chroma_noise(
        clip,
        sigma=8,
        chroma_gain=1.5,
        blur_px=blur_px,
        chroma_blur_px=2 * blur_px,
        rng=np.random.default_rng(0),
    )
    luma, blue, red = np.moveaxis((noisy.astype(float) - 128) @ YCC.T, -1, 0)
    assert luma.std() == pytest.approx(8, rel=0.05)
    assert blue.std() == pytest.approx(12, rel=0.05)
    assert red.std() == pytest.approx(12, rel=0.05)
    assert abs(np.corrcoef(luma.ravel(), red.ravel())[0, 1]) < 0.05
    neighbours = [
        np.corrcoef(plane[:, :, :-1].ravel(), plane[:, :, 1:].ravel())[0, 1]
        for plane in (luma, blue)
    ]
    if blur_px:
        assert 0.3 < neighbours[0] < neighbours[1]
    else:
        assert np.abs(neighbours).max() < 0.05


def test_the_level_of_colour_noise_drifts_slowly_and_its_dice_are_new_in_every_frame():
    clip = np.full((40, 48, 48, 3), 128, np.uint8)
    noisy = draw_chroma(clip, np.random.default_rng(2)).astype(float) - 128
    levels = noisy.std(axis=(1, 2, 3))
    assert len(set(levels.round(3))) > 30
    assert np.abs(np.diff(levels) / levels[:-1]).max() < 0.35
    assert abs(np.corrcoef(noisy[0].ravel(), noisy[1].ravel())[0, 1]) < 0.1
