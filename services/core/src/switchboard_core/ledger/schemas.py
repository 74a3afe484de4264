"""What people send and see of the ledger."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator

from switchboard_core.ledger.states import Collection, ConnectionKind, ConnectionState, TransactionStatus

ERRORS_SHOWN = 1000
_TOKEN_EXAMPLE = "acc_4f1c9a0e"  # noqa: S105 - an example


def _checked_token(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value().strip()
    if not secret or not (secret.isascii() and secret.isprintable()):
        msg = "has to be printable ASCII: check that it was copied whole"
        raise ValueError(msg)
    return SecretStr(secret)


class TokenChange(BaseModel):
    """A new token for a connection."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"token": _TOKEN_EXAMPLE}]})

    token: SecretStr = Field(min_length=1, max_length=4000)

    _token = field_validator("token")(_checked_token)


class NewConnection(BaseModel):
    """Connect an accounting system, or make room for CSV files."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "Books",
                    "kind": "api",
                    "base_url": "https://books.example.com/api/v1",
                    "token": _TOKEN_EXAMPLE,
                },
                {"name": "Old books", "kind": "csv"},
            ]
        },
    )

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
    kind: ConnectionKind
    base_url: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)] | None = Field(
        None, description="Of an api: what `/counterparties` and `/transactions` are put behind."
    )
    token: SecretStr | None = Field(None, min_length=1, max_length=4000, description="Of an api: its bearer token.")

    @field_validator("token")
    @classmethod
    def _token(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else _checked_token(value)

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            sound = False
        if not sound or parts.username is not None or parts.query or parts.fragment:
            msg = "has to be an address such as https://books.example.com/api/v1, without a user, ? or #"
            raise ValueError(msg)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = (self.base_url is not None, self.token is not None)
        if self.kind is ConnectionKind.API and not all(given):
            msg = "a connection of the kind api needs base_url and token."
            raise ValueError(msg)
        if self.kind is ConnectionKind.CSV and any(given):
            msg = "a connection of the kind csv has neither base_url nor token."
            raise ValueError(msg)
        return self


class ConnectionOut(BaseModel):
    """Where documents come from."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 3,
                "name": "Books",
                "kind": "api",
                "base_url": "https://books.example.com/api/v1",
                "state": "ready",
                "reason": None,
                "last_synced_at": "2026-01-26T11:05:20Z",
                "created_at": "2026-01-20T08:00:00Z",
            }
        }
    )

    id: int
    name: str
    kind: ConnectionKind
    base_url: str | None
    state: ConnectionState = Field(description="How the last sync ended.")
    reason: str | None = Field(description="Why the last sync failed, and what to do.")
    last_synced_at: datetime | None = Field(description="When the last sync completed.")
    created_at: datetime


class CounterpartyOut(BaseModel):
    """Somebody whom the business pays or is paid by."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 17,
                "connection_id": 3,
                "external_id": "C-17",
                "name": "Moreno Paper Ltd",
                "email": "books@moreno.example.com",
                "deleted": False,
                "source_version": 4,
                "updated_at": "2026-01-26T11:05:20Z",
            }
        }
    )

    id: int
    connection_id: int
    external_id: str = Field(description="Its id in the accounting system.")
    name: str
    email: str | None
    deleted: bool = Field(description="Deleted in the accounting system.")
    source_version: int = Field(description="Version of the document.")
    updated_at: datetime


class TransactionOut(BaseModel):
    """An entry in the books."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 2041,
                "connection_id": 3,
                "external_id": "T-2041",
                "counterparty_id": 17,
                "amount": "119.9000",
                "currency": "EUR",
                "booked_on": "2026-01-26",
                "status": "posted",
                "description": "Invoice 2041",
                "deleted": False,
                "source_version": 7,
                "updated_at": "2026-01-26T11:05:20Z",
            }
        }
    )

    id: int
    connection_id: int
    external_id: str = Field(description="Its id in the accounting system.")
    counterparty_id: int | None = Field(description="The counterparty here.")
    amount: Decimal = Field(description="Exact, as text.")
    currency: str = Field(description="ISO 4217.")
    booked_on: date
    status: TransactionStatus
    description: str | None
    deleted: bool = Field(description="Deleted in the accounting system.")
    source_version: int = Field(description="Version of the document.")
    updated_at: datetime


class CounterpartyQuery(BaseModel):
    """Which counterparties are listed."""

    model_config = ConfigDict(frozen=True)

    connection_id: int | None = None
    search: str | None = None
    deleted: bool | None = False


class TransactionQuery(BaseModel):
    """Which transactions are listed."""

    model_config = ConfigDict(frozen=True)

    connection_id: int | None = None
    counterparty_id: int | None = None
    status: TransactionStatus | None = None
    currency: str | None = None
    booked_from: date | None = None
    booked_until: date | None = None
    deleted: bool | None = False


class LedgerRowError(BaseModel):
    """What is wrong in a row of a CSV."""

    line: int = Field(description="Where the row begins; the header is line 1.", examples=[17])
    column: str | None = Field(description="The column, if it is one cell's fault.", examples=["amount"])
    message: str = Field(examples=["input should be a valid decimal"])


class LedgerImportReport(BaseModel):
    """What became of the rows of a CSV: ``total = created + updated + deleted + unchanged + rejected``."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "connection_id": 4,
                "collection": "transactions",
                "total": 120,
                "created": 110,
                "updated": 6,
                "deleted": 1,
                "unchanged": 2,
                "rejected": 1,
                "errors": [{"line": 17, "column": "amount", "message": "input should be a valid decimal"}],
            }
        }
    )

    connection_id: int
    collection: Collection
    total: int = Field(description="Rows of the file without its header.")
    created: int
    updated: int
    deleted: int = Field(description="Marked as deleted.")
    unchanged: int = Field(description="No newer than what was known, or in the file again further down.")
    rejected: int = Field(description="Rows with something wrong; the others were written.")
    errors: list[LedgerRowError] = Field(description=f"The first {ERRORS_SHOWN:,}.")
