"""A run on two nodes of which one is lost: ``python -m tests.pipelines.two_nodes FOLDER``."""

import os
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from pipelines.cli import main
from pipelines.cluster import WORKER_ENVIRONMENT
from tests.pipelines.archive import add_long, names_of_spans, outputs_of, spans_of
from tests.pipelines.oracle import shown
from tests.pipelines.processes import PATIENCE_S, chunks_of

STORE_BYTES = 100 << 20


def lose_a_node(folder: Path) -> None:
    """Run on a head and a larger second node, kill the latter after two chunks, and judge."""
    # A node that died is noticed sooner; one that is slow has as long as ever.
    os.environ.update(WORKER_ENVIRONMENT, RAY_health_check_period_ms="1000")
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False,
        },
    )  # fmt: skip
    second = cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
    source, destination = folder / "in", folder / "out"
    add_long(source / "long.mp4", seconds=16, size="256x192")
    is_lost = threading.Event()

    def lose() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while len(chunks_of(destination)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)
        is_lost.set()

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    try:
        status = main([
            "enhance", str(source), str(destination), "--address", cluster.address,
            "--encode.preset", "ultrafast", "--span-frames", "50", "--json",
        ])  # fmt: skip
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert status == 0
    assert is_lost.is_set(), "the run was over before the node was lost"
    assert outputs_of(destination).keys() == {"long.mp4"}
    assert shown(destination / "long.mp4").times_s == shown(source / "long.mp4").times_s
    assert len(set(names_of_spans(destination))) == len(spans_of(destination)) >= 8
    print("lost a node")


if __name__ == "__main__":
    lose_a_node(Path(sys.argv[1]))
