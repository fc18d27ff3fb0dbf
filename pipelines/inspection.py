"""What ``vgen probe`` shows of one file."""

from rich.console import Console

from pipelines.probing import probe_source
from pipelines.release_files import resolve_release
from pipelines.terminal import shown
from pipelines.wording import duration
from vgen import storage
from vgen.config import Recipe
from vgen.errors import ProbeError
from vgen.media.facts import EncodePlan, VideoInfo
from vgen.records import Record, VideoRef


class Inspection(Record):
    """A file's facts, and what a run with the default recipe would do with it."""

    uri: str
    info: VideoInfo
    encode: EncodePlan
    spans: int


def inspect_file(file: str) -> Inspection:
    """Probe ``file`` as a run would, in this process.

    Raises:
        StorageError: there is no such object.
        ProbeError: it is no video that vgen handles.
    """
    uri = storage.normalize_uri(file)
    found = storage.stat(uri)
    ref = VideoRef(
        uri=uri,
        relative_path=storage.name_of(uri),
        etag=found.etag,
        size_bytes=found.size_bytes,
    )
    recipe = Recipe()
    probed = probe_source(ref, recipe, resolve_release(recipe.release).spec, None)
    if probed.fault is not None or probed.info is None or probed.encode is None:
        message = probed.fault.message if probed.fault else "nothing found"
        raise ProbeError(message.removesuffix(f" ({uri})"), uri=uri)  # which says it as well
    return Inspection(uri=uri, info=probed.info, encode=probed.encode, spans=len(probed.spans))


def show_inspection(found: Inspection, console: Console) -> None:
    """Print the facts for people, a line each."""
    info, video, encode = found.info, found.info.video, found.encode
    shape = f"{video.width}x{video.height}"
    if video.sample_aspect_ratio != 1:
        shape += f", pixels {video.sample_aspect_ratio} wide"
    if video.rotation_deg:
        shape += f", shown turned by {video.rotation_deg} degrees"
    tags = video.tagged
    facts = {
        "file": found.uri,
        "container": f"{info.container} ({info.format_name})",
        "video": f"{video.codec} {video.pixel_format} {shape}, {video.field_order}",
        "timeline": (
            f"{info.num_frames} frames in {duration(info.duration_s)}, "
            f"{float(video.average_rate):.3f} a second on average, tick {video.time_base} s, "
            f"reached by {info.access}"
        ),
        "colour": (
            f"matrix {tags.matrix}, primaries {tags.primaries}, transfer {tags.transfer} (H.273), "
            f"{'full' if video.color.is_full_range else 'limited'} range"
            + (", HDR10 metadata" if video.hdr10 else "")
        ),
        "carried": ", ".join(stream.label for stream in info.others) or "nothing else in the file",
        "output": (
            f"{encode.width}x{encode.height} {encode.pixel_format} by {encode.encoder} "
            f"in {encode.container}, {found.spans} spans"
        ),
    }
    facts |= {f"dropped {n}": text for n, text in enumerate(encode.dropped, 1)}
    facts |= {f"note {n}": text for n, text in enumerate((*info.notes, *encode.notes), 1)}
    for name, text in facts.items():
        console.print(f"{name:>10}  {shown(text)}", markup=False)
