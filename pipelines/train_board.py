"""How the driver of a training run hears of its workers; without torch, which is slow to load."""

from vgen.errors import VgenError
from vgen.training.news import News


class Board:
    """An actor beside the workers, where they pin what the driver is to know."""

    def __init__(self) -> None:
        self._news: list[News] = []
        self._fault: VgenError | None = None

    def tell(self, news: News) -> None:
        """Keep news until the driver takes it."""
        self._news.append(news)

    def take(self) -> list[News]:
        """Return what was told since the last time."""
        taken, self._news = self._news, []
        return taken

    def fail(self, fault: VgenError) -> None:
        """Keep the first reason why going on is of no use."""
        self._fault = self._fault or fault

    def fault(self) -> VgenError | None:
        """Return that reason, if there is one."""
        return self._fault
