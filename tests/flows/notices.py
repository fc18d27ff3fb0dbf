"""A service that takes notifications, as Apprise's ``json://`` sends them."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True, kw_only=True)
class Notices:
    """What was sent."""

    url: str = ""
    """For ``VGEN_NOTIFY_URLS``."""
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    """Part of the URL."""
    received: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def notices_on() -> Iterator[Notices]:
    """Collect notifications on a port of their own."""
    notices = Notices()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            notices.received.append(
                json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            )
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # With time to answer: Apprise's own 4 s are too short for a machine that runs tests.
        place = f"127.0.0.1:{server.server_port}/?cto=60&rto=60"
        notices.url = f"json://vgen:{notices.secret}@{place}"
        yield notices
        server.shutdown()
