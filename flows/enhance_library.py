"""The flow ``enhance-library``: restore every video of an archive that is not published yet.

    python -m flows.enhance_library SOURCE DESTINATION

does the same as a deployment, without server and cluster: on an embedded Ray, with a Prefect
server that lives as long as the process.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, cast

from cyclopts import Parameter
from prefect import flow
from prefect.logging import get_run_logger
from prefect.states import Completed
from prefect.utilities.annotations import quote

from flows.artifacts import Teller, key_of, publish_report
from flows.budget import Budget, BudgetFlags
from flows.job_server import JobError, job_server
from flows.notify import notify
from flows.program import TooManyFailedError, leave, program, run_program
from flows.ray_jobs import EndedJob
from flows.stages import (
    CHECK_TIMEOUT_S,
    carry_out,
    ray_address,
    retried,
)
from flows.work import enhance_work
from pipelines.cluster import Cluster, Node, idle_cluster
from pipelines.run import Prepared, Request, execute, execute_on, prepare, videos_of
from vgen import storage
from vgen.config import Recipe, load_recipe
from vgen.records import Record, RunReport

REPORT_MARK = "report: "
"""Begins the line in which ``vgen enhance`` says where its page is."""

_RECIPE = Recipe()
_BUDGET = Budget()


class Enhanced(Record):
    """What a flow run returns: where to look, and the counts."""

    run_id: str
    report_uri: str
    page_uri: str
    done: int
    skipped: int
    failed: int


@flow(
    name="enhance-library",
    flow_run_name="{source} to {destination}",
    on_completion=[notify],
    on_failure=[notify],
    on_crashed=[notify],
)
def enhance_library(
    source: str,
    destination: str,
    recipe: Recipe = _RECIPE,
    address: str = "",
    budget: Budget = _BUDGET,
    registry: str = "",
    overwrite: bool = False,
) -> Enhanced:
    """Restore every video under SOURCE that is not published under DESTINATION yet.

    Args:
        source: A folder, s3:// prefix, glob or listing, as for ``vgen enhance``.
        destination: A folder or s3:// prefix outside of it.
        recipe: All settings.
        address: Of a Ray job server (http://head:8265), or of a Ray; empty for what RAY_ADDRESS
            says, else an embedded Ray.
        budget: When to stop.
        registry: Of releases; empty for what VGEN_REGISTRY says.
        overwrite: Replace files in DESTINATION that vgen did not publish.

    Raises:
        ConfigError, ReleaseError: refused before a cluster was asked for anything.
        TooManyFailedError: a larger share of videos failed than the recipe's limits allow.
        BudgetError: the budget is spent.
        JobError, StorageError: infrastructure failed; the next run goes on.
    """
    deadline_s = budget.deadline_s()
    request = Request(
        source=source,
        destination=destination,
        recipe=recipe,
        address=None if job_server(address) else ray_address(address),
        is_overwrite=overwrite,
        registry=registry or None,
    )
    prepared = check(request)
    # Quoted, or Prefect would look for futures in every line of the listing.
    quoted = cast("Prepared", quote(prepared))
    page_uri = settle(quoted)
    if page_uri is None:
        page_uri = enhance(quoted, address, deadline_s)
    report = show(page_uri, prepared.destination)
    enhanced = judge(report, page_uri, recipe.limits.max_failed_share)
    told = f"{enhanced.done} done, {enhanced.skipped} skipped, {enhanced.failed} failed"
    # Callers get the data; Prefect's pages and notifications show the message.
    return cast("Enhanced", Completed(data=enhanced, message=f"{told}; see {page_uri}"))


@retried(timeout_s=CHECK_TIMEOUT_S)
def check(request: Request) -> Prepared:
    """Refuse wrong settings and places that cannot be reached, and list the source."""
    prepared = prepare(request)
    get_run_logger().info("%d sources listed", len(prepared.listing))
    return prepared


@retried(timeout_s=CHECK_TIMEOUT_S)
def settle(prepared: Prepared) -> str | None:
    """Write the report of a run that has nothing to do; return its page, None if there is work.

    What was published on another kind of device than the cluster's counts as done.
    """
    cluster = _settled_on(prepared)
    if cluster is None:
        return None
    log = get_run_logger()
    log.info("nothing to do")
    return execute_on(cluster, prepared, say=log.info).page_uri


@retried("gpu")
def enhance(prepared: Prepared, address: str, deadline_s: float | None) -> str:
    """Do what is to do, here or as a job; return the URI of the run's page."""

    def inline(teller: Teller) -> tuple[str, bool]:
        # Looked at anew: while this waited or was tried before, videos may have been published.
        done = execute(prepare(prepared.request), say=teller, on_progress=teller)
        return done.page_uri, False

    while True:
        page_uri, is_joined = carry_out(
            address,
            deadline_s,
            key=f"progress-{key_of(prepared.destination)}",
            work=lambda: enhance_work(prepared),
            inline=inline,
            collect=lambda job: (_page_of(job), job.is_joined),
        )
        # A job that lived already has listed the source before this run did.
        if not is_joined or _settled_on(prepare(prepared.request)):
            return page_uri


@retried(timeout_s=CHECK_TIMEOUT_S)
def show(page_uri: str, destination: str) -> RunReport:
    """Read the report of a run and put it on Prefect's pages."""
    uri = storage.join(storage.parent_of(page_uri), "report.json")
    report = RunReport.model_validate_json(storage.read_bytes(uri))
    publish_report(report, page_uri, destination)
    return report


def judge(report: RunReport, page_uri: str, max_failed_share: float) -> Enhanced:
    """Return the counts of a run.

    Raises:
        TooManyFailedError: a larger share failed than is allowed.
    """
    totals = report.totals
    if totals.failed > max_failed_share * totals.listed:
        raise TooManyFailedError(
            f"{totals.failed} of {totals.listed} videos failed, more than max_failed_share = "
            f"{max_failed_share:g} allows; see {page_uri}"
        )
    return Enhanced(
        run_id=report.run_id,
        report_uri=storage.join(storage.parent_of(page_uri), "report.json"),
        page_uri=page_uri,
        done=totals.done,
        skipped=totals.skipped,
        failed=totals.failed,
    )


def _page_of(job: EndedJob) -> str:
    """Find where a finished job put its page."""
    said = [line.removeprefix("vgen: ") for line in job.log.splitlines()]
    pages = [line.removeprefix(REPORT_MARK) for line in said if line.startswith(REPORT_MARK)]
    if not pages:
        raise JobError(f"job {job.submission_id} ended without a report: {job.last_words}")
    return pages[-1]


def _settled_on(prepared: Prepared) -> Cluster | None:
    """Return a kind of cluster that would have nothing to do, None where each would have."""
    idle = idle_cluster()
    with_gpu = dataclasses.replace(idle, nodes=(Node(cpus=idle.num_cpus, gpus=1),))
    for cluster in (idle, with_gpu):
        if all(video.status != "todo" for video in videos_of(prepared, cluster.device)):
            return cluster
    return None


def main(arguments: list[str] | None = None) -> int:
    """Run the flow once, from the command line; return its exit status."""
    app = program("flows.enhance_library")

    @app.default
    def once(
        source: str,
        destination: str,
        /,
        *,
        recipe: Path | None = None,
        address: str = "",
        registry: str = "",
        overwrite: bool = False,
        budget: BudgetFlags | None = None,
        settings: Annotated[Recipe | None, Parameter(name="*", group="Recipe")] = None,
    ) -> Enhanced:
        """Restore every video under SOURCE that is not published under DESTINATION yet."""
        flags = settings.model_dump(exclude_unset=True) if settings else None
        return enhance_library(
            source=source,
            destination=destination,
            recipe=load_recipe(recipe, flags),
            address=address,
            budget=budget or _BUDGET,
            registry=registry,
            overwrite=overwrite,
        )

    return run_program(app, arguments)


if __name__ == "__main__":
    leave(main())
