"""From and to an object store: a real S3 server, by ranges, and no secret left anywhere."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.media_factory import Media, run_ffmpeg
from tests.pipelines.archive import add_good, outputs_of
from tests.pipelines.oracle import assert_same_times
from tests.pipelines.processes import RAY_MARKS, Ran, Vgen
from tests.s3 import ACCESS_KEY, SECRET_KEY
from vgen import storage

pytestmark = RAY_MARKS

CLIPS = {"a b+c%20.mp4": "faststart_mp4", "deep/er/d.ts": "h264_ts", "e.avi": "mpeg4_avi"}
FLAGS = ("--release", "identity", "--encode.preset", "ultrafast", "--encode.crf", "40", "--json")
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An archive in a bucket and what a run made of it, both seen as folders."""

    ran: Ran
    said: str
    source: Path
    destination: Path


@pytest.fixture
def large(tmp_path) -> Path:
    """Some megabytes with the index in front, in GOPs of a second."""
    path = tmp_path / "large.mp4"
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=6",
        "-vf", "noise=alls=100:allf=t:all_seed=1", "-c:v", "libx264", "-preset", "ultrafast",
        "-qp", "12", "-g", "25", "-pix_fmt", "yuv420p", "-movflags", "+faststart", path,
    )  # fmt: skip
    assert path.stat().st_size > 4 * MIB
    return path


def put(folder: Path, uri: str) -> None:
    """Upload the files below ``folder``; the server wants to be asked, not gone behind."""
    for path in folder.rglob("*"):
        if path.is_file():
            place = storage.join(uri, *path.relative_to(folder).parts)
            storage.publish(path, place, remove_source=False)


@pytest.fixture
def stored(media: Media, large, s3, vgen: Vgen, capfd, tmp_path) -> Stored:
    """The clips, put into a bucket and enhanced from there to there."""
    add_good(tmp_path / "in", media, CLIPS)
    shutil.move(large, tmp_path / "in" / "large.mp4")
    put(tmp_path / "in", f"{s3.bucket}/archive/in")
    ran = vgen("enhance", f"{s3.bucket}/archive/in", f"{s3.bucket}/archive/out", *FLAGS)
    said = "".join(capfd.readouterr())
    destination = s3.root / "bucket" / "archive" / "out"
    return Stored(ran=ran, said=said, source=tmp_path / "in", destination=destination)


def test_a_bucket_gives_the_bytes_of_a_folder_by_ranges_and_without_secrets(
    stored, vgen: Vgen, s3_proxy, tmp_path
):
    assert stored.ran.status == 0, stored.ran.stderr
    ran = vgen("enhance", stored.source, tmp_path / "out", *FLAGS)
    assert ran.status == 0
    local = {name: content for name, (_, content) in outputs_of(tmp_path / "out").items()}
    assert len(local) == len(CLIPS) + 1
    assert {name: one for name, (_, one) in outputs_of(stored.destination).items()} == local

    assert_reads_are_ranges(s3_proxy.reads_of("/bucket/archive/in/large.mp4"), stored)
    for secret in (SECRET_KEY, ACCESS_KEY):
        assert secret not in stored.said + stored.ran.stdout + stored.ran.stderr
        for path in stored.destination.rglob("*"):
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path


def assert_reads_are_ranges(reads: list[int], stored: Stored) -> None:
    """Nobody held the whole source at once, and what was read is not much more than it."""
    size_bytes = (stored.source / "large.mp4").stat().st_size
    assert reads
    assert max(reads) <= MIB
    assert sum(reads) < 3 * size_bytes


def test_a_listing_names_objects_by_path_and_by_uri(media: Media, s3, vgen: Vgen, tmp_path):
    home = f"{s3.bucket}/listed"
    add_good(tmp_path, media, {"here.mp4": "vfr_mp4", "sub/there.mp4": "vfr_mp4"})
    (tmp_path / "wanted.txt").write_text(
        f"here.mp4\n# a remark\n\n{home}/sub/there.mp4\nlost.mp4\n"
    )
    put(tmp_path, home)
    ran = vgen("enhance", f"{home}/wanted.txt", f"{s3.bucket}/made", *FLAGS)
    assert ran.status == 1
    made = s3.root / "bucket" / "made"
    assert outputs_of(made).keys() == {"here.mp4", "sub/there.mp4"}
    for name in outputs_of(made):
        assert_same_times(made / name, media["vfr_mp4"])
    [failed] = [one for one in ran.report.videos if one.status == "failed"]
    assert failed.source_uri == f"{home}/lost.mp4"
    assert (failed.error.stage, failed.error.kind) == ("list", "MissingError")
