"""Notifications of a store: who may send them, and what they say."""

import http.client
import json
import threading

import httpx
import pytest

from flows.webhook import MAX_BODY_BYTES, created_objects, main, server_of


def record(key: str, name: str = "s3:ObjectCreated:Put") -> dict[str, object]:
    return {"eventName": name, "s3": {"bucket": {"name": "b"}, "object": {"key": key}}}


def body(*records: dict[str, object]) -> bytes:
    return json.dumps({"Records": records}).encode()


def test_created_objects_are_named_as_they_are():
    found = created_objects(
        body(
            record("in/a+b%2Fc%2B.mp4"),
            record("in/%C3%BC.mp4", "ObjectCreated:CompleteMultipartUpload"),
            record("in/gone.mp4", "s3:ObjectRemoved:Delete"),
        )
    )
    assert found == ["s3://b/in/a b/c+.mp4", "s3://b/in/\u00fc.mp4"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"Records": [{}]}', b'{"Records": 3}', body(record("../x"))]
)
def test_what_is_no_notification_is_refused(content):
    with pytest.raises(ValueError, match=r"expected a notification|Expecting value"):
        created_objects(content)


@pytest.fixture
def url():
    with server_of(0, "127.0.0.1", "right") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}])
def test_strangers_are_turned_away(url, header):
    assert httpx.post(url, content=body(), headers=header).status_code == 401


def test_what_is_no_notification_gets_a_reason(url):
    answer = httpx.post(url, content=b"{}", headers={"Authorization": "Bearer right"})
    assert answer.status_code == 400
    assert "expected a notification" in answer.json()["error"]


@pytest.mark.parametrize("size", ["", str(MAX_BODY_BYTES + 1), "-1"])
def test_a_body_without_a_decent_size_is_not_read(url, size):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/")
    connection.putheader("Authorization", "Bearer right")
    connection.putheader("Content-Length", size)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_without_a_secret_it_does_not_listen(monkeypatch, capsys):
    monkeypatch.delenv("VGEN_WEBHOOK_TOKEN", raising=False)
    assert main([]) == 2
    assert "set VGEN_WEBHOOK_TOKEN" in capsys.readouterr().err
