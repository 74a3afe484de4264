"""One uploaded file, as the body itself or in a form, kept on disk while it arrives.

Nothing else is held meanwhile: a client that sends slowly occupies neither memory nor a database connection.
"""

import errno
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from switchboard_api.problems import Problem

FORM_FIELD = "file"
_IN_MEMORY_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Upload:
    """A file that has arrived whole.

    Attributes:
        file: at its start.
        filename: as the client calls it; None where it says nothing.
    """

    file: BinaryIO
    filename: str | None

    def chunks(self) -> Iterator[bytes]:
        """The file from its start, in pieces."""
        self.file.seek(0)
        while chunk := self.file.read(_CHUNK_BYTES):
            yield chunk

    def digest(self) -> bytes:
        """SHA-256 of the file."""
        hashed = hashlib.sha256()
        for chunk in self.chunks():
            hashed.update(chunk)
        return hashed.digest()


@asynccontextmanager
async def received_file(request: Request, raw_types: tuple[str, ...]) -> AsyncIterator[Upload]:
    """The file of a request, removed at the end of the block.

    Args:
        request: its body is limited by ``BodyLimit``.
        raw_types: media types whose body is the file; ``multipart/form-data`` has it in the field ``file``.

    Raises:
        Problem: 415 for other media types, 400 for a broken or interrupted body, 422 without a file, 507 when there
            is no room for it.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data" and media_type not in raw_types:
        detail = f"Send the file as {raw_types[0]}, or in the field `{FORM_FIELD}` of a multipart/form-data form."
        raise Problem(415, "Unsupported media type", detail)
    receive = _from_form if media_type == "multipart/form-data" else _from_body
    async with receive(request) as upload:
        yield upload


@asynccontextmanager
async def _from_form(request: Request) -> AsyncIterator[Upload]:
    with _interruptions():
        form = await request.form(max_files=1, max_fields=4)
    try:
        file = form.get(FORM_FIELD)
        if not isinstance(file, UploadFile):
            message = f"the form has no file in the field `{FORM_FIELD}`"
            errors = [{"field": f"body.{FORM_FIELD}", "message": message}]
            raise Problem(422, "Invalid request", f"body.{FORM_FIELD}: {message}.", errors=errors)
        yield Upload(file.file, file.filename)
    finally:
        await form.close()


@asynccontextmanager
async def _from_body(request: Request) -> AsyncIterator[Upload]:
    with SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
        file = UploadFile(cast("BinaryIO", spool))
        with _interruptions():
            async for chunk in request.stream():
                await file.write(chunk)
        await file.seek(0)
        yield Upload(file.file, None)


@contextmanager
def _interruptions() -> Iterator[None]:
    """What can end an upload halfway, as problems."""
    try:
        yield
    except ClientDisconnect:
        detail = "The upload ended before the file was complete: send it again."
        raise Problem(400, "Upload interrupted", detail) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        detail = "The server has no room for the file at the moment: tell the administrator, or send a smaller one."
        raise Problem(507, "Insufficient storage", detail) from None
