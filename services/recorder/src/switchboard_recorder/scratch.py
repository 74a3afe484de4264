"""Folders for the files of one stage, and the removal of those whose recorder was killed."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from switchboard_core.logs import get_logger
from switchboard_recorder.download_errors import DiskFullError

log = get_logger(__name__)

# So particular that nobody else's folders begin with it: what does is removed.
PREFIX = "switchboard-recording-"
# A folder is made before it is locked.
_YOUNG_S = 10.0
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone when the block ends.

    Raises:
        DiskFullError: it cannot be made, or what is done in it finds no room.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=PREFIX)
    except OSError as error:
        # Also with no usable temporary folder at all, which is how Python puts it when all that it tries are full.
        raise _unusable(error) from error
    with made as name, _in_use(name):
        try:
            yield Path(name)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise _unusable(error) from error


def clear_abandoned() -> None:
    """Remove the folders of recorders that were killed; those of living ones, on this host too, stay."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            if _abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
                log.info("temporary files of a killed recorder removed", folder=folder.name)


@contextmanager
def _in_use(folder: str) -> Iterator[None]:
    """Hold a lock that ends with this process, however that ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # A file system without locks refuses them to who clears, too.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _abandoned(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # somebody else's, or gone by now
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return time.time() - os.fstat(descriptor).st_mtime > _YOUNG_S
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _unusable(error: OSError) -> DiskFullError:
    return DiskFullError(
        f"Cannot write temporary files ({error.strerror or error}): free some room, or point TMPDIR to a folder with "
        "some."
    )
