"""What people see and send of businesses, API keys and the audit log."""

from datetime import datetime, time
from enum import StrEnum
from typing import Annotated, Any, Self
from zoneinfo import available_timezones

import phonenumbers
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from switchboard_core.tenancy.models import ApiKey, AuditEvent, Business, Role


class Weekday(StrEnum):
    """A day, in the order of the bits of ``calling_days``."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def days_mask(days: list[Weekday]) -> int:
    """Days as the bit mask that is stored; Monday is bit 0."""
    return sum(1 << list(Weekday).index(day) for day in set(days))


def days_of(mask: int) -> list[Weekday]:
    """The days of a bit mask, from Monday on."""
    return [day for bit, day in enumerate(Weekday) if mask >> bit & 1]


def _known_zone(value: str) -> str:
    if value not in available_timezones():
        msg = "is not a time zone; give an IANA name such as Europe/Berlin"
        raise ValueError(msg)
    return value


def _e164(value: str) -> str:
    try:
        number = phonenumbers.parse(value, None)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_possible_number(number):
        msg = "is not a phone number; give it with country code, such as +14155550100"
        raise ValueError(msg)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _whole_minutes(value: time) -> time:
    if value.second or value.microsecond or value.tzinfo is not None:
        msg = "give hours and minutes without a zone, such as 09:00: it is the lead's local time"
        raise ValueError(msg)
    return value


# NUL is the one character that PostgreSQL cannot keep.
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
TimeZoneName = Annotated[str, Field(max_length=64, examples=["America/New_York"]), AfterValidator(_known_zone)]
PhoneNumber = Annotated[str, Field(max_length=40, examples=["+14155550100"]), AfterValidator(_e164)]
LocalTime = Annotated[time, Field(examples=["09:00"]), AfterValidator(_whole_minutes)]
CallingDays = Annotated[
    list[Weekday], Field(min_length=1, max_length=7, examples=[["mon", "tue", "wed", "thu", "fri"]])
]


class BusinessUpdate(BaseModel):
    """Settings of a business to change; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"call_cap": 10, "calls_per_second": 2, "caller_ids": ["+14155550100"]}},
    )

    name: Name | None = None
    timezone: TimeZoneName | None = Field(None, description="For leads whose own zone is not known.")
    call_cap: int | None = Field(None, ge=0, le=1000, description="Calls at once; 0 stops all dialling.")
    calls_per_second: float | None = Field(None, gt=0, le=1000, description="New calls a second.")
    caller_ids: list[PhoneNumber] | None = Field(None, max_length=100, description="Numbers to call from, E.164.")
    calling_from: LocalTime | None = Field(None, description="Start of the calling hours, local time of the lead.")
    calling_until: LocalTime | None = Field(
        None, description="End of the calling hours; the same as the start: all day."
    )
    calling_days: CallingDays | None = None

    @model_validator(mode="after")
    def _no_null(self) -> Self:
        nulls = sorted(name for name in self.model_fields_set if getattr(self, name) is None)
        if nulls:
            msg = f"{', '.join(nulls)}: null is no setting; leave the field out to keep what it is"
            raise ValueError(msg)
        return self

    def columns(self) -> dict[str, Any]:
        """What to store, by column."""
        values = self.model_dump(include=self.model_fields_set)
        if self.calling_days is not None:
            values["calling_days"] = days_mask(self.calling_days)
        if self.caller_ids is not None:
            values["caller_ids"] = list(dict.fromkeys(self.caller_ids))
        return values


class BusinessCreate(BusinessUpdate):
    """A new business; what is left out gets the default."""

    name: Name


class BusinessOut(BaseModel):
    """A business and its limits."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 42,
                "name": "Acme Dental",
                "timezone": "America/New_York",
                "call_cap": 3,
                "calls_per_second": 1.0,
                "caller_ids": ["+14155550100"],
                "calling_from": "09:00",
                "calling_until": "20:00",
                "calling_days": ["mon", "tue", "wed", "thu", "fri"],
                "created_at": "2026-01-26T11:05:20Z",
            }
        }
    )

    id: int
    name: str
    timezone: str = Field(description="IANA name, for leads whose own zone is not known.")
    call_cap: int = Field(description="Calls at once.")
    calls_per_second: float
    caller_ids: list[str] = Field(description="Numbers to call from, E.164.")
    calling_from: str = Field(description="HH:MM, local time of the lead, inclusive.")
    calling_until: str = Field(description="HH:MM, local time of the lead, exclusive.")
    calling_days: list[Weekday]
    created_at: datetime

    @classmethod
    def of(cls, business: Business) -> Self:
        """From the row."""
        return cls(
            id=business.id,
            name=business.name,
            timezone=business.timezone,
            call_cap=business.call_cap,
            calls_per_second=business.calls_per_second,
            caller_ids=business.caller_ids,
            calling_from=f"{business.calling_from:%H:%M}",
            calling_until=f"{business.calling_until:%H:%M}",
            calling_days=days_of(business.calling_days),
            created_at=business.created_at,
        )


class ApiKeyCreate(BaseModel):
    """A key to make."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "CRM", "role": "agent", "expires_at": "2027-01-26T00:00:00Z"}},
    )

    name: Name = Field(description="To tell keys apart.")
    role: Role = Field(description="viewer reads, agent also works, owner also manages keys and settings.")
    expires_at: AwareDatetime | None = Field(None, description="When it stops working; left out: never.")


_KEY_EXAMPLE: JsonDict = {
    "id": 7,
    "name": "CRM",
    "role": "agent",
    "prefix": "sbk_3q2-7wXY",
    "created_at": "2026-01-26T11:05:20Z",
    "expires_at": "2027-01-26T00:00:00Z",
    "revoked_at": None,
}


class ApiKeyOut(BaseModel):
    """A key, without its secret."""

    model_config = ConfigDict(json_schema_extra={"example": _KEY_EXAMPLE})

    id: int
    name: str
    role: Role
    prefix: str = Field(description="First characters of the secret, to recognise it by.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """From the row."""
        return cls(
            id=key.id,
            name=key.name,
            role=Role(key.role),
            prefix=key.prefix,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
        )


class ApiKeyCreated(ApiKeyOut):
    """A new key with its secret, which is shown this once."""

    model_config = ConfigDict(
        json_schema_extra={"example": {**_KEY_EXAMPLE, "secret": "sbk_3q2-7wXY… (47 characters)"}}
    )

    secret: str | None = Field(None, description="Keep it: it is not stored. Null when the answer is a replay.")


class AuditEventOut(BaseModel):
    """Who did what."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 318,
                "actor": "key 1 (admin)",
                "action": "business.updated",
                "subject": "business 42",
                "detail": {"call_cap": {"from": 3, "to": 10}},
                "created_at": "2026-01-26T11:05:20Z",
            }
        }
    )

    id: int
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, event: AuditEvent) -> Self:
        """From the row."""
        return cls(
            id=event.id,
            actor=event.actor,
            action=event.action,
            subject=event.subject,
            detail=event.detail,
            created_at=event.created_at,
        )
