"""One Prefect server, one worker and one Ray cluster for all tests that need them."""

from collections.abc import Iterator

import pytest
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.stages import GPU_LIMIT
from tests.flows.library import client
from tests.flows.notices import Notices, notices_on
from tests.flows.stand import Stand, answers, wait_for


@pytest.fixture(scope="module")
def notices() -> Iterator[Notices]:
    """A server that collects notifications."""
    with notices_on() as server:
        yield server


@pytest.fixture(scope="module")
def stand(s3_server, notices) -> Iterator[Stand]:
    """Server, cluster and worker, with the deployments of ``deploy/prefect.yaml``.

    This process is a client of all of them, and of the S3 server.
    """
    stand = Stand(s3_server.environment, notices.url)
    try:
        stand.start_server()
        stand.start_ray()
        wait_for(lambda: answers(f"{stand.prefect_url}/api/health"), "the Prefect server")
        wait_for(stand.is_head_up, "the Ray cluster")
        stand.start_node()
        stand.prefect("work-pool", "create", "vgen", "--type", "process")
        stand.prefect("deploy", "--all", "--prefect-file", "deploy/prefect.yaml")
        stand.start_worker()
        wait_for(stand.is_node_up, "the second node")
        wanted = {
            PREFECT_API_URL: stand.prefect_environment["PREFECT_API_URL"],
            PREFECT_HOME: stand.prefect_environment["PREFECT_HOME"],
        }
        with temporary_settings(wanted), pytest.MonkeyPatch.context() as patch:
            for name, value in stand.client_environment.items():
                patch.setenv(name, value)
            with client() as prefect:  # the command `prefect gcl` takes seconds to start
                prefect.create_global_concurrency_limit(
                    GlobalConcurrencyLimitCreate(name=GPU_LIMIT, limit=8)
                )
            yield stand
    finally:
        stand.close()
