"""What people send and see of users, payments and receipts."""

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints, model_validator

from switchboard_core.outbox.schemas import EmailAddress, OneLine
from switchboard_core.outbox.states import MessageState
from switchboard_core.receipts.money import decimals_of, require_amount
from switchboard_core.receipts.template import DEFAULT_BODY, DEFAULT_SUBJECT, MAX_BODY_CHARS, MAX_SUBJECT_CHARS

LARGEST_ID = 2**63 - 1

Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
Amount = Annotated[Decimal, PlainSerializer(str, return_type=str)]


class UserIn(BaseModel):
    """A customer who pays and gets receipts."""

    model_config = ConfigDict(extra="forbid")

    name: OneLine = Field(max_length=200, examples=["Ada Moreno"])
    email: EmailAddress = Field(examples=["ada@example.com"])


class UserOut(BaseModel):
    """A customer who pays and gets receipts."""

    id: int = Field(examples=[1])
    name: str = Field(examples=["Ada Moreno"])
    email: str = Field(examples=["ada@example.com"])
    created_at: datetime


class PaymentIn(BaseModel):
    """Money that a user has paid."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id = Field(examples=[1])
    amount: Decimal = Field(
        gt=0, max_digits=15, decimal_places=3, description="In the currency, not in cents.", examples=["49.90"]
    )
    currency: Currency = Field(description="ISO 4217.", examples=["EUR"])
    description: OneLine = Field(max_length=500, examples=["Subscription, January"])
    reference: OneLine | None = Field(None, max_length=100, description="Your own number.", examples=["INV-2026-0007"])
    paid_at: AwareDatetime = Field(examples=["2026-01-26T11:05:20Z"])

    @model_validator(mode="after")
    def _amount_exists(self) -> Self:
        require_amount(self.amount, self.currency)
        return self


class PaymentOut(BaseModel):
    """Money that a user has paid."""

    id: int = Field(examples=[1])
    user_id: int = Field(examples=[1])
    amount: Amount = Field(examples=["49.90"])
    currency: str = Field(examples=["EUR"])
    description: str = Field(examples=["Subscription, January"])
    reference: str | None = Field(examples=["INV-2026-0007"])
    paid_at: datetime
    receipt_id: int | None = Field(description="Its receipt, once there is one.", examples=[1])
    receipt_state: MessageState | None = Field(description="Where the mail with it is.", examples=["sent"])
    created_at: datetime

    @model_validator(mode="after")
    def _as_its_currency_is_written(self) -> Self:
        self.amount = round(self.amount, decimals_of(self.currency))
        return self


class TemplateIn(BaseModel):
    """How receipts look: HTML with Jinja2's `{{ … }}` and `{% if %}`."""

    model_config = ConfigDict(extra="forbid")

    subject: str = Field(min_length=1, max_length=MAX_SUBJECT_CHARS, examples=[DEFAULT_SUBJECT])
    body: str = Field(min_length=1, max_length=MAX_BODY_CHARS, examples=[DEFAULT_BODY])


class TemplateOut(BaseModel):
    """How receipts look."""

    subject: str = Field(examples=[DEFAULT_SUBJECT])
    body: str = Field(examples=[DEFAULT_BODY])
    built_in: bool = Field(description="Nothing was saved: this is the built-in template.", examples=[True])
    updated_at: datetime | None = Field(examples=[None])


class SendReceipt(BaseModel):
    """Send the receipt of a payment."""

    model_config = ConfigDict(extra="forbid")

    payment_id: Id = Field(examples=[1])


class ReceiptOut(BaseModel):
    """The receipt of a payment, and where the mail with it is."""

    id: int = Field(examples=[1])
    payment_id: int = Field(examples=[1])
    user_id: int = Field(examples=[1])
    subject: str = Field(examples=["Your receipt from Acme (R-000001)"])
    state: MessageState = Field(
        description="`queued`, `sending`, `sent`, `failed`, `bounced`, or `uncertain`: its answer was lost.",
        examples=["sent"],
    )
    reason: str | None = Field(description="Why it is there.", examples=[None])
    message_id: uuid.UUID = Field(description="Left part of the mail's Message-ID.")
    next_try_at: datetime | None = Field(description="While it is queued.", examples=[None])
    sent_at: datetime | None
    created_at: datetime
