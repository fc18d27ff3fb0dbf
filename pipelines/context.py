"""What every worker of a run is told once."""

from dataclasses import dataclass, field
from typing import Literal

from pipelines.cluster import Cluster
from pipelines.post_files import PostFiles
from pipelines.release_files import ReleaseRef
from vgen import storage
from vgen.config import Recipe
from vgen.manifest import run_uri

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
    post_files: PostFiles = field(default_factory=PostFiles)
    """Read on the driver; its table lies at ``lut_uri``."""

    @property
    def lut_uri(self) -> str:
        """Where the recipe's look-up table lies, if it names one."""
        return storage.join(run_uri(self.destination, self.run_id), "post.cube")

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
