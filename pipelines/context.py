"""What every worker of a run is told once."""

from dataclasses import dataclass
from typing import Literal

from pipelines.cluster import Cluster
from pipelines.release_files import ReleaseRef
from vgen.config import Recipe

Topology = Literal["fused", "staged"]
"""fused: one actor call does a span from source to chunk; staged: an operator a stage."""

STAGED_ROW_BYTES = 96 << 20
"""A staged row carries the pixels of its span through the object store; this many at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The constants of one run; pickled to every worker, so it holds no secret and no handle."""

    run_id: str
    plan_uri: str
    destination: str
    recipe: Recipe
    release: ReleaseRef
    device: str
    """cuda or cpu."""
    is_overwrite: bool = False
    """Replace files that vgen did not publish."""

    @property
    def has_threads(self) -> bool:
        """Whether an actor decodes ahead and encodes behind in threads of its own.

        On a GPU the network leaves the CPU idle. On CPUs there is an actor a core, and a second
        thread in it would only take turns with the first.
        """
        return self.device == "cuda"

    @property
    def decode_threads(self) -> int:
        """Decoder threads of one span."""
        return 2 if self.has_threads else 1


def choose_topology(cluster: Cluster) -> Topology:
    """Fused where all nodes are alike; staged where CPU-only nodes can encode for GPU nodes."""
    return "staged" if cluster.num_gpus and cluster.has_cpu_only_nodes else "fused"
