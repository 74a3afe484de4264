"""A service of Switchboard as the fault run starts it: itself, with a clock that is wrong and a disk that gets full.

Both come from the environment, and neither is known to the product: the clock is moved below Python's own functions,
and a write to a full disk is answered by the kernel's own ``/dev/full``.
"""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

CLOCK_VARIABLE = "FAULTS_CLOCK_IS_OFF_BY_SECONDS"
FULL_VARIABLE = "FAULTS_STORE_IS_FULL_WHILE"
"""Path of a file; while it exists, the store has no room."""


def argv(service: str) -> list[str]:
    """The command of a service; the folder of the tests must be on its ``PYTHONPATH``."""
    return [sys.executable, "-m", "faults.service", service]


def _move_the_clock(seconds: float) -> None:
    import time_machine

    time_machine.travel(timedelta(seconds=seconds), tick=True).start()


def _share_the_disk(switch: Path) -> None:
    """Let what the recorder writes into its store go to ``/dev/full`` while the switch is there."""
    from switchboard_recorder import store_file

    really_open: Callable[..., int] = os.open

    class Disk:
        """``os`` as the store sees it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        @staticmethod
        def open(path: Path, flags: int, mode: int = 0o777) -> int:
            descriptor = really_open(path, flags, mode)
            if flags & os.O_CREAT and switch.exists():
                full = really_open("/dev/full", os.O_WRONLY)
                os.dup2(full, descriptor)
                os.close(full)
            return descriptor

    vars(store_file)["os"] = Disk()


def main(service: str) -> None:
    """Run ``api``, ``worker``, ``recorder`` or ``simulator`` until it is stopped."""
    if seconds := float(os.environ.get(CLOCK_VARIABLE, "0")):
        _move_the_clock(seconds)
    if service == "recorder" and (switch := os.environ.get(FULL_VARIABLE)):
        _share_the_disk(Path(switch))
    import_module(f"switchboard_{service}.main").main()


if __name__ == "__main__":
    main(sys.argv[1])
