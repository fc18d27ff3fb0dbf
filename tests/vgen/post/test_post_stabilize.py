from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.vgen.post.shaky import boxed, moved, row, rows_along, scene, shown_from
from vgen.post.bars import NO_BARS, WHOLE, Bars
from vgen.post.motion import estimate_motion
from vgen.post.stabilize import ShotPath, Stabilize, StabilizePlan, plan_stabilize
from vgen.post.stats import Observer
from vgen.post_options import StabilizeOptions

OPTIONS = StabilizeOptions()


def jittered_pan(num_frames, *, jitter=0.004):
    rng = np.random.default_rng(3)
    t = np.arange(num_frames)
    pan = np.stack([0.004 * t, 0.05 * np.sin(t / 30)], axis=1)
    return pan + rng.normal(0, jitter, pan.shape)


def test_jitter_on_a_pan_falls_by_nine_tenths_within_the_crop():
    path = jittered_pan(80)
    plan = plan_stabilize(rows_along(path), [], OPTIONS, aspect=16 / 9, rate=27.5)
    (shot,) = plan.paths
    # Where the content lies in the stable picture: its place in the frame less the map's.
    steady = path - np.array(shot.maps)[:, :2]
    before, after = ((np.diff(p, 2, axis=0) ** 2).sum() for p in (path, steady))
    assert after < 0.1 * before
    assert shot.zoom >= 0.9


def test_a_quiet_shot_is_cropped_no_more_than_it_needs():
    path = jittered_pan(80, jitter=0.0005)
    (shot,) = plan_stabilize(rows_along(path), [], OPTIONS, aspect=16 / 9, rate=27.5).paths
    steady = path - np.array(shot.maps)[:, :2]
    before, after = ((np.diff(p, 2, axis=0) ** 2).sum() for p in (path, steady))
    assert after < 0.01 * before
    assert shot.zoom > 1 - 0.75 * OPTIONS.max_crop


@pytest.mark.parametrize("max_crop", [0.03, 0.12])
def test_a_wild_shot_takes_all_the_crop_it_may_and_no_more(max_crop):
    path = np.cumsum(np.random.default_rng(1).normal(0, 0.02, (90, 2)), axis=0)
    options = StabilizeOptions(max_crop=max_crop)
    (shot,) = plan_stabilize(rows_along(path), [], options, aspect=16 / 9, rate=27.5).paths
    assert 1 - max_crop - 1e-6 <= shot.zoom < 1 - 0.9 * max_crop


def test_more_smoothness_takes_out_longer_waves():
    sway = 0.01 * np.sin(2 * np.pi / 110 * np.arange(601))
    path = np.stack([sway, 0 * sway], axis=1)
    left = []
    for smoothness in (0.5, 1, 2):
        options = StabilizeOptions(smoothness=smoothness)
        (shot,) = plan_stabilize(rows_along(path), [], options, aspect=1.5, rate=27.5).paths
        left.append(float(np.ptp((path - np.array(shot.maps)[:, :2])[200:401, 0])))
    assert left[0] > 1.3 * left[1] > 1.3 * 1.3 * left[2]


def test_a_real_shake_of_pictures_is_stilled_and_nothing_is_seen_of_the_border():
    rng = np.random.default_rng(5)
    still = scene(160, 220)
    places = 30 + rng.normal(0, 1.2, (24, 2))
    frames = np.stack([shown_from(still, x, y, (90, 160)) for x, y in places])
    observer = Observer(with_motion=True)
    stats = [observer.see(t, frame) for t, frame in enumerate(frames)]
    plan = plan_stabilize(stats, [], OPTIONS, aspect=16 / 9, rate=27.5)
    tensor = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    steady = (Stabilize(plan).apply(tensor, range(24)) * 255).round().byte().numpy()

    def shake(pictures):
        moves = [estimate_motion(a, b).similarity for a, b in pairwise(pictures)]
        path = np.cumsum([[m.dx, m.dy] for m in moves], axis=0) * 160
        return (np.diff(path, 2, axis=0) ** 2).sum()

    assert shake(list(steady[:, 1])) < 0.1 * shake(list(np.ascontiguousarray(frames[..., 1])))


def test_a_tripod_shot_is_untouched():
    rng = np.random.default_rng(0)
    still = scene(90, 160).astype(float)
    observer = Observer(with_motion=True)
    noisy = (np.clip(still + rng.normal(0, 2, still.shape), 0, 255) for _ in range(12))
    stats = [observer.see(t, frame.astype(np.uint8)) for t, frame in enumerate(noisy)]
    plan = plan_stabilize(stats, [], OPTIONS, aspect=16 / 9, rate=27.5)
    frames = torch.rand(12, 3, 9, 16)
    assert plan.paths == ()
    assert Stabilize(plan).apply(frames, range(12)) is frames


def test_unclear_motion_is_smoothed_or_left_alone_and_said():
    path = jittered_pan(60)
    rows = rows_along(path)
    unclear = [
        row(r.frame, motion=moved(0.1, 0.1, quality=0.1)) if r.frame % 3 == 1 else r for r in rows
    ]
    plan = plan_stabilize(unclear, [], OPTIONS, aspect=1.5, rate=27.5)
    assert "frames 0 to 59 are smoothed only" in plan.notes[0]
    assert plan.paths[0].zoom >= 0.9
    lost = [row(r.frame, motion=moved(0.1, 0.1, quality=0.1)) for r in rows]
    plan = plan_stabilize(lost, [], OPTIONS, aspect=1.5, rate=27.5)
    assert plan.paths == ()
    assert "frames 0 to 59 are not stabilized" in plan.notes[0]


def test_a_path_never_reaches_across_a_cut():
    path = jittered_pan(70)
    rows = rows_along(path)
    alone = plan_stabilize(rows[30:], [], OPTIONS, aspect=1.5, rate=27.5).paths
    cut = plan_stabilize(rows, [30], OPTIONS, aspect=1.5, rate=27.5).paths
    assert [shot.start for shot in cut] == [0, 30]
    assert cut[1:] == alone


def test_a_short_shot_is_left_alone():
    rows = rows_along(jittered_pan(7))
    assert plan_stabilize(rows, [], OPTIONS, aspect=1.5, rate=27.5).paths == ()


def test_tripod_holds_a_drifting_camera_still():
    t = np.arange(50)
    drift = np.stack([0.03 * np.sin(t / 12), 0.02 * np.cos(t / 9)], axis=1)
    options = StabilizeOptions(tripod=True)
    (shot,) = plan_stabilize(rows_along(drift), [], options, aspect=1.5, rate=27.5).paths
    steady = drift - np.array(shot.maps)[:, :2]
    assert np.ptp(steady, axis=0).max() < 0.1 * np.ptp(drift, axis=0).max()


@pytest.mark.parametrize(("height", "width"), [(40, 60), (80, 120), (80, 60)])
def test_a_path_shifts_by_shares_of_the_shown_width_whatever_the_size(height, width):
    # A quarter of the shown width, for square pixels and for pixels twice as wide as high.
    plan = StabilizePlan(
        aspect=1.5, paths=(ShotPath(start=4, zoom=1.0, maps=((0.25, 0.1, 1.0, 0.0),)),)
    )
    frame = torch.rand(1, 3, height, width)
    out = Stabilize(plan).apply(frame, [4])
    dx, dy = round(width / 4), round(0.1 * 1.5 * height)
    inner = out[..., : height - dy, : width - dx]
    assert torch.allclose(inner, frame[..., dy:, dx:], atol=1e-4)


def test_frames_outside_every_path_stay():
    plan = StabilizePlan(
        aspect=1.5, paths=(ShotPath(start=4, zoom=0.9, maps=((0.0, 0.0, 1.0, 0.0),)),)
    )
    frames = torch.rand(3, 3, 8, 12)
    out = Stabilize(plan).apply(frames, [3, 4, 5])
    assert torch.equal(out[[0, 2]], frames[[0, 2]])
    assert not torch.equal(out[1], frames[1])


def test_a_turn_is_about_the_centre_of_square_pixels():
    plan = StabilizePlan(
        aspect=1.0, paths=(ShotPath(start=0, zoom=1.0, maps=((0.0, 0.0, 0.0, 1.0),)),)
    )
    frame = torch.rand(1, 3, 24, 24)
    # a = 0, b = 1: what is shown at (x, y) lies at (-y, x).
    out = Stabilize(plan).apply(frame, [0])
    assert torch.allclose(out, torch.rot90(frame, 1, (2, 3)), atol=1e-4)


def test_a_shot_whose_path_cannot_be_solved_is_smoothed_and_said_so():
    """Options that no recipe accepts: the window would be larger than the frame."""
    impossible = StabilizeOptions.model_construct(smoothness=1.0, max_crop=-1.0, tripod=False)
    plan = plan_stabilize(rows_along(jittered_pan(20)), [], impossible, aspect=16 / 9, rate=27.5)
    assert plan.notes[0].startswith("frames 0 to 19 are smoothed only: no camera path for 20")
    assert plan.paths[0].zoom <= 1


def test_shake_is_told_by_its_time_and_not_by_its_frames():
    """The same hand, filmed at twice the rate, leaves the same path at every second frame."""
    seconds = np.arange(0, 6, 1 / 60)
    sway = np.stack([0.012 * np.sin(2 * np.pi * 0.9 * seconds), 0 * seconds], axis=1)
    kept = []
    for rate, path in ((60.0, sway), (30.0, sway[::2])):
        (shot,) = plan_stabilize(rows_along(path), [], OPTIONS, aspect=1.5, rate=rate).paths
        steady = path - np.array(shot.maps)[:, :2]
        kept.append(np.ptp(steady[:, 0]))
    assert kept[0] == pytest.approx(kept[1], rel=0.2)
    assert max(kept) < 0.5 * np.ptp(sway[:, 0])


def seen(frames):
    observer = Observer(with_motion=True)
    return [observer.see(t, frame) for t, frame in enumerate(frames)]


@pytest.mark.parametrize("widths", [(0, 15, 0, 15), (26, 0, 41, 21)])
def test_what_lies_between_bars_is_steadied_as_a_picture_of_its_own(widths):
    left, top, right, bottom = widths
    height, width = 120, 200
    rng = np.random.default_rng(5)
    places, still = 30 + rng.normal(0, 1.2, (14, 2)), scene(200, 280)
    framed = np.stack([boxed(shown_from(still, *at, (height, width)), *widths) for at in places])
    (shot,) = plan_stabilize(seen(framed), [], OPTIONS, aspect=width / height, rate=27.5).paths
    assert shot.inside == pytest.approx(
        (left / width, top / height, 1 - right / width, 1 - bottom / height), abs=0.004
    )
    assert shot.zoom >= 1 - OPTIONS.max_crop - 1e-6
    # Twice as large, as a network may give it, and with bars that are not quite black.
    large = torch.from_numpy(framed).permute(0, 3, 1, 2).float().div(255)
    large = large.repeat_interleave(2, 2).repeat_interleave(2, 3)
    hidden = torch.ones(2 * height, 2 * width, dtype=torch.bool)
    hidden[2 * top : 2 * (height - bottom), 2 * left : 2 * (width - right)] = False
    large[..., hidden] = 0.02 * torch.rand(14, 3, int(hidden.sum()))
    plan = StabilizePlan(aspect=width / height, paths=(shot,))
    steady = Stabilize(plan).apply(large, range(14))
    assert torch.equal(steady[..., hidden], large[..., hidden])
    shown = steady[..., ~hidden].reshape(14, 3, 2 * (height - top - bottom), -1)
    assert shown.amin() > 0.1  # nothing of the bars came in
    pictures = [(255 * frame[1]).round().byte().numpy() for frame in shown]
    moves = [estimate_motion(a, b).similarity for a, b in pairwise(pictures)]
    left_over = np.cumsum([[m.dx, m.dy] for m in moves], axis=0) * (width - left - right)
    before = (np.diff(places, 2, axis=0) ** 2).sum()
    assert (np.diff(left_over, 2, axis=0) ** 2).sum() < 0.1 * before


@pytest.mark.parametrize("bars", [None, Bars(widths=(0.0, 0.3, 0, 0), are_straight=(False,) * 4)])
def test_a_shot_of_which_nothing_tells_of_bars_is_steadied_as_a_whole(bars):
    path = jittered_pan(12)
    plain = plan_stabilize(rows_along(path), [], OPTIONS, aspect=1.5, rate=27.5)
    rows = [replace(one, bars=bars if one.frame % 2 else NO_BARS) for one in rows_along(path)]
    assert plan_stabilize(rows, [], OPTIONS, aspect=1.5, rate=27.5) == plain
    assert plain.paths[0].inside == WHOLE


def test_a_shot_whose_bars_change_is_left_alone_and_said_so():
    letterbox = Bars(widths=(0, 0.1, 0, 0.1), are_straight=(False, True, False, True))
    rows = [
        replace(one, bars=letterbox if one.frame < 12 else NO_BARS)
        for one in rows_along(jittered_pan(24))
    ]
    plan = plan_stabilize(rows, [], OPTIONS, aspect=1.5, rate=27.5)
    assert plan.paths == ()
    assert plan.notes == ("frames 0 to 23 are not stabilized: their black bars change",)
    # A cut tells which frames belong together.
    both = plan_stabilize(rows, [12], OPTIONS, aspect=1.5, rate=27.5).paths
    assert [shot.inside for shot in both] == [letterbox.inside, WHOLE]
