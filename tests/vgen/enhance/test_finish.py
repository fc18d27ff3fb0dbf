"""Post-processing behind the network: the same in spans as over the whole, a few frames held."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vgen.enhance.test_stream import CLIP, IDENTITY, VIDEO
from tests.vgen.enhance.toys import WHOLE, noise_frames, small_enhancer, video_of
from vgen.enhance.finish import Finish
from vgen.enhance.plan import plan_spans
from vgen.enhance.stream import enhance_frames
from vgen.media.pixels import planes_of
from vgen.media.timeline import Timeline
from vgen.post.chain import Chain, ChainPlan
from vgen.post.deflicker import DeflickerPlan
from vgen.post.denoise import DenoisePlan
from vgen.post.stabilize import ShotPath, StabilizePlan
from vgen.post_options import ColorOptions, PostSettings

PLAN = ChainPlan(
    denoise=DenoisePlan(starts=(0, 5), sigmas=(8.0, 12.0)),
    deflicker=DeflickerPlan(first=0, gains=tuple(1 + 0.01 * t for t in range(14))),
)
SETTINGS = PostSettings(steps=("deflicker", "denoise", "grain"))
SHADES = (0.2126, 0.7152, 0.0722)


def finish_of(settings=SETTINGS, plan=PLAN, **changes):
    return Finish(chain=Chain(settings, plan), stride=1, **changes)


def finished(enhancer, frames, span, finish, video=VIDEO, strength=1.0):
    return list(
        enhance_frames(
            enhancer, iter(frames), span, video=video, out_format=video.planar_format,
            strength=strength, notes=[], finish=finish,
        )
    )  # fmt: skip


def pixels(frames):
    return np.stack([np.concatenate([p.ravel() for p in planes_of(f)]) for f in frames]).astype(int)


def spans_for(enhancer, most, frames=CLIP):
    timeline = Timeline(
        pts=tuple(frame.pts for frame in frames), keyframes=(0,), access="seek", last_duration=1,
        time_base=frames[0].time_base,
    )  # fmt: skip
    reach = SETTINGS.reach
    lead, tail = enhancer.spec.lead + reach, enhancer.spec.tail + reach
    return plan_spans(timeline, lead=lead, tail=tail, max_frames=most)


@pytest.mark.parametrize("kind", ["identity", "network"])
def test_frames_do_not_depend_on_where_spans_were_cut(kind):
    enhancer = IDENTITY if kind == "identity" else small_enhancer(window=5)
    [span] = spans_for(enhancer, 14)
    finish = finish_of()
    whole = pixels(finished(enhancer, CLIP, span, finish))
    points = finish.points(span)
    assert [number for number, _, _ in points] == list(range(14))
    assert np.abs(whole - pixels(CLIP)).mean() > 1

    @settings(max_examples=5, deadline=None)
    @given(st.integers(1, 9))
    def holds(most):
        made, noted = [], []
        for span in spans_for(enhancer, most):
            shown = CLIP[span.start - span.lead : span.stop + span.tail]
            part = finish_of()
            made += finished(enhancer, shown, span, part)
            noted += part.points(span)
        assert np.abs(pixels(made) - whole).max() <= 1
        assert [n for n, _, _ in noted] == list(range(14))
        assert np.allclose(noted, points, atol=0.02)

    holds()


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gray"])
def test_enlarged_frames_are_steadied_and_filtered_alike_in_spans(name):
    """A release that doubles the size: the path is the source's, the noise is within shots."""
    frames, video = noise_frames(name, 18, 10, 14), video_of(name, 18, 10)
    enhancer, steps = small_enhancer(2, window=3), ("denoise", "stabilize", "grain")
    maps = tuple((0.01 * (t % 3), -0.01 * (t % 2), 1.0, 0.01) for t in range(9))
    stabilize = StabilizePlan(aspect=1.8, paths=(ShotPath(start=5, zoom=0.9, maps=maps),))
    plan = PLAN.model_copy(update={"stabilize": stabilize})

    def made(span):
        finish = finish_of(PostSettings(steps=steps), plan)
        shown = frames[span.start - span.lead : span.stop + span.tail]
        return finished(enhancer, shown, span, finish, video)

    [whole] = [made(span) for span in spans_for(enhancer, 14, frames)]
    assert {(frame.width, frame.height, frame.format.name) for frame in whole} == {(36, 20, name)}
    pieces = [frame for span in spans_for(enhancer, 4, frames) for frame in made(span)]
    assert [frame.pts for frame in pieces] == [frame.pts for frame in frames]
    assert np.abs(pixels(pieces) - pixels(whole)).max() <= 1


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gray", "gbrp"])
@pytest.mark.parametrize("kind", ["identity", "network"])
def test_what_no_step_changes_is_what_the_network_made_bit_for_bit(name, kind):
    enhancer = IDENTITY if kind == "identity" else small_enhancer()
    video, frames = video_of(name, 32, 24), noise_frames(name, 32, 24, 4)
    neutral = finish_of(PostSettings(steps=("color", "stabilize")), ChainPlan())
    plain = finished(enhancer, frames, WHOLE, None, video)
    assert np.array_equal(pixels(finished(enhancer, frames, WHOLE, neutral, video)), pixels(plain))


@pytest.mark.parametrize("name", ["yuv444p", "yuv420p10le", "gbrp"])
def test_a_step_sees_the_networks_rgb_and_its_result_is_painted(name):
    """Twice the code values in RGB: in gray areas twice the luma, judged on flat frames."""
    video, frames = video_of(name, 32, 24), noise_frames(name, 32, 24, 2)
    for frame in frames:
        for at, plane in enumerate(planes_of(frame)):
            top = 1 << (10 if "10" in name else 8)
            is_chroma = at > 0 and not name.startswith("gbr")
            plane[:] = top // 2 if is_chroma else top // 4
    double = PostSettings(steps=("color",), color=ColorOptions(gain=2.0))
    [first, _] = finished(IDENTITY, frames, WHOLE, finish_of(double, ChainPlan()), video)
    unit = 4 if "10" in name else 1
    black = 0 if name.startswith("gbr") else 16 * unit
    before, after = (int(planes_of(one)[0][0, 0]) for one in (frames[0], first))
    assert after - black == pytest.approx(2 * (before - black), abs=1)


def test_luma_is_noted_of_every_nth_frame_before_and_after():
    video, frames = video_of("gbrp", 32, 24), noise_frames("gbrp", 32, 24, 7)
    finish = finish_of(PostSettings(steps=("color",), color=ColorOptions(gain=1.5)), ChainPlan())
    finish.stride = 3
    [span] = spans_for(IDENTITY, 14)
    for number, frame in enumerate(frames):
        frame.pts = CLIP[number].pts
    finished(IDENTITY, frames, span, finish, video)
    assert [number for number, _, _ in finish.points(span)] == [0, 3, 6]
    for number, before, after in finish.points(span):
        green, blue, red = (plane.mean() for plane in planes_of(frames[number]))
        assert before == pytest.approx(np.dot(SHADES, (red, green, blue)), abs=0.01)
        assert after == pytest.approx(1.5 * before, rel=0.01)


def test_time_is_charged_to_post_and_to_what_it_waits_for():
    asked = []

    def meter(stage, items):
        asked.append(stage)
        return iter(items)

    finished(IDENTITY, CLIP, WHOLE, finish_of(meter=meter))
    assert sorted(asked) == ["enhance", "post"]


def test_a_few_frames_are_held_whatever_the_length():
    drawn = 0

    def source():
        nonlocal drawn
        for frame in noise_frames("yuv420p", 16, 12, 60):
            drawn += 1
            yield frame

    plan = ChainPlan(denoise=DenoisePlan(starts=(0,), sigmas=(4.0,)))
    finish = finish_of(PostSettings(steps=("denoise", "grain")), plan)
    stream = enhance_frames(
        small_enhancer(window=5), source(), WHOLE, video=video_of("yuv420p", 16, 12),
        out_format="yuv420p", strength=1.0, notes=[], finish=finish,
    )  # fmt: skip
    for index, _ in enumerate(stream):
        assert drawn <= index + 2 + 2 + 2
    assert index == 59
