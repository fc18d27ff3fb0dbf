"""The same bytes from any number of workers, operators apart, and a node lost on the way."""

import dataclasses
from pathlib import Path

import pytest

from pipelines.cluster import Node
from pipelines.run import Request, execute_on, prepare
from tests.media_factory import Media
from tests.pipelines.archive import add_good, outputs_of, spans_of
from tests.pipelines.oracle import shown
from tests.pipelines.processes import RAY_MARKS, started
from tests.pipelines.workers import Together, TogetherFrames
from vgen.config import EncodeSettings, Recipe

pytestmark = RAY_MARKS

CLIPS = {"a.mp4": "h264_mp4", "b.mkv": "ten_bit_mkv"}


@pytest.fixture(scope="module")
def source(media: Media, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    add_good(folder, media, CLIPS)
    return folder


@pytest.fixture(scope="module")
def made(embedded_ray, source, tmp_path_factory):
    """Run the clips with a number of workers that wait for each other; each is run once."""
    known: dict[tuple[str, int], Path] = {}

    def run(topology: str, num_workers: int) -> Path:
        if (topology, num_workers) not in known:
            destination = tmp_path_factory.mktemp(f"{topology}{num_workers}")
            (destination / f"together-{num_workers}").touch()
            request = Request(
                source=str(source),
                destination=str(destination),
                recipe=Recipe(encode=EncodeSettings(preset="ultrafast")),
                span_frames=12,
                topology=topology,
            )
            cluster = dataclasses.replace(embedded_ray, nodes=(Node(cpus=num_workers),))
            worker = Together if topology == "fused" else TogetherFrames
            execute_on(cluster, prepare(request), say=print, worker=worker)
            known[topology, num_workers] = destination
        return known[topology, num_workers]

    return run


def pids(destination: Path, mark: str) -> set[int]:
    return {int(path.name.rpartition("-")[2]) for path in destination.glob(f"{mark}-*")}


def videos_of(destination: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in outputs_of(destination).items() if content}


def test_one_worker_and_four_give_the_same_bytes(made):
    one, four = made("fused", 1), made("fused", 4)
    assert len(pids(one, "worker")) == 1
    assert len(pids(four, "worker")) == 4
    assert {span["pid"] for span in spans_of(four)} == pids(four, "worker")
    assert videos_of(one).keys() == CLIPS.keys()
    assert videos_of(one) == videos_of(four)


def test_the_staged_topology_gives_the_frames_of_the_fused_one(made):
    fused, staged = made("fused", 4), made("staged", 2)
    for name in CLIPS:
        assert shown(staged / name) == shown(fused / name)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_decoding_and_enhancing_are_operators_of_their_own(made, num_workers):
    staged = made("staged", num_workers)
    assert len(pids(staged, "worker")) == num_workers
    assert pids(staged, "decoded-by")
    assert not pids(staged, "worker") & pids(staged, "decoded-by")


def test_a_lost_node_costs_nothing_but_time(tmp_path):
    """In a process of its own, which holds the claims: a second Ray would disturb this one's."""
    with started("tests.pipelines.two_nodes", tmp_path) as running:
        status, stdout, stderr = running.end()
    assert status == 0, stderr[-4000:]
    assert "lost a node" in stdout
    assert (tmp_path / "out" / "long.mp4").exists()
