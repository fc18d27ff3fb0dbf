"""Scratch goes with its body, and with its process where that was killed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.scratch import scratch, scratch_root, sweep_scratch


@pytest.fixture(autouse=True)
def own_root(tmp_path, monkeypatch):
    monkeypatch.setenv("VGEN_SCRATCH", str(tmp_path / "scratch"))


def test_a_scratch_folder_is_removed_when_its_body_raises():
    def torn():
        with scratch("span") as folder:
            (folder / "chunk.mp4").write_bytes(b"x")
            raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        torn()
    assert list(scratch_root().iterdir()) == []


def test_threads_of_a_process_do_not_take_each_others_place():
    def use(number: int) -> None:
        for _ in range(50):
            with scratch("span") as folder:
                (folder / str(number)).touch()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert list(scratch_root().iterdir()) == []


def test_the_sweep_takes_what_killed_processes_left_and_nothing_else():
    code = (
        "import os, signal; from pipelines.scratch import scratch\n"
        "with scratch('span') as f:\n"
        "    (f / 'x').write_bytes(b'x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    assert len(list(scratch_root().iterdir())) == 1
    with scratch("mine") as mine:
        sweep_scratch()
        assert mine.exists()
        assert [home.name for home in scratch_root().iterdir()] == [str(os.getpid())]
