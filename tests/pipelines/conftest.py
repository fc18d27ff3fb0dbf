"""One embedded Ray for all tests of pipelines, and the command line beside it."""

import contextlib
import dataclasses
import io
import signal
from collections.abc import Iterator

import pytest

from pipelines import cluster as cluster_module
from pipelines.cli import main
from pipelines.cluster import WORKER_ENVIRONMENT, Cluster, Node, connected, start_embedded
from tests.pipelines.processes import Ran, Vgen, ray_environment
from tests.pipelines.proxy import Proxy, proxy_of

NUM_CPUS = 4
CLI_CPUS = 2
"""Of those, what a run of the command line may use: each worker costs seconds of imports."""


@pytest.fixture(scope="session")
def s3_proxy(s3_server) -> Iterator[Proxy]:
    """What stands between the workers and the S3 server of ``s3``, and counts."""
    with proxy_of(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def embedded_ray(s3_server, s3_proxy) -> Iterator[Cluster]:
    """A Ray that all tests share; its workers reach the S3 server through ``s3_proxy``."""
    with pytest.MonkeyPatch.context() as patch, ray_environment() as own:
        for name, value in (WORKER_ENVIRONMENT | own).items():
            patch.setenv(name, value)
        with pytest.MonkeyPatch.context() as only_at_start:
            for name, value in s3_server.environment.items():
                only_at_start.setenv(name, value)
            only_at_start.setenv("AWS_ENDPOINT_URL", s3_proxy.endpoint)
            start_embedded(NUM_CPUS, 256 << 20)
        import ray

        try:
            with connected("local") as cluster:
                yield cluster
        finally:
            ray.shutdown()


@pytest.fixture(scope="session")
def vgen(embedded_ray) -> Iterator[Vgen]:
    """Run the command line in this process, on the shared Ray."""
    before = signal.getsignal(signal.SIGTERM)
    smaller = dataclasses.replace(embedded_ray, nodes=(Node(cpus=CLI_CPUS),), is_embedded=False)

    def run(*arguments: object) -> Ran:
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            status = main([str(one) for one in arguments])
        signal.signal(signal.SIGTERM, before)
        return Ran(status=status, stdout=stdout.getvalue(), stderr=stderr.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_module, "_facts", lambda *, is_embedded: smaller)
        yield run
