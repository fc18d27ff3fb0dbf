import numpy as np
import pytest

from vgen.errors import ConfigError
from vgen.training.clips import (
    CLIPS,
    STILLS,
    check_material,
    crop_run,
    draw_clip,
    find_files,
    is_held_out,
    load_material,
    move_still,
    read_runs,
    read_still,
)


def numbered_run(frames=9, height=40, width=60):
    run = np.zeros((frames, height, width, 3), np.uint8)
    run[..., 0] = np.arange(frames)[:, None, None]
    run[..., 1] = np.arange(height)[:, None]
    run[..., 2] = np.arange(width)
    return run


def test_the_split_has_no_file_on_both_sides(data_path):
    for patterns in (STILLS, CLIPS):
        kept = find_files(data_path, patterns, held_out=False)
        held = find_files(data_path, patterns, held_out=True)
        assert kept
        assert held
        assert not set(kept) & set(held)


@pytest.mark.parametrize(
    ("name", "is_held"),
    [
        ("test_100020.jpg", True),
        ("test_100021.jpg", False),
        ("test_100020.png", False),
        ("intel_asl_yes.mkv", True),
        ("intel_asl_night.mp4", True),
        ("opencv_cup.mp4", True),
        ("intel_asl_milk.mkv", True),
        ("intel_asl_walk.mkv", False),
    ],
)
def test_held_out_files_are_known_by_name(name, is_held):
    assert is_held_out(name) == is_held


def test_held_out_names_can_be_chosen():
    assert is_held_out("a_test.mp4", ("*_test.*",))
    assert not is_held_out("a_Test.mp4", ("*_test.*",))


def test_files_without_a_clear_licence_are_left_out_and_named(data_path, caplog):
    names = [path.name for path in find_files(data_path, CLIPS, held_out=False)]
    assert names == ["intel_one.mkv"]
    assert "intel_unclear.mkv" in caplog.text
    assert "opencv_unlisted.mkv" in caplog.text


def test_a_folder_of_somebodys_files_is_refused_with_the_remedy(data_path, tmp_path):
    check_material(str(data_path), frames=5)
    (tmp_path / "mine.jpg").write_bytes(b"not looked at")
    for refuses in (load_material, lambda place: check_material(str(place), frames=5)):
        with pytest.raises(
            ConfigError, match=r"no usable file matches bsds400_jpg/\*\.jpg .*; make"
        ):
            refuses(tmp_path)


def test_material_holds_what_training_may_see(data_path):
    material = load_material(data_path)
    assert len(material.stills) == 3
    assert {run.shape[1:] for run in material.runs} == {(48, 64, 3)}


def test_a_file_that_is_no_picture_is_refused(tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(b"no picture")
    with pytest.raises(ConfigError, match="as a picture"):
        read_still(path)


def test_runs_are_spread_over_the_clip(data_path):
    path = data_path / "clips" / "intel_one.mkv"
    first, last = read_runs(path, runs=2, frames=4)
    whole = read_runs(path, runs=1, frames=12)[0]
    assert np.array_equal(first, whole[:4])
    assert np.array_equal(last, whole[-4:])


def test_a_clip_shorter_than_a_run_gives_none(data_path):
    assert read_runs(data_path / "clips" / "intel_one.mkv", runs=2, frames=13) == []


def test_runs_are_as_long_as_an_example_and_shorter_clips_are_named(data_path, caplog):
    assert {len(run) for run in load_material(data_path, frames=5).runs} == {9}
    assert {len(run) for run in load_material(data_path, frames=12).runs} == {12}
    assert "fewer than" not in caplog.text
    assert load_material(data_path, frames=13).runs == ()
    assert "left out intel_one.mkv: fewer than 13 frames" in caplog.text


def test_a_crop_of_a_run_is_consecutive_in_time_and_space():
    run, rng = numbered_run(), np.random.default_rng(0)
    for _ in range(20):
        crop = crop_run(run, frames=5, side=16, rng=rng)
        assert crop.shape == (5, 16, 16, 3)
        for axis, channel in ((0, 0), (1, 1), (2, 2)):
            assert (np.diff(crop[..., channel].astype(int), axis=axis) == 1).all()


def test_a_run_smaller_than_the_crop_is_mirrored():
    crop = crop_run(numbered_run(height=10), frames=2, side=16, rng=np.random.default_rng(0))
    assert list(crop[0, :, 0, 1]) == [*range(10), *range(9, 3, -1)]


def test_a_moved_still_is_the_still_up_to_motion():
    rng = np.random.default_rng(0)
    still = np.full((60, 80, 3), (10, 120, 240), np.uint8)
    for _ in range(20):
        clip = move_still(still, frames=5, side=32, rng=rng)
        assert clip.shape == (5, 32, 32, 3)
        assert (clip == still[0, 0]).all()


def test_a_camera_that_stands_still_copies_pixels():
    rng = np.random.default_rng(0)
    still = rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)
    clips = [move_still(still, frames=3, side=32, rng=rng) for _ in range(60)]
    static = [clip for clip in clips if (clip[0] == clip[1]).all()]
    assert 5 <= len(static) <= 25
    windows = np.lib.stride_tricks.sliding_window_view(still, (32, 32), axis=(0, 1))
    crop = np.moveaxis(static[0][0], -1, 0)
    assert (windows == crop).all(axis=(2, 3, 4)).any()


def test_motion_is_smooth_and_small():
    rng = np.random.default_rng(1)
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (200, 200, 3))
    for _ in range(30):
        clip = move_still(ramp, frames=5, side=64, rng=rng).astype(float)
        drift = np.diff(clip[:, 28:36, 28:36].mean(axis=(1, 2, 3)))
        # At most 6 px of velocity, 2 px of zoom and turn, and jitter.
        assert np.abs(drift).max() < 10


def test_clips_are_the_same_for_the_same_seed(data_path):
    material = load_material(data_path)
    for seed in range(8):
        drawn = [
            draw_clip(material, frames=5, side=32, rng=np.random.default_rng(seed))
            for _ in range(2)
        ]
        assert drawn[0].shape == (5, 32, 32, 3)
        assert np.array_equal(*drawn)
