"""Being told to stop: once is enough, and nothing interrupts the tidying up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def stops_interrupt() -> Iterator[None]:
    """Within the block, Ctrl-C, SIGTERM and a closed terminal all raise KeyboardInterrupt."""
    before = {number: signal.signal(number, _interrupt) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_stops() -> None:
    """From now on none of them does anything: what is left to do takes a bounded time and must be done whole."""
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
