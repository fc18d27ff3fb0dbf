"""The table of codecs a recipe can name, and the options of their encoders.

The one surprise: which *encoder* serves a codec can depend on the pixel format, as RGB in H.264
is another encoder of the same library.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vgen.media.facts import ColorTags, Hdr10
from vgen.media.pixels import PlanarFormat

GOP_FRAMES = 120
"""Longest distance of keyframes: seekable within seconds, about 2 % larger than unlimited."""

_YUV8 = ("yuv420p", "yuv422p", "yuv444p")
_YUV10 = ("yuv420p10le", "yuv422p10le", "yuv444p10le")
_YUV12 = ("yuv420p12le", "yuv422p12le", "yuv444p12le")
_GRAY_AND_GBR = ("gray", "gray10le", "gray12le", "gbrp", "gbrp10le", "gbrp12le")
_HIGH_DEPTHS = (9, 10, 12, 14, 16)
_FFV1 = (
    *_YUV8,
    *(f"yuv{c}p{b}le" for c in (420, 422, 444) for b in _HIGH_DEPTHS),
    *(f"gray{b}le" for b in _HIGH_DEPTHS),
    *(f"gbrp{b}le" for b in _HIGH_DEPTHS),
    *("yuv410p", "yuv411p", "yuv440p", "yuv440p10le", "yuv440p12le", "gray", "gbrp"),
)
# x264's words, and the SVT-AV1 presets that cost about the same CPU time a frame.
_SVT_PRESETS = {
    "ultrafast": "12", "superfast": "11", "veryfast": "10", "faster": "9", "fast": "8",
    "medium": "7", "slow": "5", "slower": "4", "veryslow": "3",
}  # fmt: skip
_CHROMA_LOCATIONS = {1: "left", 2: "center", 3: "topleft", 4: "top", 5: "bottomleft", 6: "bottom"}
_FIELD_ORDERS = {"tff": "tt", "bff": "bb", "progressive": "progressive"}
_MASTERING = re.compile(r"([A-Z]+)\((\d+),(\d+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One codec a recipe can name."""

    name: str
    """FFmpeg's canonical name, as a probe of the output reports it."""
    formats: Mapping[str, str]
    """Planar formats taken, each with the encoder that takes it."""
    containers: tuple[str, ...]
    """Containers that carry it in a way that players know."""
    chunk_format: str
    """Container of its chunks: one in which PTS from zero come back exactly."""
    crf_range: tuple[int, int] | None
    """Inclusive; None where the codec has no constant-quality scale."""
    crops_by_chroma: bool = False
    """True where sizes are cropped in chroma units, so that odd sizes need full chroma."""

    @property
    def encoders(self) -> tuple[str, ...]:
        """Every encoder that serves this codec."""
        return tuple(sorted(set(self.formats.values())))


CODECS: Mapping[str, Codec] = {
    "h264": Codec(
        name="h264",
        formats=dict.fromkeys((*_YUV8, *_YUV10, "gray", "gray10le"), "libx264")
        | {"gbrp": "libx264rgb"},
        containers=("mp4", "mov", "mkv"),
        chunk_format="mp4",
        crf_range=(0, 51),
        crops_by_chroma=True,
    ),
    "hevc": Codec(
        name="hevc",
        formats=dict.fromkeys((*_YUV8, *_YUV10, *_YUV12, *_GRAY_AND_GBR), "libx265"),
        containers=("mp4", "mov", "mkv"),
        chunk_format="mp4",
        crf_range=(0, 51),
        crops_by_chroma=True,
    ),
    "av1": Codec(
        name="av1",
        formats={"yuv420p": "libsvtav1", "yuv420p10le": "libsvtav1"},
        containers=("mp4", "mkv"),
        chunk_format="mp4",
        crf_range=(1, 63),  # to FFmpeg's wrapper 0 means the encoder's default
    ),
    "prores": Codec(
        name="prores",
        formats=dict.fromkeys(("yuv422p10le", "yuv444p10le"), "prores_ks"),
        containers=("mov", "mkv"),
        chunk_format="mov",
        crf_range=None,
    ),
    "ffv1": Codec(
        name="ffv1",
        formats=dict.fromkeys(_FFV1, "ffv1"),
        containers=("mkv",),
        chunk_format="nut",
        crf_range=None,
    ),
}
PACKED = {("libx264rgb", "gbrp"): "bgr24", ("ffv1", "gbrp"): "bgr0"}
"""Packed formats that an encoder wants for the same samples in planes."""
DECODED_AS = {
    ("h264", "gray"): "yuv420p",
    ("h264", "gray10le"): "yuv420p10le",
    ("prores", "yuv444p10le"): "yuv444p12le",
}
"""Planar formats in which FFmpeg's decoder hands back what was encoded, where not the very same."""


def codec_of(encoder: str) -> Codec:
    """Return the codec that ``encoder`` writes.

    Raises:
        ValueError: no codec here is written by it.
    """
    for codec in CODECS.values():
        if encoder in codec.encoders:
            return codec
    raise ValueError(f"{encoder!r} is not an encoder known here")


# Only frames that come straight from a decoder have captions; an output has all or none.
_NO_CAPTIONS = {"a53cc": "0"}


def encoder_options(
    encoder: str, written: PlanarFormat, *, crf: int, preset: str, width: int, height: int
) -> dict[str, str]:
    """Return the options that decide the encoder's bytes, apart from the pictures' description."""
    quality = {"preset": preset, "crf": str(crf), "g": str(GOP_FRAMES)}
    if encoder in ("libx264", "libx264rgb"):
        return quality | {"x264-params": "open-gop=0"} | _NO_CAPTIONS
    if encoder == "libx265":
        # Without a thread pool and with one frame thread its bytes depend on nothing else.
        params = "open-gop=0:pools=none:frame-threads=1:repeat-headers=0:log-level=error"
        if min(width, height) < 64:
            # x265 4.2's vector code for cutree writes outside its buffers when a side has fewer
            # than four of the lookahead's blocks of 16 pixels, and the process dies.
            params += ":cutree=0"
        return quality | {"x265-params": params} | _NO_CAPTIONS
    if encoder == "libsvtav1":
        # It ignores thread_count, hence lp=1. irefresh-type=2: closed GOPs.
        svt = {"preset": _SVT_PRESETS[preset], "svtav1-params": "lp=1:irefresh-type=2"}
        return quality | svt
    if encoder == "prores_ks":
        return {"profile": "hq" if written.log2_chroma_w else "4444", "vendor": "apl0"}
    # Four slices do not fit into a few pixels.
    slices = "4" if min(width, height) >= 64 else "1"
    return {"level": "3", "g": "1", "slices": slices, "slicecrc": "1"}


def description_options(
    encoder: str, color: ColorTags, hdr10: Hdr10 | None, field_order: str
) -> dict[str, str]:
    """Return the options that describe the pictures and that PyAV has no attribute for.

    The keys never collide with those of ``encoder_options`` except for the ``*-params`` strings,
    which are to be joined with a colon.
    """
    options: dict[str, str] = {}
    if color.chroma_location in _CHROMA_LOCATIONS:
        options["chroma_sample_location"] = _CHROMA_LOCATIONS[color.chroma_location]
    if field_order in _FIELD_ORDERS:
        options["field_order"] = _FIELD_ORDERS[field_order]
    if field_order in ("tff", "bff") and encoder == "libx264":
        options["x264-params"] = f"{field_order}=1"
    if field_order in ("tff", "bff") and encoder in ("libx264", "prores_ks"):
        options["flags"] = "+ildct+ilme"
    if hdr10 is not None:
        options |= _hdr10_options(encoder, hdr10)
    return options


def carries_hdr10(encoder: str) -> bool:
    """Whether static HDR metadata can be written with ``encoder``."""
    return encoder in ("libx264", "libx265", "libsvtav1")


def _hdr10_options(encoder: str, hdr10: Hdr10) -> dict[str, str]:
    mastering, max_cll = hdr10.mastering_display, hdr10.max_cll
    if encoder == "libx265":
        parts = ["hdr10=1"]
        parts += [f"master-display={mastering}"] if mastering else []
        parts += [f"max-cll={max_cll}"] if max_cll else []
        return {"x265-params": ":".join(parts)}
    if encoder == "libx264":
        parts = [f"mastering-display={mastering}"] if mastering else []
        parts += [f"cll={max_cll}"] if max_cll else []
        return {"x264-params": ":".join(parts)} if parts else {}
    if encoder == "libsvtav1":
        parts = [f"mastering-display={_svt_mastering(mastering)}"] if mastering else []
        parts += [f"content-light={max_cll}"] if max_cll else []
        return {"svtav1-params": ":".join(parts)} if parts else {}
    return {}


def _svt_mastering(mastering: str) -> str:
    """Rewrite x265's integers (0.00002 and 0.0001 cd/m2) as SVT-AV1's decimals."""

    def decimal(match: re.Match[str]) -> str:
        unit = 10_000 if match[1] == "L" else 50_000
        return f"{match[1]}({int(match[2]) / unit:.5f},{int(match[3]) / unit:.5f})"

    return _MASTERING.sub(decimal, mastering)
