"""Recordings in a folder of a local or mounted disk."""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from switchboard_recorder.store import (
    MIN_FREE_BYTES,
    ObjectMissingError,
    StoredObject,
    StoreError,
    StoreFullError,
    StoreIntegrityError,
    StoreMisconfiguredError,
    StoreUnavailableError,
    validate_key,
)

_CHUNK = 1024 * 1024
_STAGING = ".staging"
# A write that has not moved for so long belongs to a process that was killed.
_ABANDONED_AFTER_S = 3600.0
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class FileStore:
    """Objects as files below one folder, written so that a crash leaves the whole file or none.

    A file is first written to ``.staging`` below the same folder (which no key can name), flushed to the disk, and
    renamed into place.

    Args:
        root: the folder; it is made when the first object is stored.
        min_free_bytes: with less room than this on the disk the store counts as full.
    """

    def __init__(self, root: Path, *, min_free_bytes: int = MIN_FREE_BYTES) -> None:
        self._root = root
        self._staging = root / _STAGING
        self._min_free_bytes = min_free_bytes

    def put(self, key: str, source: Path, content_type: str, sha256: str) -> StoredObject:  # noqa: ARG002
        """Store a file, see ``RecordingStore.put``; the content type follows from the key's suffix here."""
        target = self._path(key)
        with self._explained(f"store {key}"):
            size = source.stat().st_size
            if not self._has(target, size, sha256):
                self._write(source, target, sha256)
        return StoredObject(url=target.as_uri(), size=size, sha256=sha256)

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading, see ``RecordingStore.open``."""
        with self._explained(f"read {key}"):
            try:
                return self._path(key).open("rb")
            except FileNotFoundError:
                msg = f"There is no recording {key} in {self._root}; it may have been deleted after its retention."
                raise ObjectMissingError(msg) from None

    def exists(self, key: str) -> bool:
        """Tell whether there is such an object."""
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is fine."""
        with self._explained(f"delete {key}"):
            self._path(key).unlink(missing_ok=True)

    def healthy(self) -> None:
        """Write and remove a probe, check the room left, and clear what killed processes left behind."""
        with self._explained("write"):
            self._staging.mkdir(mode=0o750, parents=True, exist_ok=True)
            probe = self._staging / f"{secrets.token_hex(8)}.probe"
            probe.write_bytes(b"switchboard")
            probe.unlink()
            self._clear_abandoned()
            free = shutil.disk_usage(self._root).free
        if free < self._min_free_bytes:
            msg = (
                f"The disk of {self._root} has {free // 2**20} MiB left, less than the {self._min_free_bytes // 2**20} "
                "MiB kept free: free some room or give it a larger disk."
            )
            raise StoreFullError(msg)

    def _path(self, key: str) -> Path:
        path = self._root / validate_key(key)
        # The key is clean; this holds even when somebody put a symbolic link below the folder.
        if not path.resolve().is_relative_to(self._root.resolve()):
            msg = f"The key {key} leads out of {self._root} through a symbolic link: remove that link."
            raise StoreMisconfiguredError(msg)
        return path

    def _has(self, target: Path, size: int, sha256: str) -> bool:
        try:
            with target.open("rb") as existing:
                same_size = os.fstat(existing.fileno()).st_size == size
                return same_size and hashlib.file_digest(existing, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            return False

    def _write(self, source: Path, target: Path, sha256: str) -> None:
        self._staging.mkdir(mode=0o750, parents=True, exist_ok=True)
        staged = self._staging / f"{secrets.token_hex(8)}.part"
        try:
            if _copy(source, staged) != sha256:
                msg = f"{source.name} changed between its download and its storing: download it again."
                raise StoreIntegrityError(msg)
            target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)
        # Without these the name may be gone after a power cut although the content was flushed.
        for folder in (target.parent, *target.parent.parents):
            _flush_folder(folder)
            if folder == self._root:
                break

    def _clear_abandoned(self) -> None:
        oldest = time.time() - _ABANDONED_AFTER_S
        for path in self._staging.iterdir():
            # Another recorder may clear the same file at the same moment.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    @contextlib.contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        """Turn errors of the operating system into sentences that say what to do."""
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            if error.errno in _NO_ROOM:
                msg = f"Cannot {action}: the disk of {self._root} is full; free some room or give it a larger disk."
                raise StoreFullError(msg) from error
            reason = error.strerror or type(error).__name__
            msg = f"Cannot {action} in {self._root} ({reason}): check that the folder is mounted and writable."
            raise StoreUnavailableError(msg) from error


def _copy(source: Path, target: Path) -> str:
    """Copy a file, flush it to the disk and return the sha256 of what was written."""
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
