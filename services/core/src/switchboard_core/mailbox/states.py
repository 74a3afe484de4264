"""The words of the mailbox domain."""

from enum import StrEnum


class Security(StrEnum):
    """How a connection is protected."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


class MailboxAuth(StrEnum):
    """How to log in."""

    PASSWORD = "password"  # noqa: S105 - the word, not one
    OAUTH2 = "oauth2"


class SortState(StrEnum):
    """How far a sorted message is. ``moving`` is written before anything happens to it."""

    MOVING = "moving"
    MOVED = "moved"
