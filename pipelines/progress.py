"""Progress on stderr: a moving line on a terminal, a quiet line now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipelines.wording import duration

QUIET_INTERVAL_S = 10.0


@dataclass(slots=True)
class Progress:
    """Counts of a run and the thread that shows them; use as a context manager."""

    num_videos: int
    num_frames: int
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    say: Callable[[str], None] | None = None
    """Told a line now and then in place of stderr."""
    videos_done: int = 0
    videos_failed: int = 0
    frames_done: int = 0
    frames_reused: int = 0
    frames_given_up: int = 0
    """Of videos that failed: nobody will make them."""
    phase: str = "starting workers"
    _began: float = field(default_factory=time.monotonic)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def add_frames(self, frames: int) -> None:
        """Count frames of a chunk that was finished in this run."""
        self.frames_done += frames
        self.phase = "enhancing"

    def line(self) -> str:
        """Describe the state in one line that stands alone."""
        settled = self.videos_done + self.videos_failed
        parts = [
            f"{settled}/{self.num_videos} videos",
            f"{self.frames_done + self.frames_reused}/{self.num_frames} frames",
        ]
        elapsed = time.monotonic() - self._began
        if self.frames_done:
            rate = self.frames_done / elapsed
            settled_frames = self.frames_done + self.frames_reused + self.frames_given_up
            left = max(0, self.num_frames - settled_frames)
            # Putting chunks together and checking the whole takes a while for a long video.
            is_made = not left and settled < self.num_videos
            parts += [
                f"{rate:.1f} frames/s",
                "assembling" if is_made else f"{duration(left / rate)} left",
            ]
        else:
            parts.append(f"{self.phase}, {duration(elapsed)}")
        if self.videos_failed:
            parts.append(f"{self.videos_failed} failed")
        return ", ".join(parts)

    def _show(self) -> None:
        if self.console.is_terminal and self.say is None:
            with Live(console=self.console, refresh_per_second=4, transient=True) as live:
                while not self._stopped.wait(0.25):
                    live.update(Text(f"vgen: {self.line()}", overflow="ellipsis"))
            return
        say = self.say or _say_on_stderr
        shown = ""
        while not self._stopped.wait(QUIET_INTERVAL_S):
            line = self.line()
            if line != shown:
                say(line)
                shown = line


def _say_on_stderr(line: str) -> None:
    print(f"vgen: {line}", file=sys.stderr, flush=True)  # noqa: T201  progress
