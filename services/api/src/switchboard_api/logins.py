"""Logins at servers that tenants name, tried while somebody waits for the answer."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

Found = TypeVar("Found")

AT_ONCE = CapacityLimiter(4)
"""Threads of their own: slow servers make such requests wait for each other, and no other request for them."""


async def tried(login: Callable[[], Found]) -> Found:
    """What a login says that takes its time. No transaction may be open meanwhile."""
    return await to_thread.run_sync(login, limiter=AT_ONCE)
