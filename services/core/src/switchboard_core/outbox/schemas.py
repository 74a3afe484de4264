"""What people send and see of mail accounts."""

import re
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from switchboard_core.outbox.models import Security

_ADDRESS = re.compile(r"[^@\s,;:<>()\[\]\"\\]{1,64}@(?:[^@\s,;:<>()\[\]\"\\.]{1,63}\.)+[^@\s,;:<>()\[\]\"\\.]{2,63}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)


def require_address(value: str) -> str:
    """An e-mail address as it can stand in an envelope.

    Raises:
        ValueError: it is none.
    """
    domain = value.rpartition("@")[2]
    try:
        labels = domain.encode("idna").decode().split(".")
    except UnicodeError:
        labels = [""]
    if not (value.isprintable() and _ADDRESS.fullmatch(value) and all(_LABEL.fullmatch(label) for label in labels)):
        msg = "is not an e-mail address"
        raise ValueError(msg)
    return value


def _one_line(value: str) -> str:
    if not value.isprintable():
        msg = "may hold no line break and no other character that cannot be seen"
        raise ValueError(msg)
    return value


def _plain_local_part(value: str) -> str:
    if not value.rpartition("@")[0].isascii():
        msg = "may hold ASCII characters only before the @"
        raise ValueError(msg)
    return value


EmailAddress = Annotated[str, StringConstraints(strip_whitespace=True, max_length=254), AfterValidator(require_address)]
OwnAddress = Annotated[EmailAddress, AfterValidator(_plain_local_part)]
"""An address that mail comes from: not every server on its way takes letters beyond ASCII before the @."""

OneLine = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_one_line)]
Host = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9._:-]+$", max_length=255)]
Port = Annotated[int, Field(ge=1, le=65535)]
Password = Annotated[SecretStr, Field(min_length=1, max_length=1000)]


class MailArchiveOut(BaseModel):
    """Where blind copies of sent mail can be looked for."""

    address: OwnAddress = Field(description="Gets a blind copy of every mail.", examples=["archive@example.com"])
    host: Host = Field(description="IMAP server of that mailbox.", examples=["imap.example.com"])
    port: Port = Field(993, examples=[993])
    security: Security = Security.TLS
    username: OneLine = Field(max_length=320, examples=["archive@example.com"])
    folder: OneLine = Field("INBOX", max_length=255, description="In which the copies arrive.", examples=["INBOX"])


class MailArchiveIn(MailArchiveOut):
    """Where blind copies of sent mail shall go and be looked for."""

    model_config = ConfigDict(extra="forbid")

    password: Password | None = Field(None, description="Left out: stays what it was.", examples=["app-password"])


class _Account(BaseModel):
    host: Host = Field(description="SMTP server.", examples=["smtp.example.com"])
    port: Port = Field(587, examples=[587])
    security: Security = Field(
        Security.STARTTLS, description="`tls` from the first byte (465), `starttls` (587), or `none` (inside only)."
    )
    username: OneLine | None = Field(None, max_length=320, examples=["billing@example.com"])
    from_address: OwnAddress = Field(examples=["billing@example.com"])
    from_name: OneLine | None = Field(None, max_length=200, examples=["Acme Billing"])


class MailAccountIn(_Account):
    """The account that the business's mail leaves from."""

    model_config = ConfigDict(extra="forbid")

    password: Password | None = Field(
        None,
        description="Left out: stays what it was, as long as host and user name do.",
        examples=["app-password"],
    )
    archive: MailArchiveIn | None = Field(
        None, description="With one, a mail whose answer was lost can be looked for before it is sent again."
    )

    @model_validator(mode="after")
    def _password_has_a_user(self) -> Self:
        if self.password is not None and self.username is None:
            msg = "a password needs a username."
            raise ValueError(msg)
        return self


class MailAccountOut(_Account):
    """The account that the business's mail leaves from; its passwords are never shown."""

    has_password: bool
    archive: MailArchiveOut | None
    updated_at: datetime


class MailAccountCheck(BaseModel):
    """What came of trying a mail account."""

    ok: bool = Field(description="Mail can leave, and the archive, if any, can be looked into.", examples=[True])
    smtp: str = Field(description="What the SMTP server made of it.", examples=["The mail server took the login."])
    archive: str | None = Field(description="What the archive made of it; null: there is none.", examples=[None])
