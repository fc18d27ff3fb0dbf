"""A worker that hangs is ended; one that may take for ever is not."""

import subprocess
import sys

import pytest

from pipelines.outcome import isolated, process_ends_after
from vgen.errors import StorageError, UnforeseenError

HANGS = """
import time
from pipelines.outcome import process_ends_after
with process_ends_after(0.2):
    time.sleep(60)
"""


def test_a_body_that_hangs_ends_its_process_and_says_where():
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr


@pytest.mark.parametrize("seconds", [1e12, float("inf")])
def test_a_limit_may_be_longer_than_any_clock(seconds):
    with process_ends_after(seconds):
        pass


def test_a_mistake_in_the_code_is_a_fault_of_one_file(caplog):
    with (
        pytest.raises(
            UnforeseenError, match="no attribute 'rate'; this is a fault of vgen"
        ) as told,
        isolated("/a/odd.mov"),
    ):
        _ = object().rate
    assert told.value.uri == "/a/odd.mov"
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("error", [StorageError("away"), RuntimeError("CUDA"), OSError("disk")])
def test_what_the_next_file_would_meet_as_well_passes(error):
    with pytest.raises(type(error)) as told, isolated("/a/fine.mov"):
        raise error
    assert told.value is error
