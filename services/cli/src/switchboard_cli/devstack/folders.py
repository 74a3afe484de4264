"""Folders for local servers: where their data may live and whether there is room for it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from switchboard_cli.devstack.errors import DiskFullError

MINIMUM_FREE_BYTES = 500_000_000


def require_free_disk(path: Path, needed_bytes: int = MINIMUM_FREE_BYTES) -> None:
    """Check that the file system of ``path``, which need not exist yet, has room.

    Raises:
        DiskFullError: fewer than ``needed_bytes`` are free.
    """
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise DiskFullError(path, free_bytes, needed_bytes)


@contextmanager
def temporary_folder(prefix: str = "switchboard-") -> Iterator[Path]:
    """A folder for the servers of one run, removed with everything in it at the end.

    Private to its owner. Started by root, PostgreSQL runs as somebody else, so others may then pass through the
    folder (not list it) on the way to what is theirs.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    try:
        if os.geteuid() == 0:
            folder.chmod(0o711)
        yield folder
    finally:
        # A server that is just dying may still unlink its own files.
        shutil.rmtree(folder, ignore_errors=True)
