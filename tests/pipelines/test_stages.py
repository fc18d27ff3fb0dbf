"""Stage clocks charge what runs; read-ahead threads hand on items, errors and closing."""

import threading

import pytest

from pipelines.stages import StageClock, read_ahead


class Ticker:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_nested_stages_are_charged_for_their_own_time_only():
    ticker = Ticker()
    clock = StageClock(ticker)

    def decode():
        for n in range(3):
            ticker.now += 1
            yield n

    def enhance(frames):
        for frame in frames:
            ticker.now += 10
            yield frame

    clock.switch("encode")
    for _ in clock.metered("enhance", enhance(clock.metered("decode", decode()))):
        ticker.now += 100
    clock.switch(None)
    assert dict(clock.seconds) == {"decode": 3, "enhance": 30, "encode": 300}


def test_an_error_returns_the_clock_to_the_stage_that_pulled():
    ticker = Ticker()
    clock = StageClock(ticker)

    def broken():
        ticker.now += 1
        raise ValueError("broken")
        yield

    clock.switch("encode")
    with pytest.raises(ValueError, match="broken"):
        next(clock.metered("decode", broken()))
    ticker.now += 5
    clock.switch(None)
    assert dict(clock.seconds) == {"decode": 1, "encode": 5}


def test_read_ahead_yields_everything_in_order():
    assert list(read_ahead(iter(range(100)), 3)) == list(range(100))


def test_read_ahead_raises_the_producers_error_after_its_items():
    def items():
        yield 1
        raise ValueError("torn")

    ahead = read_ahead(items(), 4)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="torn"):
        next(ahead)


def test_read_ahead_never_runs_further_ahead_than_its_depth():
    made = []

    def items():
        for n in range(50):
            made.append(n)
            yield n

    ahead = read_ahead(items(), 2)
    for taken, _ in enumerate(ahead, 1):
        # Two wait in the queue, one is in the producer's hand.
        assert len(made) <= taken + 3


def test_closing_read_ahead_ends_its_thread_and_closes_the_source():
    closed = threading.Event()

    def items():
        try:
            yield from range(1000)
        finally:
            closed.set()

    ahead = read_ahead(items(), 2)
    next(ahead)
    ahead.close()
    assert closed.is_set()
    assert not [t for t in threading.enumerate() if t.name == "read-ahead"]
