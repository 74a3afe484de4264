"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable


def await_true(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Wait until ``condition`` holds.

    Args:
        condition: looked at again and again.
        what: what it stands for, in words.
        timeout: seconds.

    Raises:
        AssertionError: it did not come to hold in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(0.02)
