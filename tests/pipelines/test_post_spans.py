"""Post-processing through the row functions: nothing depends on where spans were cut.

A small clip shakes, flickers, is noisy and has a cast, with a cut in the middle; it goes through
release identity and a lossless codec, and the independent program decodes what is published.
"""

import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import observe
from pipelines.finishing import finish_of
from pipelines.observe import stretch_of
from pipelines.span import SpanRun, produce_chunk
from pipelines.staged import EnhanceFrames, decode_row, encode_row
from tests.media_factory import FFMPEG, run_ffmpeg
from tests.pipelines.bare import bare, pixels_of
from tests.vgen.post.shaky import scene, shown_from
from vgen.config import load_recipe
from vgen.enhance.enhancer import Enhancer
from vgen.enhance.plan import MIN_FRAMES
from vgen.post.chain import ChainPlan
from vgen.post_options import STEPS

WIDTH, HEIGHT, NUM_FRAMES, CUT = 160, 96, 40, 23
assert NUM_FRAMES < MIN_FRAMES, "one span unless smaller ones are asked for"


def frames(
    flicker: float = 0.06,
    second: float = 1.0,
    pan: float = 1.5,
    noise: float = 6.0,
    is_cut: bool = True,
) -> np.ndarray:
    """``[T, H, W, 3]``: two shots, the second upside down and as bright as asked for; or one."""
    rng = np.random.default_rng(3)
    still = scene(HEIGHT + 80, WIDTH + 120)
    made = []
    for t in range(NUM_FRAMES):
        x, y = 20 + pan * t + rng.normal(0, 1.5), 20 + rng.normal(0, 1.5)
        picture = shown_from(still, x, y, (HEIGHT, WIDTH)).astype(float)
        picture *= np.array([1.15, 1.0, 0.85]) * (0.8 + flicker * rng.normal())
        picture += rng.normal(0, noise, picture.shape)
        made.append(second * picture[::-1] if is_cut and t >= CUT else picture)
    return np.stack(made).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    encoded(path, "-g", "7", "-bf", "2", "-sc_threshold", "0")
    return path


def encoded(path: Path, *arguments: str, **more: float) -> None:
    """Encode ``frames``, nearly without loss unless a codec is named."""
    if "-c:v" not in arguments:
        arguments = ("-c:v", "libx264", "-qp", "4", *arguments)
    command = [
        FFMPEG, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}",
        "-r", "25", "-i", "-", *arguments, "-pix_fmt", "yuv420p",
        "-threads", "1", str(path),
    ]  # fmt: skip
    subprocess.run(command, input=frames(**more).tobytes(), check=True)


def recipe_of(*steps: str, **tables: object):
    encode = {"codec": "ffv1", "container": "mkv"}
    post = {"steps": steps, **tables}
    return load_recipe(None, {"encode": encode, "post": post, "deinterlace": "never"})


def published(clip, folder, recipe, *, span_frames=None):
    """Return the pixels that a run publishes, and what it told of the video."""
    plan = bare(clip, folder, recipe, span_frames=span_frames)
    assert plan.analyze() is None
    assert not [row["fault"] for row in plan.produce() if row["fault"]]
    assembled = plan.assemble()
    assert assembled.outcome.status == "done", assembled.outcome.error
    pixels = pixels_of(Path(assembled.outcome.output_uri), width=WIDTH, height=HEIGHT)
    return pixels.astype(int), assembled, plan


@pytest.mark.parametrize("steps", [*((one,) for one in STEPS), STEPS], ids="+".join)
def test_frames_do_not_depend_on_where_spans_were_cut(clip, tmp_path, steps):
    recipe, names = recipe_of(*steps), itertools.count()
    whole, _, plan = published(clip, tmp_path / "whole", recipe)
    assert len(plan.spans) == 1
    source = pixels_of(clip, width=WIDTH, height=HEIGHT).astype(int)
    assert len(whole) == NUM_FRAMES
    assert np.abs(whole - source).mean() > 0.5, "the step does something"

    @settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(2, 25))
    def holds(span_frames):
        folder = tmp_path / f"cut-{next(names)}"
        pieces, _, plan = published(clip, folder, recipe, span_frames=span_frames)
        assert len(plan.spans) > 1
        assert np.abs(pieces - whole).max() <= 1

    holds()


def test_the_analysis_does_not_depend_on_where_stretches_were_cut(clip, tmp_path):
    recipe = recipe_of("denoise", "deflicker", "color", "stabilize")
    found = []
    for span_frames in (None, 1, 9):
        plan = bare(clip, tmp_path / str(span_frames), recipe, span_frames=span_frames)
        assert plan.analyze() is None
        found.append(plan.analysis().model_copy(update={"cpu_seconds": 0.0}))
    assert found[0] == found[1] == found[2]
    assert found[0].curves.shots == (0, CUT)


@pytest.mark.parametrize(
    "arguments", [("-g", "7"), ("-g", "100"), ("-g", "1"), ("-g", "9", "-bf", "3")]
)
@pytest.mark.parametrize("threshold", ["0", "40"])
def test_colour_alone_is_measured_at_keyframes_and_finds_shots_to_the_frame(
    tmp_path, arguments, threshold
):
    """Whether the encoder marked the cut, had a rhythm, or had no second keyframe at all."""
    path = tmp_path / "clip.mp4"
    # Three keyframes of a flickering shot say less of its light than all of its frames do.
    encoded(path, *arguments, "-sc_threshold", threshold, flicker=0.0, second=0.6)
    plans = []
    for steps in (("color",), ("color", "deflicker")):
        plan = bare(path, tmp_path / "-".join(steps), recipe_of(*steps), span_frames=15)
        assert plan.analyze() is None
        assert plan.analysis().curves.shots == (0, CUT)
        plans.append(ChainPlan.model_validate_json(plan.analysis().plan).color)
    for few, all_of_them in zip(*(plan.shots for plan in plans), strict=True):
        pairs = zip(few.grades[0].matrix, all_of_them.grades[0].matrix, strict=True)
        assert all(one == pytest.approx(other, abs=0.03) for one, other in pairs)


EVERYDAY = {
    "libx264": ("-crf", "26", "-sc_threshold", "0"),
    "mpeg4": ("-q:v", "6", "-sc_threshold", "1000000000"),
    "libvpx-vp9": ("-crf", "34", "-b:v", "0", "-lag-in-frames", "0"),
}


@pytest.mark.parametrize("is_cut", [True, False])
@pytest.mark.parametrize("codec", EVERYDAY)
def test_what_follows_the_last_keyframe_is_decoded_only_where_a_cut_can_be(
    tmp_path, monkeypatch, codec, is_cut
):
    """At everyday quality a frame that starts a shot weighs about as much as a keyframe."""
    path, searched = tmp_path / "clip.mkv", []
    search = observe.measure_stretch
    monkeypatch.setattr(
        observe, "measure_stretch", lambda *a, **k: searched.append(a) or search(*a, **k)
    )
    arguments = ("-c:v", codec, *EVERYDAY[codec], "-g", "500")
    encoded(path, *arguments, flicker=0.0, second=0.6, noise=0.0, is_cut=is_cut)
    plan = bare(path, tmp_path / "out", recipe_of("color"), span_frames=15)
    assert plan.analyze() is None
    assert plan.analysis().curves.shots == ((0, CUT) if is_cut else (0,))
    assert bool(searched) == is_cut


@pytest.mark.parametrize("forced", [(), ("-force_key_frames", "expr:eq(n,13)")])
def test_a_moving_camera_starts_no_shot_where_colour_alone_is_asked_for(tmp_path, forced):
    """Keyframes of a fast pan differ, in and out of turn, and one correction serves them all."""
    path = tmp_path / "clip.mp4"
    encoded(path, "-g", "10", "-sc_threshold", "0", *forced, flicker=0.0, pan=2.5)
    plan = bare(path, tmp_path / "out", recipe_of("color"), span_frames=15)
    assert plan.analyze() is None
    # The two shots show one picture in one light.
    assert plan.analysis().curves.shots == (0,)


def test_stretches_are_the_spans_with_one_frame_before(clip, tmp_path):
    plan = bare(clip, tmp_path / "out", recipe_of("denoise"), span_frames=10)
    every = [pts for span in plan.spans for pts in span.pts[span.lead : len(span.pts) - span.tail]]
    for number, span in enumerate(plan.spans):
        stretch = stretch_of(plan.spans, number)
        begin = max(span.start - 1, 0)
        assert (stretch.start, stretch.stop, stretch.tail) == (span.start, span.stop, 0)
        assert list(stretch.pts) == every[begin : span.stop]
        assert stretch.begin_pts == (every[begin] if begin else None)
        assert stretch.lead == span.start - begin


def test_what_was_done_is_told(clip, tmp_path):
    recipe = recipe_of("color", "stabilize", "denoise", "deflicker", "grain")
    _, assembled, plan = published(clip, tmp_path / "out", recipe, span_frames=11)
    notes = "; ".join(assembled.outcome.notes)
    for part in ("color: corrected in 2 of 2 shots", "stabilize: crop 0.8", " in 2 of 2 shots",
                 "denoise: noise taken out of 2 of 2 shots", "deflicker: brightness"):  # fmt: skip
        assert part in notes
    curves = assembled.curves
    assert [point[0] for point in curves.luma] == list(range(NUM_FRAMES))
    assert [point[0] for point in curves.path] == list(range(NUM_FRAMES))
    source = frames() @ np.array([0.2126, 0.7152, 0.0722])
    before = np.array([point[1] for point in curves.luma])
    assert np.abs(before - source.mean(axis=(1, 2))).max() < 2
    after = np.array([point[2] for point in curves.luma])
    assert np.abs(np.diff(after[:CUT], 2)).mean() < 0.5 * np.abs(np.diff(before[:CUT], 2)).mean()
    seconds = assembled.stage_cpu_seconds
    assert seconds["post"] > 0
    assert seconds["analyze"] > 0
    assert not list(Path(plan.context.destination).glob("_vgen/chunks/*/*")), "gone with the chunks"


def test_steps_that_need_no_measure_have_no_analysis(clip, tmp_path):
    plan = bare(clip, tmp_path / "out", recipe_of("sharpen", "grain"), span_frames=None)
    [row] = plan.produce()
    assert not row["fault"]
    assembled = plan.assemble()
    assert assembled.outcome.status == "done"
    assert "analyze" not in assembled.stage_cpu_seconds


def test_a_shot_that_no_step_changes_is_the_source_bit_for_bit(tmp_path):
    """A still picture of usual colours: there is nothing to steady and nothing to correct."""
    source = tmp_path / "still.mkv"
    run_ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate=25:duration=0.04",
        "-vf", "loop=loop=19:size=1", "-c:v", "ffv1", "-pix_fmt", "yuv420p", "-threads", "1",
        source,
    )  # fmt: skip
    made, assembled, _ = published(source, tmp_path / "out", recipe_of("stabilize"))
    assert np.array_equal(made, pixels_of(source, width=WIDTH, height=HEIGHT))
    assert "stabilize: nothing to steady in 1 shot" in assembled.outcome.notes


def test_operators_of_their_own_and_threads_give_the_same_frames(clip, tmp_path):
    """The staged topology, and an actor that reads ahead, against one thing at a time."""
    recipe = recipe_of("deflicker", "denoise", "color", "stabilize", "grain")
    whole, _, _ = published(clip, tmp_path / "whole", recipe, span_frames=11)
    staged = bare(clip, tmp_path / "staged", recipe, span_frames=11)
    assert staged.analyze() is None
    worker = EnhanceFrames(staged.context)
    for number in range(len(staged.spans)):
        row = decode_row({"video": 0, "row_group": 0, "span": number}, staged.context)
        assert not encode_row(worker(row), staged.context)["fault"]
    assembled = staged.assemble()
    made = pixels_of(Path(assembled.outcome.output_uri), width=WIDTH, height=HEIGHT)
    assert np.array_equal(made, whole)
    assert assembled.stage_cpu_seconds["post"] > 0
    assert len(assembled.curves.luma) == NUM_FRAMES

    threaded = bare(clip, tmp_path / "threads", recipe, span_frames=11)
    assert threaded.analyze() is None
    path = tmp_path / "chunk.nut"
    run = SpanRun(
        job=threaded.job,
        span=threaded.spans[1],
        recipe=recipe,
        source_path=None,
        threads=2,
        finish=finish_of(threaded.job, threaded.context),
    )
    facts = produce_chunk(run, Enhancer.load("identity", device="cpu"), path, has_threads=True)
    assert facts.stage_cpu_seconds["post"] > 0
    span = threaded.spans[1]
    assert [point[0] for point in facts.luma] == list(range(span.start, span.stop))
    made = pixels_of(path, width=WIDTH, height=HEIGHT)
    assert np.array_equal(made, whole[span.start : span.stop])


@pytest.mark.parametrize("mode", ["frame", "field"])
def test_frames_made_of_fields_do_not_depend_on_where_spans_were_cut(media, tmp_path, mode):
    post = {"steps": ("deflicker", "stabilize", "grain")}
    encode = {"codec": "ffv1", "container": "mkv"}
    recipe = load_recipe(None, {"encode": encode, "post": post, "deinterlace": mode})
    found = []
    for span_frames in (None, 14):
        folder = tmp_path / str(span_frames)
        plan = bare(media["interlaced_tff_ts"], folder, recipe, span_frames=span_frames)
        assert plan.analyze() is None
        analysis = plan.analysis().model_copy(update={"cpu_seconds": 0.0})
        assert not any(row["fault"] for row in plan.produce())
        outcome = plan.assemble().outcome
        found.append((analysis, pixels_of(Path(outcome.output_uri), width=64, height=48)))
    (whole_analysis, whole), (cut_analysis, cut) = found
    assert whole_analysis == cut_analysis
    assert len(cut) == len(whole) == (150 if mode == "field" else 75)
    assert np.abs(cut.astype(int) - whole).max() <= 1
