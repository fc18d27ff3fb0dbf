"""AVI as DivX 5 and Xvid wrote it: P and B pictures in one chunk, then one that codes nothing."""

from fractions import Fraction
from pathlib import Path

import av

from tests.media_factory import run_ffmpeg

_VOP, _GROUP = b"\0\0\1\xb6", b"\0\0\1\xb3"
_PACKED = b"\0\0\1\xb2DivX503b1393p"
"""User data by which decoders know it; the p says packed."""
# VOP start code, P, no second more, marker, time, marker, not coded, stuffing.
_NOT_CODED = bytes.fromhex("000001b6") + bytes([0b01_0_1_0000, 0b0_1_0_01111])


def packed_avi(folder: Path, frames: int = 50, *, first_b: int = 0) -> tuple[Path, Path]:
    """Write a clip with B-frames packed, and the same pictures as usual; return both paths.

    The encoder makes no B-frame of the first ``first_b`` frames, which are noise.
    """
    usual, packed = folder / "usual.avi", folder / "packed.avi"
    pictures = "testsrc2=s=96x64:r=25"
    if first_b:
        noise = f"nullsrc=s=96x64:r=25,geq=random(1)*255:128:128,trim=end_frame={first_b}"
        pictures = f"{noise}[0];{pictures}[1];[0][1]concat"
    run_ffmpeg(
        "-f", "lavfi", "-i", pictures, "-frames:v",
        str(frames), "-c:v", "mpeg4", "-vtag", "DX50", "-g", "30", "-bf", "1", "-b_strategy",
        "1" if first_b else "0", "-q:v", "4", "-sc_threshold", "1000000000", usual,
    )  # fmt: skip
    with av.open(str(usual)) as source, av.open(str(packed), "w") as output:
        video = source.streams.video[0]
        track = output.add_stream_from_template(video, opaque=True)
        track.codec_context.extradata = _marked(bytes(video.codec_context.extradata) + _VOP)[:-4]
        coded = [(bytes(one), one.is_keyframe) for one in source.demux(video) if one.size]
        chunks: list[tuple[bytes, bool]] = []
        while coded:
            content, is_keyframe = coded.pop(0)
            content = _marked(content) if is_keyframe else content
            if coded and _is_b(coded[0][0]):
                chunks += [(content + coded.pop(0)[0], is_keyframe), (_NOT_CODED, False)]
            else:
                chunks.append((content, is_keyframe))
        for number, (content, is_keyframe) in enumerate(chunks):
            packet = av.Packet(content)
            packet.stream, packet.time_base = track, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, is_keyframe
            output.mux(packet)
    return packed, usual


def _is_b(content: bytes) -> bool:
    return content[content.find(_VOP) + 4] >> 6 == 2


def _marked(content: bytes) -> bytes:
    group, picture = content.find(_GROUP), content.find(_VOP)
    start = group if 0 <= group < picture else picture
    before = content[:start]
    old = before.find(b"\0\0\1\xb2")
    return (before if old < 0 else before[:old]) + _PACKED + content[start:]
