"""A span's frames, restored on their way, are those of the whole video."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vgen.enhance.toys import (
    WHOLE,
    Shift,
    enhancer_of,
    flat_frame,
    noise_frames,
    noise_planes,
    small_enhancer,
    video_of,
)
from vgen.enhance.enhancer import Enhancer
from vgen.enhance.plan import plan_spans
from vgen.enhance.stream import enhance_frames
from vgen.errors import DecodeError, EnhanceError, ProbeError
from vgen.media.pixels import frame_from_planes, planar_format, planes_of
from vgen.media.timeline import Timeline

IDENTITY = Enhancer.load("identity", device="cpu")


@pytest.fixture(scope="module")
def tiny():
    return Enhancer.load("restore-tiny", device="cpu")


def restored(enhancer, frames, video, span=WHOLE, **changes):
    options = {"out_format": video.planar_format, "strength": 1.0, "notes": []} | changes
    return list(enhance_frames(enhancer, iter(frames), span, video=video, **options))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_a_fault_of_the_frame_and_no_picture(value):
    class Broken(Shift):
        def residual(self, features_ntchw):
            residual_nchw = super().residual(features_ntchw)
            residual_nchw[features_ntchw[:, self.lead].mean((1, 2, 3)) > 0.5, 0, 3, 5] = value
            return residual_nchw

    video = video_of("yuv420p", 16, 16)
    frames = [flat_frame("yuv420p", 16, 16, 40 * (n + 1), pts=n) for n in range(5)]
    broken = Broken(1, 1)
    with pytest.raises(EnhanceError, match="gives values for a frame that are no numbers") as told:
        restored(enhancer_of(broken, broken.spec), frames, video)
    assert told.value.pts == 3


def pixels_of(frames):
    return [(f.pts, [plane.copy() for plane in planes_of(f)]) for f in frames]


def assert_same(got, expected):
    assert [pts for pts, _ in got] == [pts for pts, _ in expected]
    for (_, planes), (_, wanted) in zip(got, expected, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(planes, wanted, strict=True))


def spans_of(frames, enhancer, most):
    pts = tuple(frame.pts for frame in frames)
    timeline = Timeline(
        pts=pts, keyframes=(0,), time_base=Fraction(1, 90_000), access="seek", last_duration=1
    )
    spec = enhancer.spec
    return plan_spans(timeline, lead=spec.lead, tail=spec.tail, max_frames=most)


def in_spans(enhancer, frames, video, spans):
    """What each span makes of the frames that a decoder would give it."""
    return [
        frame
        for span in spans
        for frame in restored(
            enhancer,
            frames[span.start - span.lead : span.stop + span.tail],
            video,
            span,
        )
    ]


CLIP = [
    *noise_frames("yuv420p", 38, 26, 5, seed=1),
    *[
        frame_from_planes(planes_of(f), "yuv420p", f.pts + 100, f.time_base)
        for f in noise_frames("yuv420p", 38, 26, 9, seed=2)
    ],
]
"""Two shots, of five and nine frames, of 38 by 26 pixels."""
VIDEO = video_of("yuv420p", 38, 26)


@settings(max_examples=15, deadline=None)
@given(most=st.integers(1, 14), most_windows=st.sampled_from([None, 2, 4]))
def test_frames_do_not_depend_on_where_spans_were_cut(most, most_windows):
    enhancer = small_enhancer(window=5, most_windows=most_windows)
    whole = pixels_of(restored(enhancer, CLIP, VIDEO))
    spans = spans_of(CLIP, enhancer, most)
    assert_same(pixels_of(in_spans(enhancer, CLIP, VIDEO, spans)), whole)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 8])
def test_frames_of_the_bundled_release_do_not_depend_on_where_spans_were_cut(tiny, media, most):
    with av.open(media["h264_mp4"]) as container:
        frames = list(container.decode(video=0))[:12]
    video = video_of("yuv420p", 64, 48)
    whole = pixels_of(restored(tiny, frames, video))
    assert_same(pixels_of(in_spans(tiny, frames, video, spans_of(frames, tiny, most))), whole)
    assert any(
        not np.array_equal(planes[0], planes_of(frame)[0])
        for (_, planes), frame in zip(whole, frames, strict=True)
    )


@pytest.mark.parametrize("name", ["yuv420p", "yuv444p10le", "gray", "gbrp"])
@pytest.mark.parametrize(("enhancer", "strength"), [("identity", 1.0), ("small", 0.0)])
def test_what_changes_nothing_passes_the_very_frames_through(name, enhancer, strength):
    frames = noise_frames(name, 16, 12, 5)
    made = IDENTITY if enhancer == "identity" else small_enhancer()
    got = restored(made, frames, video_of(name, 16, 12), strength=strength)
    assert len(got) == 5
    assert all(a is b for a, b in zip(got, frames, strict=True))


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "gray", "gbrp"])
def test_a_network_that_adds_nothing_gives_the_source_bit_for_bit(name):
    generator = np.random.default_rng(1)
    frames = [
        frame_from_planes(noise_planes(name, 17, 9, generator), name, pts, Fraction(1, 25))
        for pts in range(4)
    ]
    enhancer = small_enhancer(std=0.0)
    got = restored(enhancer, frames, video_of(name, 17, 9))
    assert_same(pixels_of(got), pixels_of(frames))
    assert not any(a is b for a, b in zip(got, frames, strict=True))


def test_identity_converts_formats_exactly():
    frames = noise_frames("yuv420p", 16, 12, 3)
    got = restored(IDENTITY, frames, video_of("yuv420p", 16, 12), out_format="yuv420p10le")
    for (pts, planes), source in zip(pixels_of(got), frames, strict=True):
        assert pts == source.pts
        for plane, wanted in zip(planes, planes_of(source), strict=True):
            assert np.array_equal(plane, wanted.astype(np.uint16) * 4)


def test_only_the_frames_of_the_span_come_with_their_pts_and_time_base():
    enhancer = small_enhancer(window=3)
    spans = spans_of(CLIP, enhancer, 4)
    for span in spans:
        drawn = CLIP[span.start - span.lead : span.stop + span.tail]
        got = restored(enhancer, drawn, VIDEO, span)
        assert [f.pts for f in got] == [f.pts for f in CLIP[span.start : span.stop]]
        assert {f.time_base for f in got} == {Fraction(1, 90_000)}
        identity = restored(IDENTITY, drawn, VIDEO, span)
        assert [f.pts for f in identity] == [f.pts for f in got]


def test_a_window_does_not_look_across_a_cut():
    """The network adds the distance to the next frame: at a cut that is nothing."""
    levels = [40, 42, 44, 200, 202, 204]
    frames = [flat_frame("gray", 16, 12, level, pts) for pts, level in enumerate(levels)]
    network = Shift(0, 1)
    got = restored(enhancer_of(network, network.spec), frames, video_of("gray", 16, 12))
    assert [int(planes[0][0, 0]) for _, planes in pixels_of(got)] == [42, 44, 44, 202, 204, 204]


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("name", ["yuv420p", "yuv444p10le", "gray"])
def test_enlarged_frames_have_every_plane_enlarged(scale, name):
    enhancer = small_enhancer(scale)
    got = restored(enhancer, noise_frames(name, 18, 10, 4), video_of(name, 18, 10))
    assert len(got) == 4
    for frame in got:
        shapes = [plane.shape for plane in planes_of(frame)]
        assert shapes == list(planar_format(name).plane_shapes(18 * scale, 10 * scale))
        assert frame.format.name == name


def test_a_stream_restores_as_a_clip_does():
    """The same network on the same RGB: planes of full-range GBR are the clip times 255."""
    frames = noise_frames("gbrp", 22, 18, 5)
    enhancer = small_enhancer(window=3, std=0.05)
    clip = torch.stack(
        [torch.stack([torch.from_numpy(planes_of(f)[i].copy()) for i in (2, 0, 1)]) for f in frames]
    )
    expected = enhancer.restore(clip / 255) * 255
    got = restored(enhancer, frames, video_of("gbrp", 22, 18))
    for frame, wanted in zip(got, expected.clamp(0, 255).numpy(), strict=True):
        green, blue, red = (plane.astype(float) for plane in planes_of(frame))
        assert np.abs(np.stack([red, green, blue]) - wanted).max() <= 0.501


def test_strength_is_the_share_of_the_way():
    enhancer = small_enhancer(std=0.05)
    video = video_of("gbrp16le", 20, 12)
    frames = noise_frames("gbrp16le", 20, 12, 3)
    half, full = (restored(enhancer, frames, video, strength=s) for s in (0.5, 1.0))
    for source, a, b in zip(frames, half, full, strict=True):
        for plane, one, two in zip(planes_of(source), planes_of(a), planes_of(b), strict=True):
            inside = (two > 0) & (two < 65535)
            away = two.astype(int) - plane
            assert np.abs(away).max() > 100
            assert np.abs(2 * (one.astype(int) - plane) - away)[inside].max() <= 2


def test_a_few_frames_are_held_whatever_the_length():
    drawn = 0

    def source():
        nonlocal drawn
        for frame in noise_frames("yuv420p", 16, 12, 60):
            drawn += 1
            yield frame

    enhancer = small_enhancer(window=5, most_windows=4)
    stream = enhance_frames(
        enhancer,
        source(),
        WHOLE,
        video=video_of("yuv420p", 16, 12),
        out_format="yuv420p",
        strength=1.0,
        notes=[],
    )
    for index, _ in enumerate(stream):
        assert drawn <= index + 2 + 4
    assert index == 59


def test_an_empty_span_gives_nothing():
    assert restored(small_enhancer(), [], VIDEO) == []


@pytest.mark.parametrize("odd", [("yuv420p", 40, 26), ("yuv444p", 38, 26)], ids=str)
@pytest.mark.parametrize("kind", ["identity", "small"])
def test_a_frame_unlike_the_video_fails_it(odd, kind):
    frames = [*CLIP[:3], flat_frame(*odd, 90, 99)]
    enhancer = IDENTITY if kind == "identity" else small_enhancer()
    with pytest.raises(DecodeError, match=r"expected a frame .*38, 26.*film.mkv at pts 99"):
        restored(enhancer, frames, VIDEO, uri="film.mkv")


def test_an_unknown_matrix_fails_the_video_unless_nothing_is_converted():
    video = video_of("yuv420p", 38, 26, matrix=14)
    with pytest.raises(ProbeError, match=r"colour matrix 14 .*film.mkv"):
        restored(small_enhancer(), CLIP, video, uri="film.mkv")
    assert len(restored(IDENTITY, CLIP, video)) == len(CLIP)


def test_running_out_of_memory_loses_no_frame():
    class Tight(Shift):
        def residual(self, features_ntchw):
            if features_ntchw.shape[0] * features_ntchw.shape[-1] > 100:
                raise torch.OutOfMemoryError("no room")
            return super().residual(features_ntchw)

    network = Tight(1, 1)
    enhancer = enhancer_of(network, network.spec)
    frames, notes = noise_frames("gray", 256, 16, 5), []
    got = restored(enhancer, frames, video_of("gray", 256, 16), notes=notes)
    roomy = Shift(1, 1)
    expected = restored(enhancer_of(roomy, roomy.spec), frames, video_of("gray", 256, 16))
    assert_same(pixels_of(got), pixels_of(expected))
    assert notes == ["out of memory on the device: smaller batches or tiles were used"]


def test_frames_that_fit_in_no_piece_are_a_fault_of_their_video():
    """It used to stop the run, and every run after it at the same video."""

    class Full(Shift):
        def residual(self, features_ntchw):
            raise torch.OutOfMemoryError("no room")

    enhancer = enhancer_of(Full(1, 1), Shift(1, 1).spec)
    with pytest.raises(EnhanceError, match=r"do not fit into the device's memory.*film.mkv"):
        restored(
            enhancer, noise_frames("gray", 256, 16, 5), video_of("gray", 256, 16), uri="film.mkv"
        )
