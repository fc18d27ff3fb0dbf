"""Starts flows when objects appear: a small HTTP server that takes notifications of S3 stores.

    VGEN_WEBHOOK_TOKEN=... python -m flows.webhook --port 8900

A notification (``s3:ObjectCreated:*``, in the form that AWS, MinIO, Ceph and others send) starts
each deployment with the tag ``on-object`` whose parameter ``source`` holds the object. Objects come
in bursts, so a run begins at the end of a window and there is one a window, whatever came in it;
the run lists its source, so nothing has to be passed on.
"""

import hashlib
import hmac
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment

from flows.program import leave, program, run_program
from pipelines.terminal import say
from vgen import storage
from vgen.errors import ConfigError

TOKEN_VARIABLE = "VGEN_WEBHOOK_TOKEN"  # noqa: S105  the name of the secret, not the secret
TAG = "on-object"
WINDOW_S = 60
MAX_BODY_BYTES = 1 << 20


def created_objects(body: bytes) -> list[str]:
    """Return the URIs of the objects that a notification says were created.

    Raises:
        ValueError: it is not a notification of S3's form.
    """
    try:
        records = json.loads(body)["Records"]
        return [
            storage.normalize_uri(
                f"s3://{one['s3']['bucket']['name']}/{unquote_plus(one['s3']['object']['key'])}"
            )
            for one in records
            if str(one["eventName"]).removeprefix("s3:").startswith("ObjectCreated:")
        ]
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ValueError(f"expected a notification of S3's form: {error!r}") from error


def start_runs(
    uris: Sequence[str], deployments: Sequence[DeploymentResponse], *, now_s: float
) -> list[str]:
    """Start the deployments whose source holds one of ``uris``; return their names.

    Args:
        uris: Of new objects.
        deployments: That may be started.
        now_s: Seconds since the epoch.
    """
    window = int(now_s // WINDOW_S) + 1
    started = []
    for deployment in deployments:
        source = str(deployment.parameters.get("source", ""))
        if not source or not any(
            storage.contains(storage.normalize_uri(source), uri) for uri in uris
        ):
            continue
        name = f"{deployment.id}/{window}"
        run_deployment(
            deployment.id,
            timeout=0,
            scheduled_time=datetime.fromtimestamp(window * WINDOW_S, UTC),
            idempotency_key=hashlib.sha256(name.encode()).hexdigest(),
        )
        started.append(deployment.name)
    return started


def server_of(port: int, host: str, token: str) -> ThreadingHTTPServer:
    """Return a server that is ready to ``serve_forever``; requests need ``token`` as bearer."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_POST(self) -> None:
            given = self.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                self._answer(401, {"error": "wrong or missing token"})
                return
            size = self.headers.get("Content-Length", "")
            if not size.isdigit() or int(size) > MAX_BODY_BYTES:
                self._answer(413, {"error": f"need a body of at most {MAX_BODY_BYTES} bytes"})
                return
            try:
                uris = created_objects(self.rfile.read(int(size)))
            except ValueError as error:
                self._answer(400, {"error": str(error)})
                return
            started = start_runs(uris, _deployments(), now_s=time.time())
            say(f"{len(uris)} new objects, started: {', '.join(started) or 'nothing'}")
            self._answer(200, {"objects": len(uris), "started": started})

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
            """Log no requests: what matters is said above."""

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return ThreadingHTTPServer((host, port), Handler)


def _deployments() -> list[DeploymentResponse]:
    wanted = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    with get_client(sync_client=True) as client:
        return client.read_deployments(deployment_filter=wanted)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return the exit status."""
    app = program("flows.webhook")

    @app.default
    def once(*, port: int = 8900, host: str = "127.0.0.1") -> None:
        """Start flows when a store tells of new objects; put TLS in front where it is reachable."""
        token = os.environ.get(TOKEN_VARIABLE, "")
        if not token:
            raise ConfigError(f"set {TOKEN_VARIABLE} to the secret that the store sends as bearer")
        with server_of(port, host, token) as server:
            say(f"listening on {host}:{server.server_port}")
            server.serve_forever()

    return run_program(app, list(arguments) if arguments is not None else None)


if __name__ == "__main__":
    leave(main())
