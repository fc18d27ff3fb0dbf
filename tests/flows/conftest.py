"""One Prefect server, one worker and one Ray cluster for all tests that need them."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.context import SyncClientContext
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.stages import GPU_LIMIT
from tests.flows.notices import Notices, notices_on
from tests.flows.offline import Offline
from tests.flows.stand import Stand, wait_for


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
    wanted = {
        PREFECT_API_URL: stand.prefect_environment["PREFECT_API_URL"],
        PREFECT_HOME: stand.prefect_environment["PREFECT_HOME"],
    }
    with ExitStack() as stack:
        stack.callback(stand.close)
        stack.callback(stand.print_logs)
        stand.start_server()
        stand.start_ray()
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in stand.client_environment.items():
            patch.setenv(name, value)
        wait_for(stand.is_server_up, "the Prefect server")
        stack.enter_context(temporary_settings(wanted))
        # One client for all questions: to make one takes time, for the certificates it reads.
        prefect = stack.enter_context(SyncClientContext()).client
        stand.start_worker()
        wait_for(prefect.read_work_pools, "the pool that the worker makes")
        stand.start_deploying("--all")
        wait_for(stand.is_head_up, "the Ray cluster")
        stand.start_node()
        prefect.create_global_concurrency_limit(
            GlobalConcurrencyLimitCreate(name=GPU_LIMIT, limit=8)
        )
        wait_for(stand.is_node_up, "the second node")
        stand.wait_until_deployed()
        yield stand


@pytest.fixture(scope="session")
def offline(media, tmp_path_factory) -> Iterator[Offline]:
    """The command by itself, which begins beside tests that wait more than they work."""
    with closing(Offline(folder=tmp_path_factory.mktemp("offline"))) as machine:
        machine.source.mkdir()
        shutil.copy(media["h264_mp4"], machine.source / "a.mp4")
        machine.begin()
        yield machine
