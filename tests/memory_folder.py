"""Lets servers of the tests keep their files in memory.

A database for a test is a thousand small files that are made and removed again. On a disk's file system that takes ten
times as long, most of it computing; nothing here has to outlive the machine.
"""

import os
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 6_000_000_000
"""A run of three processes takes less than a third of it."""


def use_memory() -> None:
    """Make temporary folders of this process and of those it starts in memory, unless TMPDIR names another place.

    Folders that pytest keeps to be looked at after a run stay on the disk.
    """
    if "TMPDIR" in os.environ or not _has_room():
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def _has_room() -> bool:
    """There is such a folder, for programs too, and there is memory that it can take."""
    try:
        found = os.statvfs(_MEMORY)
        memory = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    available = next((int(line.split()[1]) * 1024 for line in memory if line.startswith("MemAvailable:")), 0)
    usable = os.access(_MEMORY, os.W_OK) and not found.f_flag & os.ST_NOEXEC
    return usable and min(available, found.f_bavail * found.f_frsize) >= _ROOM_BYTES
