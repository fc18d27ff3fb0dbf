"""Small networks, videos and frames that tests of enhancement share."""

from fractions import Fraction

import numpy as np
import torch
from torch import nn

from vgen.enhance.enhancer import Enhancer
from vgen.enhance.memory import Memory
from vgen.enhance.plan import plan_spans
from vgen.enhance.stream import enhance_frames
from vgen.media.facts import ColorTags, VideoStream
from vgen.media.pixels import frame_from_planes, planar_format, planes_of
from vgen.media.timeline import Timeline
from vgen.models.generator import TemporalUNet
from vgen.models.release import ReleaseHeader
from vgen.models.spec import ModelSpec
from vgen.models.unet_settings import UNetSettings, unet_spec
from vgen.models.vae import VideoVae
from vgen.models.vae_settings import VaeSettings, vae_spec
from vgen.records import Span

CPU = torch.device("cpu")


def small_network(scale=1, window=3, std=0.08):
    """A real architecture, tiny, with all weights random: a fresh one would add nothing."""
    settings = UNetSettings(
        window=window,
        channels=4,
        encoder=(1, 0, 1),
        decoder=(0, 0),
        scale=scale,
        surroundings=5,
    )
    network = TemporalUNet(settings, is_folded=True)
    generator = torch.Generator().manual_seed(window + scale)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return network, unet_spec(settings)


VAE_SETTINGS = VaeSettings(widths=(4, 6), blocks=1, latents=3)


def small_vae(chosen=VAE_SETTINGS):
    """A real architecture, small, with weights so large that samples differ visibly."""
    network = VideoVae(chosen)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                gain = 0.6 * parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * gain)
    return network, vae_spec(chosen)


def enhancer_of(network, spec, memory=None):
    header = ReleaseHeader(name="toy", spec=spec, settings={}, provenance={})
    return Enhancer(header=header, digest="0", network=network, device=CPU, memory=memory)


def small_enhancer(scale=1, window=3, std=0.08, most_windows=None):
    network, spec = small_network(scale, window, std)
    memory = None
    if most_windows is not None:
        memory = Memory(spec, most_windows=most_windows, most_bytes=10**9)
    return enhancer_of(network, spec, memory)


class Shift(nn.Module):
    """Adds to a frame how far it is, in mean, from the last frame of its window."""

    def __init__(self, lead, tail):
        super().__init__()
        self.lead = lead
        self.num_embedded = 0
        self.spec = ModelSpec(
            architecture="temporal_unet",
            scale=1,
            lead=lead,
            tail=tail,
            multiple_of=4,
            receptive_radius=0,
        )

    def embed(self, frames_nchw):
        self.num_embedded += 1
        return frames_nchw

    def residual(self, features_ntchw):
        return features_ntchw[:, -1] - features_ntchw[:, self.lead]


def video_of(format_name, width, height, matrix=1, is_full_range=False, chroma_location=0):
    color = ColorTags(
        matrix=0 if planar_format(format_name).is_rgb else matrix,
        primaries=1,
        transfer=1,
        is_full_range=is_full_range or planar_format(format_name).is_rgb,
        chroma_location=chroma_location,
    )
    return VideoStream(
        index=0,
        codec="rawvideo",
        width=width,
        height=height,
        pixel_format=format_name,
        planar_format=format_name,
        time_base=Fraction(1, 90_000),
        average_rate=Fraction(25),
        sample_aspect_ratio=Fraction(1),
        tagged=color,
        color=color,
    )


def noise_planes(format_name, width, height, generator):
    """Planes of every value the bits can hold."""
    made = planar_format(format_name)
    return [
        generator.integers(0, 1 << made.bit_depth, shape).astype(made.dtype)
        for shape in made.plane_shapes(width, height)
    ]


def noise_frames(format_name, width, height, count, seed=3, step=7):
    """Frames of one picture in slow motion, with noise: one shot. PTS are 10, 10 + step ..."""
    generator = np.random.default_rng(seed)
    made = planar_format(format_name)
    top = (1 << made.bit_depth) - 1
    shapes = made.plane_shapes(width, height)
    still = [generator.integers(top // 4, top // 2, shape) for shape in shapes]
    frames = []
    for index in range(count):
        planes = [
            (plane + generator.integers(0, top // 50 + 1, plane.shape)).astype(made.dtype)
            for plane in still
        ]
        frames.append(frame_from_planes(planes, made.name, 10 + index * step, Fraction(1, 90_000)))
    return frames


def spans_of(frames, spec, most_frames):
    """Cut frames of one clip into spans with the context that ``spec`` wants."""
    timeline = Timeline(
        pts=tuple(frame.pts for frame in frames),
        keyframes=(0,),
        time_base=Fraction(1, 90_000),
        access="seek",
        last_duration=1,
    )
    return plan_spans(timeline, lead=spec.lead, tail=spec.tail, max_frames=most_frames)


def restored_in_spans(enhancer, frames, spans, video):
    """Restore each span of 4:2:0 frames by itself; PTS and planes of every frame."""
    made = []
    for span in spans:
        drawn = frames[span.start - span.lead : span.stop + span.tail]
        options = {"video": video, "out_format": "yuv420p", "strength": 1.0, "notes": []}
        made.extend(enhance_frames(enhancer, iter(drawn), span, **options))
    return [(f.pts, [plane.copy() for plane in planes_of(f)]) for f in made]


def flat_frame(format_name, width, height, level, pts):
    made = planar_format(format_name)
    planes = [np.full(shape, level, made.dtype) for shape in made.plane_shapes(width, height)]
    return frame_from_planes(planes, made.name, pts, Fraction(1, 90_000))


WHOLE = Span(start=0, stop=1, begin_pts=None, start_pts=None, stop_pts=None, end_pts=None, pts=())
"""Owns every frame."""
