"""A proxy in front of the S3 server that notes what was asked for and how much came back."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request and the size of its answer."""

    method: str
    path: str
    has_range: bool
    num_bytes: int


@dataclass(slots=True, kw_only=True)
class Proxy:
    """A running proxy."""

    endpoint: str = ""
    asked: list[Asked] = field(default_factory=list)

    def reads_of(self, path: str) -> list[int]:
        """Sizes of the answers to all reads of the object at ``path``, bucket first."""
        return [one.num_bytes for one in self.asked if (one.method, one.path) == ("GET", path)]


@contextmanager
def proxy_of(endpoint: str) -> Iterator[Proxy]:
    """Serve on a port of its own what ``endpoint`` serves.

    The host header passes unchanged, as it is part of what the client signed.
    """
    proxy = Proxy()
    target = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            passed = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            upstream = http.client.HTTPConnection(target, timeout=60)
            upstream.request(self.command, self.path, body, passed | _length(body, self.command))
            answer = upstream.getresponse()
            content = answer.read()
            proxy.asked.append(
                Asked(
                    method=self.command,
                    path=unquote(urlsplit(self.path).path),
                    has_range="Range" in self.headers,
                    num_bytes=len(content),
                )
            )
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            is_head = self.command == "HEAD"
            length = answer.getheader("Content-Length") if is_head else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)
            upstream.close()

        def log_message(self, *arguments: object) -> None:
            """Say nothing: ``asked`` is the log."""

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.relay)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


def _length(body: bytes, method: str) -> dict[str, str]:
    return {"Content-Length": str(len(body))} if body or method in {"PUT", "POST"} else {}
