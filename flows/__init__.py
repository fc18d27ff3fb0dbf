"""Prefect flows: runs of vgen on a calendar, on an embedded Ray or as jobs of a Ray cluster."""

import os

# Prefect reads its settings when it is imported, and this package comes first. Starting its
# temporary server takes longer than the 20 s it allows on a machine that is at work.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}.items():
    os.environ.setdefault(_name, _value)
