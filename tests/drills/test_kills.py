"""Killed at ten moments between the first chunk and the last, on a disk and in a bucket."""

import random
import shutil
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.drills.conftest import Record
from tests.media_factory import Media
from tests.pipelines.archive import add_good, add_long, names_of_spans, outputs_of
from tests.pipelines.processes import (
    RAY_MARKS,
    Started,
    Vgen,
    chunks_of,
    started,
    wait_until,
)
from tests.pipelines.test_s3 import put
from vgen.models.release import bundled_releases

pytestmark = [*RAY_MARKS, pytest.mark.slow, pytest.mark.timeout(7200)]

MIN_CHUNKS = 8
NUM_KILLS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A destination, as it is named and as a folder to look into."""

    kind: str
    source: str
    destination: str
    folder: Path
    flags: tuple[str, ...]

    @property
    def command(self) -> tuple[str, ...]:
        return ("enhance", self.source, self.destination, *self.flags)

    def started(self, environment: dict[str, str]) -> AbstractContextManager[Started]:
        return started("pipelines.cli", *self.command, "--address", "local", **environment)

    def videos(self) -> dict[str, bytes]:
        return {name: content for name, (_, content) in outputs_of(self.folder).items()}


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    add_long(folder / "long.mp4", seconds=16, size="256x192")
    return folder


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> tuple[str, ...]:
    """Flags of every run here; the release is a copy, as drills take long and files change."""
    release = tmp_path_factory.mktemp("release") / "tiny.safetensors"
    shutil.copyfile(bundled_releases()["restore-tiny"], release)
    cheap = ("--encode.preset", "ultrafast", "--span-frames", "50")
    return ("--release", str(release), *cheap, "--json")


@pytest.fixture(scope="module")
def whole(archive, flags, vgen: Vgen, tmp_path_factory) -> dict[str, bytes]:
    """The outputs of a run that nothing disturbs."""
    destination = tmp_path_factory.mktemp("whole") / "out"
    assert vgen("enhance", archive, destination, *flags).status == 0
    assert len(names_of_spans(destination)) >= MIN_CHUNKS
    return {name: content for name, (_, content) in outputs_of(destination).items()}


@pytest.fixture(params=["disk", "bucket"])
def place_of(request, archive, flags, s3, tmp_path):
    """Make places of one kind by name; all have the same source."""

    def make(name: str) -> Place:
        if request.param == "disk":
            folder = tmp_path / name
            return Place(
                kind="disk",
                source=str(archive),
                destination=str(folder),
                folder=folder,
                flags=flags,
            )
        source = f"{s3.bucket}/drill-in"
        put(archive, source)
        return Place(
            kind="bucket",
            source=source,
            destination=f"{s3.bucket}/drill-{name}",
            folder=s3.root / "bucket" / f"drill-{name}",
            flags=flags,
        )

    return make


def killed(place: Place, num_chunks: int, pause_s: float, environment: dict[str, str]) -> int:
    """Kill a run once ``num_chunks`` are there and a pause is over; return how many there are."""

    def is_due() -> bool:
        return len(chunks_of(place.folder)) >= num_chunks or (place.folder / "long.mp4").exists()

    with place.started(environment) as running:
        wait_until(is_due, running)
        time.sleep(pause_s)
        running.kill()
        assert running.survivors() == []
    return len(chunks_of(place.folder))


def test_a_run_killed_at_ten_moments_goes_on(place_of, whole, vgen: Vgen, s3, record: Record):
    """Each kill has a destination of its own, and one rerun."""
    dice = random.Random(7)
    moments = []
    for number in range(NUM_KILLS):
        place = place_of(f"kill{number}")
        wanted = dice.randint(1, MIN_CHUNKS - 1)
        found = killed(place, wanted, dice.uniform(0, 0.5), s3.environment)
        finished = {path.name for path in chunks_of(place.folder)}
        assert set(place.videos()) <= {"long.mp4"}
        ran = vgen(*place.command)
        assert ran.status == 0, ran.stderr
        assert not finished & set(names_of_spans(place.folder))
        assert place.videos() == whole
        assert not chunks_of(place.folder)
        moments.append(str(found))
    record(
        f"{NUM_KILLS} kills of the driver (-9), a rerun after each, {place.kind}",
        f"chunks found after the kills: {' '.join(moments)} of {MIN_CHUNKS}; "
        "all outputs byte-identical to an undisturbed run, no chunk made twice",
    )


def test_a_run_killed_again_and_again_goes_on(
    place_of, archive, whole, media: Media, vgen: Vgen, s3, record: Record, tmp_path
):
    """One destination: each rerun is killed as well, and a video is added meanwhile."""
    dice = random.Random(11)
    place = place_of("sequence")
    there, kills, grown = 0, 0, []
    while there < MIN_CHUNKS - 1 and not (place.folder / "long.mp4").exists():
        before = {path.name for path in chunks_of(place.folder)}
        there = killed(place, there + 1, dice.uniform(0, 0.3), s3.environment)
        after = {path.name for path in chunks_of(place.folder)}
        assert before <= after or (place.folder / "long.mp4").exists()
        kills += 1
        grown.append(str(there))
    added = {"added.mp4": "vfr_mp4"}
    if place.kind == "disk":
        add_good(archive, media, added)
    else:
        add_good(tmp_path / "added", media, added)
        put(tmp_path / "added", place.source)
    try:
        finished = {path.name for path in chunks_of(place.folder)}
        ran = vgen(*place.command)
        assert ran.status == 0, ran.stderr
        assert not finished & set(names_of_spans(place.folder))
        videos = place.videos()
        assert videos.pop("added.mp4")
        assert videos == whole
    finally:
        if place.kind == "disk":
            (archive / "added.mp4").unlink()
    record(
        f"kill after kill in one destination, then a video added, {place.kind}",
        f"{kills} kills, chunks after each: {' '.join(grown)}; byte-identical, none made twice",
    )
