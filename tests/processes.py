"""Waiting for processes that are not children of the test."""

import os
import select
import time
from collections.abc import Iterable
from contextlib import suppress


def wait_until_gone(pids: Iterable[int], timeout: float = 10.0) -> None:
    """Wait until every process ended (Linux).

    Args:
        pids: process ids, of this process's children or of anybody's.
        timeout: seconds for all of them together.

    Raises:
        AssertionError: one still runs.
    """
    deadline = time.monotonic() + timeout
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                remaining = max(0.0, deadline - time.monotonic())
                ended, _, _ = select.select([descriptor], [], [], remaining)
            finally:
                os.close(descriptor)
            assert ended, f"process {pid} still runs after {timeout:g} s"
