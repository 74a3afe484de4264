"""Bytes of a recording, whole or from where an interrupted download stopped."""

import re
from dataclasses import dataclass
from http import HTTPStatus

MEDIA_TYPES = {"wav": "audio/x-wav", "mp3": "audio/mpeg"}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Part:
    """An answer to a request for bytes."""

    status: HTTPStatus
    content: bytes
    headers: dict[str, str]


def cut(content: bytes, requested: str | None) -> Part:
    """Return what a ``Range`` header asks for.

    Args:
        content: all bytes.
        requested: value of the header; one range of bytes is understood, anything else gets the whole.
    """
    found = _RANGE.fullmatch(requested.strip()) if requested else None
    if found is None or found.groups() == ("", ""):
        return Part(HTTPStatus.OK, content, {"Accept-Ranges": "bytes"})
    first_text, last_text = found.groups()
    if first_text:
        first = int(first_text)
        last = min(int(last_text), len(content) - 1) if last_text else len(content) - 1
    else:
        first, last = max(len(content) - int(last_text), 0), len(content) - 1
    if first > last:
        unsatisfied = {"Accept-Ranges": "bytes", "Content-Range": f"bytes */{len(content)}"}
        return Part(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", unsatisfied)
    headers = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{last}/{len(content)}"}
    return Part(HTTPStatus.PARTIAL_CONTENT, content[first : last + 1], headers)
