"""What people send and see of mailboxes."""

import re
from datetime import datetime
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    StringConstraints,
    model_validator,
)

from switchboard_core.mailbox.states import MailboxAuth, Security

MAX_RULES = 100
DEFAULT_PORTS = {Security.TLS: 993, Security.STARTTLS: 143, Security.NONE: 143}

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _printable(value: str) -> str:
    if _CONTROL.search(value):
        msg = "must have no control characters"
        raise ValueError(msg)
    return value


def _folder(value: str) -> str:
    _printable(value)
    if any(not level.strip() for level in value.split("/")):
        msg = "must be a folder's name, with / between levels and something between two /"
        raise ValueError(msg)
    if set("*%") & set(value):
        msg = "must not have * or %, which stand for many folders in IMAP"
        raise ValueError(msg)
    return "INBOX" if value.upper() == "INBOX" else value


def _token_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.username:
        msg = "must be the URL of the provider's token endpoint, such as https://login.example.com/oauth2/token"
        raise ValueError(msg)
    return value


Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_printable)
]
Host = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\s/@:]{1,255}$|^[0-9A-Fa-f:.]{2,45}$")]
FolderName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), AfterValidator(_folder)
]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=4000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PasswordLogin(_Strict):
    """Log in with a password."""

    kind: Literal["password"] = "password"
    password: Secret = Field(examples=["correct horse battery staple"])


class OAuth2Login(_Strict):
    """Log in with access tokens (XOAUTH2), which are fetched anew from the provider before they end."""

    kind: Literal["oauth2"]
    token_url: Annotated[str, StringConstraints(max_length=500), AfterValidator(_token_url)] = Field(
        examples=["https://login.example.com/oauth2/token"]
    )
    client_id: Line = Field(examples=["switchboard"])
    client_secret: Secret | None = Field(None, description="Left out for a public client.")
    refresh_token: Secret = Field(description="From the provider, once the mailbox's owner has agreed.")


Login = Annotated[PasswordLogin | OAuth2Login, Field(discriminator="kind")]


class MailboxOrder(_Strict):
    """A mailbox to connect."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "name": "Office",
                "host": "imap.example.com",
                "security": "tls",
                "username": "office@example.com",
                "login": {"kind": "password", "password": "correct horse battery staple"},
            }
        },
    )

    name: Line | None = Field(None, description="For people; by default the user name.")
    host: Host = Field(description="IMAP server.")
    port: int | None = Field(None, ge=1, le=65535, description="By default 993 with TLS, otherwise 143.")
    security: Security = Field(Security.TLS, description="`none` only for hosts that the installation trusts.")
    username: Annotated[str, StringConstraints(min_length=1, max_length=320), AfterValidator(_printable)]
    login: Login
    folder: FolderName = Field("INBOX", description="What is sorted.")

    @property
    def resolved_port(self) -> int:
        """The port to connect to."""
        return self.port or DEFAULT_PORTS[self.security]


class RuleMatch(_Strict):
    """What a message must be like: all of what is given. Texts are found anywhere in the field, whatever their case."""

    sender: Line | None = Field(None, description="In From, name or address.", examples=["billing@example.com"])
    recipient: Line | None = Field(None, description="In To or Cc.")
    subject: Line | None = Field(None, examples=["invoice"])
    list_id: Line | None = Field(None, description="In List-Id, which mailing lists set.")
    has_attachment: bool | None = None
    older_than_days: int | None = Field(None, ge=1, le=36_500, description="Arrived longer ago than so many days.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            fields = ", ".join(type(self).model_fields)
            msg = f"a rule that matches everything is not allowed: give one of {fields}"
            raise ValueError(msg)
        return self


class RuleAction(_Strict):
    """What happens to a message."""

    move_to: FolderName | None = Field(None, description="Made where it does not exist.", examples=["Receipts"])
    mark_seen: bool = Field(default=False, description="Mark it as read.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.move_to is None and not self.mark_seen:
            msg = "a rule must do something: give move_to or mark_seen"
            raise ValueError(msg)
        return self


class Rule(_Strict):
    """One rule."""

    name: Annotated[Line, StringConstraints(max_length=100)] = Field(examples=["Invoices"])
    match: RuleMatch
    action: RuleAction


_RULES_EXAMPLE: list[JsonValue] = [
    {
        "name": "Invoices",
        "match": {"subject": "invoice", "has_attachment": True},
        "action": {"move_to": "Receipts", "mark_seen": True},
    },
    {
        "name": "Newsletters",
        "match": {"list_id": "news.example.com", "older_than_days": 14},
        "action": {"move_to": "Newsletters/Old"},
    },
]


class Rules(_Strict):
    """Rules in their order: the first that matches decides."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"rules": _RULES_EXAMPLE}},
    )

    rules: list[Rule] = Field(max_length=MAX_RULES)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [rule.name for rule in self.rules]
        if twice := next((name for name in names if names.count(name) > 1), None):
            msg = f"two rules are called {twice!r}: give each a name of its own"
            raise ValueError(msg)
        return self


class MailboxOut(BaseModel):
    """A connected mailbox. What opens it is never shown."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 4,
                "name": "Office",
                "host": "imap.example.com",
                "port": 993,
                "security": "tls",
                "username": "office@example.com",
                "auth": "password",
                "folder": "INBOX",
                "rules": _RULES_EXAMPLE,
                "created_at": "2026-01-26T11:05:20Z",
                "updated_at": "2026-01-26T11:05:20Z",
            }
        }
    )

    id: int
    name: str
    host: str
    port: int
    security: Security
    username: str
    auth: MailboxAuth
    folder: str
    rules: list[Rule]
    created_at: datetime
    updated_at: datetime
