"""People are told how a run ended, and the URLs that tell them stay secret."""

import logging
from types import SimpleNamespace

import pytest

from flows.notify import MAX_MESSAGE_LENGTH, message_of, notify
from tests.flows.notices import notices_on

# Of a module that Apprise brings.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

FLOW = SimpleNamespace(name="nightly")
RUN = SimpleNamespace(name="a to b")
FAILED = SimpleNamespace(name="Failed", message="3 of 4 videos failed")


@pytest.fixture(autouse=True)
def heard(caplog):
    """Let caplog hear Prefect's loggers, which do not pass on what they are told."""
    log = logging.getLogger("prefect.vgen.notify")
    log.addHandler(caplog.handler)
    yield
    log.removeHandler(caplog.handler)


def test_every_service_is_told(monkeypatch):
    with notices_on() as one, notices_on() as other:
        monkeypatch.setenv("VGEN_NOTIFY_URLS", f"{one.url} {other.url}")
        notify(FLOW, RUN, FAILED)
        for notices in (one, other):
            (notice,) = notices.received
            assert notice["title"] == "vgen nightly: Failed"
            assert notice["message"] == "a to b: 3 of 4 videos failed"


def test_without_services_nothing_happens(monkeypatch, caplog):
    monkeypatch.delenv("VGEN_NOTIFY_URLS", raising=False)
    notify(FLOW, RUN, FAILED)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://hunter2@host", "entry 1 is no URL that Apprise knows"),
        ("json://hunter2@127.0.0.1:9", "entry 1 could not be notified"),
    ],
)
def test_a_service_that_fails_is_logged_without_its_url(monkeypatch, caplog, url, said):
    monkeypatch.setenv("VGEN_NOTIFY_URLS", url)
    notify(FLOW, RUN, FAILED)
    assert said in caplog.text
    assert "hunter2" not in caplog.text


def test_a_long_message_is_cut():
    state = SimpleNamespace(message="x" * 5000)
    assert len(message_of(RUN, state)) == MAX_MESSAGE_LENGTH


def test_a_state_without_words_leaves_the_name():
    assert message_of(RUN, SimpleNamespace(message=None)) == "a to b"
