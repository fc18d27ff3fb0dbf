"""Tells people how a flow ended, through any service that Apprise knows.

``VGEN_NOTIFY_URLS`` holds the services' URLs, apart by spaces. They hold tokens, and so appear in
no parameter, log or message.
"""

import logging
import os
from typing import TYPE_CHECKING

from prefect.logging import get_logger

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

URLS_VARIABLE = "VGEN_NOTIFY_URLS"
MAX_MESSAGE_LENGTH = 1000


def notify(flow: "Flow[..., object]", flow_run: "FlowRun", state: "State[object]") -> None:
    """Send how a run ended to every service; a hook of the flows, which Prefect calls by name.

    A service that cannot be reached is logged: it must not change how the run ended.
    """
    urls = os.environ.get(URLS_VARIABLE, "").split()
    if not urls:
        return
    import apprise

    logging.getLogger("apprise").disabled = True  # it repeats a URL that it cannot read
    log = get_logger("vgen.notify")
    for number, url in enumerate(urls, start=1):
        service = apprise.Apprise()
        if not service.add(url):
            log.warning("%s: entry %d is no URL that Apprise knows", URLS_VARIABLE, number)
            continue
        title, body = f"vgen {flow.name}: {state.name}", message_of(flow_run, state)
        if not service.notify(title=title, body=body):
            log.warning("%s: entry %d could not be notified", URLS_VARIABLE, number)


def message_of(flow_run: "FlowRun", state: "State[object]") -> str:
    """Return one paragraph about a run that ended."""
    return ": ".join(filter(None, (flow_run.name, state.message)))[:MAX_MESSAGE_LENGTH]
