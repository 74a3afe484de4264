"""Which leads a bulk task or a campaign means."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from sqlalchemy import ColumnElement, Text, cast, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, array

from switchboard_core.leads.do_not_call import is_listed_of
from switchboard_core.leads.models import Lead, LeadImport
from switchboard_core.leads.zones import require_zone

MAX_IDS = 10_000
MAX_TAGS = 20
MAX_TAG_CHARS = 64

RowId = Annotated[int, Field(gt=0, le=2**63 - 1)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TAG_CHARS)]


class LeadConditions(BaseModel):
    """Conditions that a lead has to meet, all of them. Deleted leads never do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tags: list[Tag] | None = Field(
        None, min_length=1, max_length=MAX_TAGS, description="Has at least one of these tags."
    )
    import_id: RowId | None = Field(None, description="Was in this import, as a new or as a known lead.")
    timezone: str | None = Field(None, max_length=64, description="IANA time zone.")
    do_not_call: bool | None = Field(None, description="Is, or is not, on the do-not-call list.")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return None if value is None else require_zone(value)

    def clauses(self) -> list[ColumnElement[bool]]:
        """The conditions on ``Lead``, for ``where``."""
        found: list[ColumnElement[bool]] = [Lead.deleted_at.is_(None)]
        if self.tags is not None:
            found.append(Lead.tags.op("?|", is_comparison=True)(cast(array(self.tags), ARRAY(Text))))
        if self.import_id is not None:
            found.append(Lead.import_id == self.import_id)
        if self.timezone is not None:
            found.append(Lead.timezone == self.timezone)
        if self.do_not_call is not None:
            on_list = is_listed_of(Lead.business_id, Lead.phone)
            found.append(on_list if self.do_not_call else ~on_list)
        return found


class LeadFilter(LeadConditions):
    """What a bulk task or a campaign works on. Meaning every lead has to be said: ``{"all": true}``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"tags": ["spring"]}, {"ids": [17, 18]}, {"import_id": 3}, {"all": True}]},
    )

    ids: list[RowId] | None = Field(None, min_length=1, max_length=MAX_IDS)
    all: bool = Field(default=False, description="Every lead of the business.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        conditions = (self.ids, self.tags, self.import_id, self.timezone, self.do_not_call)
        narrowed = any(condition is not None for condition in conditions)
        if self.all and narrowed:
            msg = "all: true means every lead: leave the other conditions out, or all."
            raise ValueError(msg)
        if not self.all and not narrowed:
            msg = 'the filter is empty: name ids, tags, import_id, timezone or do_not_call, or say {"all": true}.'
            raise ValueError(msg)
        return self

    def clauses(self) -> list[ColumnElement[bool]]:
        """The conditions on ``Lead``, for ``where``."""
        found = super().clauses()
        if self.ids is not None:
            found.append(Lead.id.in_(self.ids))
        return found


class ImportedLeads(LeadConditions):
    """What one import brought in as new leads, whatever was done to them since. Those that it only updated are not."""

    created_by: RowId = Field(description="The import.")

    def clauses(self) -> list[ColumnElement[bool]]:
        """The conditions on ``Lead``, for ``where``."""
        moment = select(LeadImport.created_at).where(LeadImport.id == self.created_by).scalar_subquery()
        return [*super().clauses(), Lead.created_at == moment]


class LeadQuery(LeadConditions):
    """What a person looks for in the list. No bulk task takes it: part of a number must not end up in its payload."""

    search: str | None = Field(None, min_length=2, max_length=100, description="Part of a name, or last digits.")

    def clauses(self) -> list[ColumnElement[bool]]:
        """The conditions on ``Lead``, for ``where``."""
        found = super().clauses()
        if self.search is not None:
            by_name = Lead.name.icontains(self.search, autoescape=True)
            digits = "".join(char for char in self.search if char.isdecimal() and char.isascii())
            looks_like_number = digits and not any(char.isalpha() for char in self.search)
            found.append(or_(by_name, Lead.phone.endswith(digits)) if looks_like_number else by_name)
        return found
