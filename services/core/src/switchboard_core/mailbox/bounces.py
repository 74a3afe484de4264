"""Reading delivery-status reports (RFC 3464). Pure, and it never raises."""

import re
from dataclasses import dataclass

from switchboard_core.mailbox import mime
from switchboard_core.mailbox.mime import Part

STATUS_TYPE = "message/delivery-status"
ORIGINAL_TYPES = ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers")

_STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_ADDRESS = re.compile(r"\S+@\S+")


@dataclass(frozen=True)
class Bounce:
    """A mail that came back for good.

    Attributes:
        message_id: of the mail, with its angle brackets.
        reason: one sentence for people, without an address.
    """

    message_id: str
    reason: str


def report_parts(parts: tuple[Part, ...]) -> tuple[Part, Part] | None:
    """The parts of a report that say what happened and to which mail; None where it is no such report."""
    status = next((part for part in parts if part.content_type == STATUS_TYPE), None)
    original = next((part for part in parts if part.content_type in ORIGINAL_TYPES), None)
    return (status, original) if status is not None and original is not None else None


def bounce_of(status: bytes, original: bytes) -> Bounce | None:
    """What a report says; None where the mail may still arrive, or where it does not say which mail it is about.

    Args:
        status: content of the part ``message/delivery-status``, decoded.
        original: the header of the mail.
    """
    fields = mime.fields_of(status)
    actions = [mime.decode_field(value).lower() for value in fields.get("action", [])]
    message_id = next(filter(None, map(mime.message_id_of, mime.fields_of(original).get("message-id", []))), None)
    if "failed" not in actions or message_id is None:
        return None
    code = next(
        (found[1] for value in fields.get("status", []) if (found := _STATUS.search(mime.decode_text(value)))), ""
    )
    words = mime.decode_field(next(iter(fields.get("diagnostic-code", [])), b"")).partition(";")[2].strip()
    said = _ADDRESS.sub("…", words)[:200].rstrip(". ") or "no reason given"
    return Bounce(message_id, f"It came back{f' ({code})' if code else ''}: {said}.")
