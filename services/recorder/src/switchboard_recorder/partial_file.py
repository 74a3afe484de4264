"""What has arrived of a download so far, and how to ask for the rest."""

import contextlib
import errno
import hashlib
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from switchboard_recorder.download_errors import BrokenOffError, DiskError, DiskFullError, NotAudioError

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class PartialFile:
    """A file that grows under a temporary name and takes its own only when it is complete.

    Args:
        target: the name at the end; the temporary one is ``<name>.part`` in the same folder.

    Attributes:
        size: bytes so far.
        content_type: media type of the last answer.
        resumed_from: byte at which the last resumed answer went on; 0 when none was.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f"{target.name}.part")
        self.size = 0
        self.content_type = ""
        self.resumed_from = 0
        self._digest = hashlib.sha256()
        self._etag: str | None = None

    def __enter__(self) -> Self:
        with self._errors_explained():
            self._stream = self._path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A full disk can make even this fail, after the error that matters was raised.
        with contextlib.suppress(OSError):
            self._stream.close()
        self._path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """Checksum of what arrived so far, as hex."""
        return self._digest.hexdigest()

    def append(self, chunk: bytes) -> None:
        """Write what arrived.

        Raises:
            DiskFullError: there is no room.
        """
        with self._errors_explained():
            self._stream.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def complete(self) -> None:
        """Give the file its name.

        Raises:
            DiskFullError: there is no room for the last bytes.
        """
        with self._errors_explained():
            self._stream.close()
            self._path.replace(self._target)

    def restart(self) -> None:
        """Forget what arrived."""
        with self._errors_explained():
            self._stream.seek(0)
            self._stream.truncate()
        self.size = 0
        self.resumed_from = 0
        self._digest = hashlib.sha256()
        self._etag = None

    def resume_headers(self) -> dict[str, str]:
        """Headers that ask for the rest of the same version, or for all of another one."""
        if self.size and self._etag:
            return {"Range": f"bytes={self.size}-", "If-Range": self._etag}
        return {}

    def begin(self, response: httpx.Response) -> int | None:
        """Check an answer's headers, start again unless it goes on where we are; return the recording's full size.

        Raises:
            NotAudioError: it is not audio.
            BrokenOffError: it goes on somewhere else.
        """
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = response.headers.get("content-encoding", "identity")
        if not content_type.startswith("audio/") or encoding != "identity":
            msg = f"The carrier sent {content_type or 'something without a type'} ({encoding}) instead of audio."
            raise NotAudioError(msg)
        self.content_type = content_type
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            return self._continue(response)
        self.restart()
        # A weak tag does not promise the same bytes, so it cannot join two halves.
        etag = response.headers.get("etag", "")
        self._etag = etag if etag.startswith('"') else None
        length = response.headers.get("content-length", "")
        return int(length) if length.isdecimal() else None

    def _continue(self, response: httpx.Response) -> int | None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        etag = response.headers.get("etag", self._etag)
        if match is None or int(match[1]) != self.size or etag != self._etag:
            self.restart()
            msg = "The carrier went on at another place than asked; the download starts again."
            raise BrokenOffError(msg)
        self.resumed_from = self.size
        return None if match[2] == "*" else int(match[2])

    @contextlib.contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                msg = f"The disk of {self._target.parent} is full: free some room or give the recorder a larger one."
                raise DiskFullError(msg) from error
            msg = f"Cannot write {self._target} ({error.strerror or error}): check that its folder exists."
            raise DiskError(msg) from error
