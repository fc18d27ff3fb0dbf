import numpy as np
import pytest
from scipy import optimize

from tests.vgen.post.shaky import matrix, shaken, slow_crop
from vgen.post.path import IDENTITY, accumulate, compose, in_windows
from vgen.post.steadiest import Weights, steadiest

ASPECT = 16 / 9
WEIGHTS = Weights(trend=1e5, speed=10, bend=10, middle=0.1)


def test_the_window_stays_inside_every_frame():
    found = steadiest(shaken(60), scale=0.92, aspect=ASPECT, weights=WEIGHTS).maps
    assert slow_crop(found, ASPECT) >= 0.919
    assert (found[:, 2] >= 1 - 1e-9).all()


def test_the_path_is_much_steadier_than_the_camera():
    steps = shaken(60)
    before = accumulate(steps)
    after = compose(before, steadiest(steps, scale=0.9, aspect=ASPECT, weights=WEIGHTS).maps)
    energies = [(np.diff(p, 2, axis=0) ** 2).sum() for p in (before, after)]
    assert energies[1] < 0.01 * energies[0]


def test_a_steady_pan_leaves_no_shake_and_every_frame_where_it_was():
    steps = np.tile([0.003, 0.001, 1.0, 0.0], (40, 1))
    weights = Weights(trend=1e5, speed=0, bend=10, middle=1e-3)
    found = steadiest(steps, scale=0.98, aspect=ASPECT, weights=weights)
    assert np.abs(found.maps - IDENTITY)[:, [0, 1, 3]].max() < 1e-6
    assert found.maps[:, 2].max() < 1.001
    assert found.shake < 1e-9


def kept(wave, weights):
    """Share of a wave's height that is left where there is ample room."""
    angle = 2 * np.pi / wave
    apart = 1 / (1 + 1 / (weights.trend * angle**6))
    # Differences of a wave on a grid are a little smaller than its derivatives.
    chord = 2 * np.sin(angle / 2)
    against = apart + weights.speed * chord**2 + weights.bend * chord**4
    return weights.middle / (weights.middle + against)


@pytest.mark.parametrize("wave", [200, 100, 50, 25])
def test_slow_waves_are_kept_and_fast_ones_go_as_the_weights_say(wave):
    sway = 0.01 * np.sin(2 * np.pi / wave * np.arange(601))
    steps = np.tile(IDENTITY, (601, 1))
    steps[1:, 0] = np.diff(sway)
    found = steadiest(steps, scale=0.8, aspect=ASPECT, weights=WEIGHTS).maps
    after = (sway + found[:, 0])[200:401]
    assert np.abs(after).max() == pytest.approx(0.01 * kept(wave, WEIGHTS), rel=0.03)


def slow_cost(steps, maps, trend, weights):
    """The cost as the module's docstring says it: differences relative to each frame."""
    share = np.array([1, 1, *[(1 + ASPECT**-2) / 12] * 2])

    def squares(rows):
        return (share * rows**2).sum()

    def first(path):
        return compose(steps[1:], path[1:]) - path[:-1]

    return (
        squares(maps - trend)
        + weights.middle * squares(maps - IDENTITY)
        + weights.speed * squares(first(maps))
        + weights.bend * squares(np.diff(first(maps), axis=0))
        + weights.trend * squares(np.diff(first(trend), 2, axis=0))
    )


def best_trend(steps, maps, weights):
    return optimize.minimize(
        lambda flat: 1e3 * slow_cost(steps, maps, flat.reshape(-1, 4), weights),
        maps.ravel(),
        method="BFGS",
        options={"gtol": 1e-7},
    ).x.reshape(-1, 4)


@pytest.mark.parametrize(
    "weights",
    [
        Weights(trend=3, speed=0, bend=0, middle=0.1),
        Weights(trend=0.3, speed=2, bend=1, middle=1e-3),
    ],
)
def test_no_general_solver_finds_a_steadier_path(weights):
    steps = shaken(5, size=0.02)
    found = steadiest(steps, scale=0.95, aspect=ASPECT, weights=weights)
    corners = 0.95 * np.array([[x, y / ASPECT, 1] for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
    corners[:, 2] = 1

    def room(flat):
        maps = flat.reshape(2, -1, 4)[0]
        places = np.concatenate([corners @ matrix(row).T for row in maps])
        x, y = np.abs(places[:, 0]), np.abs(places[:, 1])
        return np.concatenate([0.5 - x, 0.5 / ASPECT - y, maps[:, 2] - 1])

    slow = optimize.minimize(
        lambda flat: 1e3 * slow_cost(steps, *flat.reshape(2, -1, 4), weights),
        np.tile(IDENTITY, 10),
        constraints={"type": "ineq", "fun": room},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-9},
    )
    assert slow.success
    trend = best_trend(steps, found.maps, weights)
    assert room(np.stack([found.maps, trend])).min() > -1e-8
    assert 1e3 * slow_cost(steps, found.maps, trend, weights) <= slow.fun * (1 + 1e-4)
    apart = Weights(trend=0, speed=0, bend=weights.bend, middle=0)
    assert found.shake == pytest.approx(slow_cost(steps, found.maps, trend, apart), rel=1e-3)


def test_a_long_shot_is_solved_as_a_whole():
    steps = shaken(3000)
    before = accumulate(steps)
    after = compose(before, steadiest(steps, scale=0.9, aspect=1.5, weights=WEIGHTS).maps)
    jolts, raw = (np.abs(np.diff(p[:, :2], 2, axis=0)).max() for p in (after, before))
    assert jolts < 0.2 * raw


def test_a_shot_in_windows_is_as_steady_as_the_whole_one_and_stays_inside():
    """Where windows share several waves of the trend, which bounds the memory of hours."""
    steps = shaken(900)

    def solve(window):
        return steadiest(window, scale=0.9, aspect=ASPECT, weights=WEIGHTS).maps

    whole, cut = solve(steps), in_windows(steps, solve, most_frames=500, shared_frames=250)
    assert np.abs(cut - whole).max() < 1e-3
    assert slow_crop(cut, ASPECT) >= 0.899
    jolts = [
        np.abs(np.diff(compose(accumulate(steps), maps)[:, :2], 2, axis=0)).max()
        for maps in (whole, cut)
    ]
    assert jolts[1] <= 1.05 * jolts[0]


def test_a_window_larger_than_the_frame_has_no_path():
    with pytest.raises(ArithmeticError, match="no camera path for 12 frames: no solution"):
        steadiest(shaken(12), scale=1.5, aspect=1.0, weights=WEIGHTS)
