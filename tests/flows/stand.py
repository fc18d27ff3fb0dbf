"""Real components for the flows: Prefect server and worker, a Ray cluster with its job server.

Each is a process of this test run on loopback, with ports, folders and a database of its own, and
is ended by its id. Secrets are random, so that a search for them finds nothing else.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
PATIENCE_S = 420.0
PORTS = range(20_000, 30_000)
"""Neither Ray's workers take them nor Linux gives them to somebody who asks for any port: one that
is free stays free for the seconds that a server takes to start."""
NODE_CPUS = 1
"""Of each node: every one is an actor of a run, whose process takes seconds to start."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until ``condition`` holds.

    What takes long is asked for more seldom: each answer costs the server tens of milliseconds
    of the CPU time that it is waited for.
    """
    began_s = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - began_s
        assert waited_s < patience_s, f"waited {patience_s:.0f} s for {what}"
        time.sleep(min(1.0, 0.1 + waited_s / 20))


class Stand:
    """All processes of the flow tests, started on demand and ended by id."""

    def __init__(self, s3_environment: dict[str, str], notify_url: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vf"))
        for name in ("r/ray", "p", "scratch"):
            (self.folder / name).mkdir(parents=True)
        self.ray_token = secrets.token_hex(16)
        self.prefect_url = f"http://127.0.0.1:{free_port()}"
        self.ray_url = f"http://127.0.0.1:{free_port()}"
        self.ray_port = free_port()
        self.s3_environment = s3_environment
        self.notify_url = notify_url
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # One for all questions: to make one takes time, for the certificates that it reads.
        self.http = httpx.Client(timeout=120)
        own = {name: value for name, value in os.environ.items() if not is_foreign(name)}
        self.base = own | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.ray_token,
            "RAY_TMPDIR": str(self.folder / "r"),
            "RAY_USAGE_STATS_ENABLED": "0",
            # A node that died is noticed sooner; one that is slow has as long as ever.
            "RAY_health_check_period_ms": "1000",
            "VGEN_SCRATCH": str(self.folder / "scratch"),
        }

    @property
    def leases(self) -> Path:
        """Where the server keeps who holds which slot."""
        return self.folder / "p" / "concurrency_leases"

    @property
    def prefect_environment(self) -> dict[str, str]:
        """What a client of the server needs."""
        return {
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "PREFECT_HOME": str(self.folder / "p"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3",
            "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "1",
            # In memory, as by default, a restart of the server loses leases but not their slots.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
            "PREFECT_SERVER_SERVICES_SCHEDULER_DEPLOYMENT_BATCH_SIZE": "10",
        }

    @property
    def worker_environment(self) -> dict[str, str]:
        """What flows need that submit to the cluster."""
        own = {
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "RAY_ADDRESS": self.ray_url,
            "VGEN_NOTIFY_URLS": self.notify_url,
        }
        return self.s3_environment | self.prefect_environment | own

    @property
    def client_environment(self) -> dict[str, str]:
        """What this process needs to talk to all of them."""
        names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "VGEN_SCRATCH", "PATH")
        return self.s3_environment | {name: self.base[name] for name in names}

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Start a process in a session of its own; its output goes to a file of that name."""
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=self.base | environment,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        """Return the file of a process's output."""
        return self.folder / f"{name}.log"

    def print_logs(self) -> None:
        """Print what the processes said last, for whoever looks at a failure."""
        for path in sorted(self.folder.glob("*.log")):
            print(f"--- {path.name}", path.read_text(errors="replace")[-3000:], sep="\n")

    def start_server(self) -> None:
        """Start the Prefect server, without waiting for it."""
        port = self.prefect_url.rpartition(":")[2]
        self.start(
            "server",
            [
                *_module("prefect"),
                "server",
                "start",
                "--host",
                "127.0.0.1",
                "--port",
                port,
                "--no-ui",
            ],
            self.prefect_environment,
        )

    def start_ray(self) -> None:
        """Start a head node with its job server, without waiting for it."""
        command = [
            RAY, "start", "--head", "--block",
            "--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1",
            "--port", str(self.ray_port), "--dashboard-port", self.ray_url.rpartition(":")[2],
            "--dashboard-agent-listen-port", str(free_port()),
            "--ray-client-server-port", str(free_port()),
            "--num-cpus", str(NODE_CPUS), "--object-store-memory", str(256 << 20),
        ]  # fmt: skip
        self.start("ray", command, self.s3_environment)

    def start_node(self) -> None:
        """Start a second node of the cluster, without waiting for it."""
        # With a folder of its own, as on a machine of its own: two nodes that unpack a job's code
        # into the same place see each other's half-written files.
        command = [
            RAY, "start", "--address", f"127.0.0.1:{self.ray_port}", "--block",
            "--temp-dir", str(self.folder / "n"),
            "--node-ip-address", "127.0.0.1",
            "--dashboard-agent-listen-port", str(free_port()),
            "--num-cpus", str(NODE_CPUS), "--object-store-memory", str(128 << 20),
        ]  # fmt: skip
        self.start("node", command, self.s3_environment)

    def answers(self, url: str) -> bool:
        """Whether an HTTP server answers, if only to refuse."""
        try:
            self.http.get(url, timeout=5)
        except httpx.HTTPError:
            return False
        return True

    def is_server_up(self) -> bool:
        """Whether the Prefect server answers; start it again where it ended by itself."""
        if self.processes["server"].poll() is not None:
            self.start_server()
        return self.answers(f"{self.prefect_url}/api/health")

    def is_head_up(self) -> bool:
        """Whether the job server answers; start it again where Ray gave up, as it does in 30 s."""
        if self.processes["ray"].poll() is not None:
            self.start_ray()
        return self.answers(f"{self.ray_url}/api/version")

    def is_node_up(self) -> bool:
        """Whether both nodes live; start the second one again where it gave up."""
        if self.processes["node"].poll() is not None:
            self.start_node()
        return self.living_nodes() == 2

    def living_nodes(self) -> int:
        """Count the cluster's nodes."""
        listed = self.ask_ray("/nodes?view=summary").json()["data"]["summary"]
        return sum(one["raylet"].get("state") == "ALIVE" for one in listed)

    def ask_ray(self, path: str) -> httpx.Response:
        """Ask the head, as somebody who has the cluster's token."""
        token = {"Authorization": f"Bearer {self.ray_token}"}
        return self.http.get(f"{self.ray_url}{path}", headers=token)

    def start_worker(self) -> None:
        """Start a worker of the work pool ``vgen``."""
        command = [*_module("prefect"), "worker", "start", "--pool", "vgen", "--type", "process"]
        self.start("worker", command, self.worker_environment)

    def start_deploying(self, *which: str) -> None:
        """Start to make deployments of ``deploy/prefect.yaml``, without waiting for it."""
        command = [*_module("prefect"), "--no-prompt", "deploy", *which]
        self.start(
            "deploy", [*command, "--prefect-file", "deploy/prefect.yaml"], self.prefect_environment
        )

    def wait_until_deployed(self) -> None:
        """Wait until the deployments are there."""
        code = self.processes.pop("deploy").wait(timeout=PATIENCE_S)
        assert code == 0, self.log("deploy").read_text()[-3000:]

    def kill(self, name: str) -> None:
        """Kill a process and all that descend from it, as a machine that goes away would."""
        process = self.processes.pop(name)
        family = [psutil.Process(process.pid)] if process.poll() is None else []
        family += [child for one in family for child in one.children(recursive=True)]
        for one in family:
            _send(one, signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)

    def close(self) -> None:
        """End everything."""
        self.http.close()
        for name in list(self.processes):
            self.kill(name)
        for one in psutil.process_iter():  # Ray's own leave the family they are born in
            if self._is_own(one):
                _send(one, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_own(self, process: psutil.Process) -> bool:
        try:
            is_alive = process.status() != psutil.STATUS_ZOMBIE
            own = process.environ().get("RAY_TMPDIR") == self.base["RAY_TMPDIR"]
            return is_alive and own and process.pid != os.getpid()
        except psutil.Error:
            return False


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]


def is_foreign(name: str) -> bool:
    """Whether a variable of the environment would steer what a test starts."""
    return name.startswith(("AWS_", "RAY_", "PREFECT_", "VGEN_"))
