"""What a mail server's refusal is about: the recipient, this mail, or the account that sends. Pure.

The reply code alone does not say: 550 is an address that does not exist, a relay that was set up for somebody else, and
a day's quota that is used up. The enhanced status code behind it does (RFC 3463), where there is one.
"""

import re

from switchboard_core.outbox.errors import (
    AddressRefusedError,
    ContentRefusedError,
    NotAllowedError,
    NotSentError,
)

_AUTH_NEEDED = 530
_ADDRESS = re.compile(r"\S+@\S+")
_ENHANCED = re.compile(rb"\s*5\.(\d{1,3})\.(\d{1,3})\b")

_SENDERS = {(1, 7), (1, 8)}
"""X.1 is about addresses; these two are about the sender's."""
_ROUTES = {(4, 1), (4, 4)}
"""The recipient's host does not answer, or its domain has none."""
_QUOTA = (4, 5)
_POLICY = 7


def said(code: int, answer: bytes) -> str:
    """What a server said, in one line and without the addresses that servers like to repeat."""
    text = " ".join(answer.decode("utf-8", "replace").split())
    return f"{code} {_ADDRESS.sub('<address>', text)[:200]}".strip().rstrip(".")


def require_sender(code: int, answer: bytes) -> None:
    """Take in the reply to MAIL. Raises ``NotSentError``."""
    _require_login(code, answer)
    if code >= 500:
        why = f"The mail server does not let this account send from its address ({said(code, answer)})."
        raise NotSentError(why, account_fault=True)
    _require_success(code, answer)


def require_recipient(code: int, answer: bytes) -> None:
    """Take in the reply to RCPT. Raises ``AddressRefusedError``, ``NotAllowedError`` or ``NotSentError``."""
    _require_login(code, answer)
    if code >= 500:
        status = _status(answer)
        if status is None or status in _ROUTES or (status[0] in {1, 2} and status not in _SENDERS):
            raise AddressRefusedError(f"The address was refused: {said(code, answer)}.")
        raise NotAllowedError(f"The mail server does not let this account send there: {said(code, answer)}.")
    _require_success(code, answer)


def refuse_mail(code: int, answer: bytes) -> None:
    """Take in a 5xx to DATA or to the end of a mail. Raises ``ContentRefusedError`` or ``NotAllowedError``."""
    status = _status(answer)
    if status is not None and (status[0] == _POLICY or status == _QUOTA or status in _SENDERS):
        raise NotAllowedError(f"The mail server does not let this account send this mail: {said(code, answer)}.")
    raise ContentRefusedError(f"The mail server does not take this mail: {said(code, answer)}.")


def _status(answer: bytes) -> tuple[int, int] | None:
    """Subject and detail of the enhanced status code, if the answer begins with one."""
    found = _ENHANCED.match(answer)
    return (int(found[1]), int(found[2])) if found else None


def _require_login(code: int, answer: bytes) -> None:
    if code == _AUTH_NEEDED:
        why = f"The mail server wants a login: set user name and password ({said(code, answer)})."
        raise NotSentError(why, account_fault=True)


def _require_success(code: int, answer: bytes) -> None:
    if code // 100 != 2:
        raise NotSentError(f"The mail server does not take it at the moment: {said(code, answer)}.")
