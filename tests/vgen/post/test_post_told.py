import numpy as np
import pytest

from tests.vgen.enhance.toys import video_of
from tests.vgen.post.shaky import moved, row, rows_along
from vgen.media.facts import ColorTags
from vgen.post.chain import ChainPlan, plan_chain
from vgen.post.color import ColorPlan, Grade, ShotColor
from vgen.post.deflicker import DeflickerPlan
from vgen.post.denoise import DenoisePlan
from vgen.post.fit import fitting, shown_aspect
from vgen.post.stabilize import ShotPath, StabilizePlan
from vgen.post.told import curves_of, notes_of
from vgen.post_options import STEPS, ColorOptions, PostSettings

NEUTRAL = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
STILL = ((0.0, 0.0, 1.0, 0.0),)
PLAN = ChainPlan(
    color=ColorPlan(
        shots=tuple(
            ShotColor(start=start, grades=(Grade(frame=start, matrix=NEUTRAL, power=power),))
            for start, power in ((0, 1.0), (9, 1.2))
        )
    ),
    denoise=DenoisePlan(starts=(0, 9), sigmas=(0.1, 6.04)),
    deflicker=DeflickerPlan(gains=(1.0, 0.95, 1.02)),
    stabilize=StabilizePlan(
        aspect=1.5,
        paths=(ShotPath(start=9, zoom=0.931, maps=STILL),),
        notes=("frames 0 to 8 are not stabilized: their motion is unclear",),
    ),
)


def notes(*steps, plan=PLAN, num_shots=2):
    return notes_of(PostSettings(steps=steps), plan, num_shots)


def test_each_step_says_what_it_does_in_how_many_shots():
    assert notes("color") == ("color: corrected in 1 of 2 shots",)
    assert notes("denoise") == ("denoise: noise taken out of 1 of 2 shots, 6.0 to 6.0 levels",)
    told = "deflicker: brightness of a frame changed by up to 5.0%"
    assert notes("deflicker") == (told,)
    unclear = DeflickerPlan(gains=(1.0, 0.95, 1.02), unclear=2)
    assert notes("deflicker", plan=ChainPlan(deflicker=unclear)) == (
        f"{told}; 2 frames do not compare with the one before",
    )
    assert notes("stabilize") == (
        "stabilize: crop 0.93 in 1 of 2 shots",
        "stabilize: frames 0 to 8 are not stabilized: their motion is unclear",
    )
    assert notes("sharpen", "grain") == ()


def test_nothing_to_do_is_said_as_well():
    assert notes("stabilize", plan=ChainPlan(), num_shots=1) == (
        "stabilize: nothing to steady in 1 shot",
    )
    quiet = ChainPlan(denoise=DenoisePlan(starts=(0,), sigmas=(0.2,)))
    assert notes("denoise", plan=quiet, num_shots=1) == ("denoise: noise taken out of 0 of 1 shot",)


def test_many_doubtful_shots_are_counted():
    doubts = tuple(f"frames {n}" for n in range(9))
    plan = ChainPlan(stabilize=StabilizePlan(aspect=1.0, notes=doubts))
    assert notes("stabilize", plan=plan, num_shots=9)[1:] == (
        "stabilize: the motion or the bars of 9 shots are unclear",
    )


def test_the_path_is_where_the_camera_is_shot_by_shot():
    """A camera that moves a hundredth of the width each frame, and starts anew at the cut."""
    content = np.stack([-0.01 * np.arange(20), np.zeros(20)], axis=1)
    curves = curves_of(rows_along(content), [12], ChainPlan(), 20)
    assert curves.shots == (0, 12)
    right = [point[1] for point in curves.path]
    assert right == pytest.approx([*range(12), *range(8)], abs=1e-6)
    assert [point[4:] for point in curves.path] == [point[1:4] for point in curves.path]


def test_the_path_after_is_the_steady_one():
    rng = np.random.default_rng(4)
    content = np.cumsum(rng.normal(0, 0.003, (60, 2)), axis=0)
    stats = rows_along(content)
    plan = plan_chain(PostSettings(steps=("stabilize",)), stats, [], aspect=1.5, rate=27.5)
    path = np.array(curves_of(stats, [], plan, 60).path)
    before, after = (np.abs(np.diff(path[:, at : at + 2], 2, axis=0)).sum() for at in (1, 4))
    assert after < 0.1 * before


def test_long_videos_have_few_points_and_untracked_ones_no_path():
    stats = [row(t, motion=moved(0, 0)) for t in range(1000)]
    assert [p[0] for p in curves_of(stats, [], ChainPlan(), 1000).path] == list(range(0, 1000, 3))
    unseen = [row(t, motion=None) for t in range(5)]
    assert curves_of(unseen, [], ChainPlan(), 5).path == ()


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_left_alone_by_color(transfer, name):
    color = ColorTags(matrix=9, primaries=9, transfer=transfer, is_full_range=False)
    video = video_of("yuv420p10le", 64, 48).model_copy(update={"color": color})
    settings, told = fitting(PostSettings(steps=STEPS), video)
    assert settings.steps == tuple(step for step in STEPS if step != "color")
    assert told == (f"color: left alone, as the source is HDR ({name})",)
    assert fitting(PostSettings(steps=("grain",)), video) == (PostSettings(steps=("grain",)), ())


def test_hdr_is_changed_by_hand_and_by_table_where_that_is_asked_for():
    color = ColorTags(matrix=9, primaries=9, transfer=16, is_full_range=False)
    video = video_of("yuv420p10le", 64, 48).model_copy(update={"color": color})
    asked = ColorOptions(hdr=True, gamma=1.2, lut="x.cube", reference="still.png")
    settings, told = fitting(PostSettings(steps=("color",), color=asked), video)
    assert settings.steps == ("color",)
    assert (settings.color.gamma, settings.color.lut) == (1.2, "x.cube")
    assert not settings.needs.frames
    assert plan_chain(settings, [], [], aspect=1.0, rate=25.0).color.shots == ()
    assert told == ("color: only as set by hand and by table, as the source is HDR (PQ)",)


def test_sdr_keeps_all_steps_and_pixels_need_not_be_square():
    video = video_of("yuv420p", 64, 48)
    assert fitting(PostSettings(steps=STEPS), video) == (PostSettings(steps=STEPS), ())
    wide = video.model_copy(update={"sample_aspect_ratio": 2 * video.sample_aspect_ratio})
    assert (shown_aspect(video), shown_aspect(wide)) == (64 / 48, 128 / 48)
