"""What people send and see of broadcasts and opt-outs."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from switchboard_core.broadcasts.models import OptOut
from switchboard_core.broadcasts.sms import LONGEST_SMS
from switchboard_core.broadcasts.states import SkipReason
from switchboard_core.broadcasts.template import TemplateError, check
from switchboard_core.jobs.states import JobStatus
from switchboard_core.leads.filters import LeadFilter
from switchboard_core.outbox.states import Channel, MessageState
from switchboard_core.tenancy.schemas import Name, PhoneNumber

LONGEST_MAIL = 100_000
MAX_ADDRESSES = 1000

Template = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\x00]*$")]


class BroadcastContent(BaseModel):
    """What a broadcast says, and to whom."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "channel": "sms",
                    "body": "Hello {first_name|there}, your check-up is due. Reply STOP to opt out.",
                    "filter": {"tags": ["spring"]},
                }
            ]
        },
    )

    channel: Channel
    subject: Annotated[Template, Field(max_length=500, pattern=r"^[^\r\n\x00]*$")] | None = Field(
        None, description="Of an e-mail; a template like the body."
    )
    body: Template = Field(
        max_length=LONGEST_MAIL,
        description="A template: `{name}`, `{first_name}`, `{phone}`, `{email}`, `{attr_…}`, each with a fallback as "
        "in `{name|there}`. A brace in the text is doubled.",
    )
    filter: LeadFilter

    @field_validator("subject", "body")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                check(value)
            except TemplateError as error:
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _fits_its_channel(self) -> Self:
        if self.channel is Channel.SMS:
            if self.subject is not None:
                msg = "an SMS has no subject: leave it out."
                raise ValueError(msg)
            if len(self.body) > LONGEST_SMS:
                msg = f"an SMS has {LONGEST_SMS} characters at most; this body has {len(self.body)}."
                raise ValueError(msg)
        elif self.subject is None:
            msg = "an e-mail needs a subject."
            raise ValueError(msg)
        return self


class BroadcastCreate(BroadcastContent):
    """A broadcast to start."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "name": "Spring check-up",
                    "channel": "sms",
                    "body": "Hello {first_name|there}, your check-up is due. Reply STOP to opt out.",
                    "filter": {"tags": ["spring"]},
                    "per_minute": 30,
                }
            ]
        },
    )

    name: Name
    from_number: PhoneNumber | None = Field(
        None, description="An SMS is sent from this number; by default from those of the business, in turn."
    )
    per_minute: float | None = Field(
        None, gt=0, le=60_000, description="Messages a minute at most; never more than this installation allows."
    )

    @model_validator(mode="after")
    def _only_an_sms_has_a_number(self) -> Self:
        if self.channel is not Channel.SMS and self.from_number is not None:
            msg = "only an SMS is sent from a number: leave from_number out."
            raise ValueError(msg)
        return self


class BroadcastPreview(BaseModel):
    """What a broadcast would do. Nothing was created."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "selected": 130,
                "would_be_sent": 118,
                "skipped": {"opted_out": 7, "do_not_call": 5},
                "sample": "Hello Ada, your check-up is due. Reply STOP to opt out.",
                "sample_subject": None,
                "sample_segments": 1,
            }
        }
    )

    selected: int = Field(description="Leads that the filter selects.")
    would_be_sent: int = Field(description="Messages that would be sent.")
    skipped: dict[SkipReason, int] = Field(description="The others, by reason.")
    sample: str | None = Field(description="The text for the first lead; null where there is none.")
    sample_subject: str | None
    sample_segments: int | None = Field(description="Texts that an SMS of this length is charged as.")


class BroadcastCounts(BaseModel):
    """Leads of a broadcast by what became of them."""

    total: int = Field(0, description="Leads that have their place in it so far.")
    queued: int = Field(0, description="Their turn has not come.")
    sending: int = 0
    sent: int = Field(0, description="Accepted by the carrier or mail server; no word yet of its arrival.")
    delivered: int = Field(0, description="The carrier says that it arrived; mail has no such word.")
    failed: int = Field(0, description="Certainly not delivered.")
    bounced: int = Field(0, description="The address does not take mail.")
    uncertain: int = Field(0, description="The answer was lost: it may have arrived, and is not sent again.")
    skipped: int = 0
    skipped_by_reason: dict[SkipReason, int] = {}


class BroadcastView(BaseModel):
    """A broadcast as people see it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 3,
                "name": "Spring check-up",
                "channel": "sms",
                "status": "completed",
                "reason": None,
                "task_id": 123,
                "subject": None,
                "body": "Hello {first_name|there}, your check-up is due. Reply STOP to opt out.",
                "from_number": None,
                "per_minute": 30.0,
                "counts": {
                    "total": 130,
                    "queued": 0,
                    "sending": 0,
                    "sent": 8,
                    "delivered": 108,
                    "failed": 1,
                    "bounced": 0,
                    "uncertain": 1,
                    "skipped": 12,
                    "skipped_by_reason": {"opted_out": 7, "do_not_call": 5},
                },
                "created_at": "2026-01-26T11:05:20Z",
                "finished_at": "2026-01-26T11:09:23Z",
            }
        }
    )

    id: int
    name: str
    channel: Channel
    status: JobStatus
    reason: str | None = Field(description="Why it waits, failed or was cancelled.")
    task_id: int | None = Field(description="The task to watch or cancel; null once it was cleaned up.")
    subject: str | None
    body: str
    from_number: str | None
    per_minute: float
    counts: BroadcastCounts
    created_at: datetime
    finished_at: datetime | None


class RecipientView(BaseModel):
    """A lead of a broadcast."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 41,
                "lead_id": 17,
                "address": "+14155550117",
                "state": "delivered",
                "skip_reason": None,
                "reason": None,
                "sent_at": "2026-01-26T11:05:23Z",
            }
        }
    )

    id: int
    lead_id: int | None = Field(description="Null once the lead is erased.")
    address: str | None = Field(description="Number or e-mail address; null once the lead is erased.")
    state: MessageState
    skip_reason: SkipReason | None
    reason: str | None = Field(description="Why, for people.")
    sent_at: datetime | None


class OptOutRequest(BaseModel):
    """Addresses to send nothing any more. They travel in bodies only: addresses of requests end up in logs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"channel": "sms", "addresses": ["+14155550123"], "reason": "asked on the phone"}]
        },
    )

    channel: Channel
    addresses: list[Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=320)]] = Field(
        min_length=1, max_length=MAX_ADDRESSES, description="Numbers with country code, or e-mail addresses."
    )
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = "requested"


class OptOutView(BaseModel):
    """An entry of the list. The address is kept as a hash, so the list holds none to show."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "9f86d081" * 8,
                "channel": "sms",
                "reason": "asked on the phone",
                "created_at": "2026-01-26T11:05:20Z",
            }
        }
    )

    id: str = Field(description="The hash, hexadecimal.")
    channel: Channel
    reason: str
    created_at: datetime

    @classmethod
    def of(cls, entry: OptOut) -> Self:
        """The entry as people see it."""
        return cls(
            id=bytes(entry.address_hash).hex(),
            channel=entry.channel,
            reason=entry.reason,
            created_at=entry.created_at,
        )


class OptOutEntries(BaseModel):
    """Entries in the order of the addresses that were sent, without repetitions."""

    items: list[OptOutView]


class OptOutPage(BaseModel):
    """Some entries, and where the next ones are."""

    items: list[OptOutView]
    next_cursor: str | None = Field(
        None,
        description="Send it as `cursor` for the next page; null on the last one.",
        examples=["9f86d081" * 8],
    )


class BroadcastPayload(BaseModel):
    """Payload of the task ``broadcast``: text and filter stay in the broadcast's own row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    broadcast_id: int
