from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vgen.post.shaky import moved, row
from vgen.post.chain import Chain, ChainPlan, plan_chain
from vgen.post_options import STEPS, ColorOptions, PostSettings
from vgen.records import Record

NUM_FRAMES, CUTS = 20, [9]
COLOR = ColorOptions(drift_frames=6, saturation=1.2)


def measured():
    rng = np.random.default_rng(2)
    return [
        row(
            t,
            motion=moved(*rng.normal(0, 0.004, 2)),
            log_gain=float(rng.normal(0, 0.03)),
            illuminant=(0.1, 0.0, -0.1),
            sigma=9.0,
        )
        for t in range(NUM_FRAMES)
    ]


def chain_of(*steps):
    return Chain(PostSettings(steps=steps, color=COLOR), PLAN)


PLAN = plan_chain(PostSettings(steps=STEPS, color=COLOR), measured(), CUTS, aspect=1.5, rate=27.5)
FRAMES = torch.from_numpy(np.random.default_rng(0).random((NUM_FRAMES, 3, 16, 24), np.float32))


def in_spans(chain, borders):
    """Process each span by itself, with as much context as the chain asks for."""
    out = []
    for start, stop in pairwise(borders):
        begin, end = max(start - chain.lead, 0), min(stop + chain.tail, NUM_FRAMES)
        shown = ((n, FRAMES[n : n + 1]) for n in range(begin, end))
        out += [frame for n, frame in chain.stream(shown) if start <= n < stop]
    return torch.cat(out)


@pytest.mark.parametrize("steps", [*((name,) for name in STEPS), STEPS, STEPS[::-1]], ids="+".join)
def test_any_cut_into_spans_gives_the_same_pictures(steps):
    chain = chain_of(*steps)
    whole = chain.apply(FRAMES, range(NUM_FRAMES))
    assert not torch.equal(whole, FRAMES)

    @settings(max_examples=3, deadline=None)
    @given(st.sets(st.integers(1, NUM_FRAMES - 1), max_size=5))
    def holds(cuts):
        pieces = in_spans(chain, [0, *sorted(cuts), NUM_FRAMES])
        # Half of a thousandth of a level: far below the one that is promised.
        assert float((pieces - whole).abs().max()) * 255 < 5e-4

    holds()


def test_the_plan_is_small_and_comes_back_from_json():
    text = PLAN.model_dump_json()
    assert len(text) < 300 * NUM_FRAMES
    assert ChainPlan.model_validate_json(text) == PLAN
    assert isinstance(PLAN, Record)


def test_halos_add_up():
    assert (chain_of("color").lead, chain_of(*STEPS).lead) == (0, 2)
    assert chain_of("denoise", "grain").tail == 2


def test_steps_run_in_the_order_given():
    one = chain_of("grain", "sharpen").apply(FRAMES, range(NUM_FRAMES))
    other = chain_of("sharpen", "grain").apply(FRAMES, range(NUM_FRAMES))
    grain = chain_of("grain").apply(FRAMES, range(NUM_FRAMES))
    assert torch.equal(one, chain_of("sharpen").apply(grain, range(NUM_FRAMES)))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("step", ["sharpen", "grain", "deflicker", "stabilize", "denoise"])
def test_what_lies_beyond_black_and_white_is_not_cut_off(step):
    bright = torch.full((1, 3, 16, 24), 1.05)
    dark = torch.full((1, 3, 16, 24), -0.05)
    shown = [(n, bright if n % 2 else dark) for n in range(NUM_FRAMES)]
    out = torch.cat([frame for _, frame in chain_of(step).stream(shown)])
    assert out.max() > 1
    assert out.min() < 0


def test_a_frame_without_noise_passes_as_it_is():
    plan = PLAN.model_copy(
        update={
            "denoise": PLAN.denoise.model_copy(update={"sigmas": (0.0,) * len(PLAN.denoise.sigmas)})
        }
    )
    shown = [(n, FRAMES[n : n + 1]) for n in range(NUM_FRAMES)]
    out = list(Chain(PostSettings(steps=("denoise",)), plan).stream(shown))
    assert all(made is came for (_, made), (_, came) in zip(out, shown, strict=True))


def test_no_steps_change_nothing():
    chain = Chain(PostSettings(), ChainPlan())
    assert chain.apply(FRAMES, range(NUM_FRAMES)) is FRAMES
    assert plan_chain(PostSettings(), [], [], aspect=1.0, rate=27.5) == ChainPlan()
