import cv2
import numpy as np
import pytest

from vgen.training.clips import Material
from vgen.training.degrade import KINDS
from vgen.training.sheet import GAP_PX, LABEL_PX, Sample, difference, draw_samples, main

SIDE = 64


def material():
    rng = np.random.default_rng(0)
    return Material((rng.integers(0, 256, (80, 80, 3)).astype(np.uint8),), ())


@pytest.mark.parametrize("scale", [1, 2])
def test_every_kind_has_its_samples_and_repeats_with_the_seed(scale):
    drawn = [
        list(draw_samples(material(), seed=3, scale=scale, side_px=SIDE, columns=2))
        for _ in range(2)
    ]
    assert [sample.kind for sample in drawn[0]] == [kind for kind in KINDS for _ in range(2)]
    for one, again in zip(*drawn, strict=True):
        assert one.clean_hwc.shape == one.degraded_hwc.shape == (SIDE, SIDE, 3)
        assert np.array_equal(one.degraded_hwc, again.degraded_hwc)


def test_a_difference_of_one_level_is_seen_and_none_is_grey():
    clean = np.full((2, 2, 3), 100, np.uint8)
    changed = clean + np.array([[[0], [1]], [[10], [100]]], np.uint8)
    shown = difference(Sample(kind="x", clean_hwc=clean, degraded_hwc=changed))[..., 0]
    assert shown.tolist() == [[128, 132], [168, 255]]


def test_the_command_writes_a_row_a_kind(data_path, tmp_path):
    page = tmp_path / "page.png"
    arguments = [str(data_path), str(page), "--side", str(SIDE), "--columns", "1"]
    assert main(arguments) == 0
    picture = cv2.imread(str(page))
    assert picture.shape == (len(KINDS) * (SIDE + LABEL_PX), 3 * (SIDE + GAP_PX), 3)
    labels = picture.reshape(len(KINDS), SIDE + LABEL_PX, -1)[:, :LABEL_PX]
    assert (labels < 128).any(axis=(1, 2)).all()
    first = page.read_bytes()
    assert main(arguments) == 0
    assert page.read_bytes() == first


@pytest.mark.parametrize(
    "more", [["--columns", "0"], ["--side", "66"], ["--side", "36", "--scale", "2"]]
)
def test_impossible_sheets_are_refused(data_path, tmp_path, caplog, more):
    assert main([str(data_path), str(tmp_path / "p.png"), *more]) == 2
    assert "--columns starts at 1 and --side is a multiple of 4" in caplog.text


def test_a_folder_without_material_is_refused(tmp_path, caplog):
    assert main([str(tmp_path), str(tmp_path / "p.png")]) == 2
    assert "no usable file" in caplog.text


def test_a_place_that_cannot_be_written_is_refused(data_path, tmp_path, caplog):
    page = tmp_path / "missing" / "p.png"
    assert main([str(data_path), str(page), "--side", "64", "--columns", "1"]) == 2
    assert "cannot write" in caplog.text
