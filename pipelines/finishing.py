"""Post-processing as workers find it: a video's analysis and the run's table, made into a chain."""

import functools
from typing import TYPE_CHECKING

from pipelines.analysis import read_analysis
from pipelines.context import RunContext
from pipelines.jobs import VideoJob
from vgen import storage
from vgen.post.fit import fitting
from vgen.post_options import PostSettings
from vgen.records import point_stride

if TYPE_CHECKING:
    from vgen.enhance.finish import Finish
    from vgen.post.lut import Lut


def finish_of(job: VideoJob, context: RunContext) -> "Finish | None":
    """Return the post-processing of a span of ``job``; None where the recipe asks for none.

    Raises:
        StorageError: the video was not analyzed, or the run's table is gone.
    """
    settings, _ = fitting(context.recipe.post, job.info.video)
    if not settings.steps:
        return None
    # The driver imports this module too, and should not pay for torch.
    from vgen.enhance.finish import Finish
    from vgen.post.chain import Chain, ChainPlan

    plan = ChainPlan()
    if settings.needs.frames:
        plan = ChainPlan.model_validate_json(_plan_of(context.destination, job.work_key))
    return Finish(
        chain=Chain(settings, plan, lut=_lut(settings, context)),
        stride=point_stride(job.info.num_frames),
    )


@functools.lru_cache(maxsize=1)
def _plan_of(destination: str, work_key: str) -> str:
    # Once a video and worker, not once a span: of a long film it is some megabytes.
    return read_analysis(destination, work_key).plan


def _lut(settings: PostSettings, context: RunContext) -> "Lut | None":
    if "color" not in settings.steps or settings.color.lut is None:
        return None
    return _parsed(context.lut_uri, settings.color.lut)


@functools.lru_cache(maxsize=1)
def _parsed(lut_uri: str, named: str) -> "Lut":
    from vgen.post.lut import parse_cube

    return parse_cube(storage.read_bytes(lut_uri).decode("utf-8-sig", errors="replace"), uri=named)
