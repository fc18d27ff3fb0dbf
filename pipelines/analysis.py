"""What was measured of a video before any of its spans, reduced to one small object.

It lies beside the video's chunks, under a key of the same derivation, and goes with them.
"""

from vgen import storage
from vgen.manifest import chunk_prefix
from vgen.records import Curves, Record

NAME = "analysis.json"


class Analysis(Record):
    """The global numbers of one video, and what a report tells of them."""

    plan: str = ""
    """JSON of a ``vgen.post.chain.ChainPlan``, which only who applies it needs to understand;
    empty where no step needs one."""
    notes: tuple[str, ...] = ()
    curves: Curves = Curves()
    cpu_seconds: float = 0.0
    """Spent on measuring, decoding included."""


def analysis_uri(destination: str, work_key: str) -> str:
    """Return where the analysis of the video with that work key lies."""
    return storage.join(chunk_prefix(destination, work_key), NAME)


def read_analysis(destination: str, work_key: str) -> Analysis:
    """Read the analysis of a video that was analyzed.

    Raises:
        StorageError: there is none.
    """
    content = storage.read_bytes(analysis_uri(destination, work_key))
    return Analysis.model_validate_json(content)
