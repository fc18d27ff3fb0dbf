"""The flow as a command, with no server, cluster or store, and where possible no network."""

import pytest

pytestmark = [pytest.mark.prefect, pytest.mark.ray]


def test_the_command_enhances_and_then_finds_nothing_to_do(offline):
    done, _ = offline.end()
    assert (done["done"], done["skipped"], done["failed"]) == (1, 0, 0)
    assert (offline.destination / "a.mp4").is_file()
    offline.begin()
    done, log = offline.end()
    assert (done["done"], done["skipped"], done["failed"]) == (0, 1, 0)
    assert "nothing to do" in log
