"""What people send and see of leads."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from switchboard_core.leads.filters import MAX_TAGS, ImportedLeads, LeadConditions, LeadFilter, RowId, Tag
from switchboard_core.leads.phones import require_region
from switchboard_core.leads.zones import require_zone

ERRORS_SHOWN = 100
EXAMPLES_SHOWN = 5
MAX_PHONES = 1000

AttributeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]
AttributeValue = Annotated[str, StringConstraints(max_length=1000)]


class LeadOut(BaseModel):
    """A person whom the business may call."""

    id: int
    phone: str = Field(description="E.164.", examples=["+14155550123"])
    name: str | None = Field(examples=["Ada Moreno"])
    email: str | None = Field(examples=["ada@example.com"])
    timezone: str = Field(description="IANA name; decides the calling hours.", examples=["America/Los_Angeles"])
    tags: list[str] = Field(examples=[["spring"]])
    attributes: dict[str, Any] = Field(examples=[{"plan": "pro"}])
    import_id: int | None = Field(description="The last import that the lead was in.")
    do_not_call: bool = Field(description="On the do-not-call list: never dialled.")
    created_at: datetime
    updated_at: datetime


class ImportRowError(BaseModel):
    """A wrong cell of a rejected row."""

    line: int = Field(description="Where the row begins; the header is line 1.", examples=[17])
    column: str | None = Field(description="The column, if it is one cell's fault.", examples=["phone"])
    message: str = Field(examples=["'555-01' has too few digits"])


class StoredImportRowError(ImportRowError):
    """A wrong cell of a rejected row, with its id for paging."""

    id: int


class ImportReport(BaseModel):
    """What became of the rows of a CSV: ``total = created + updated + duplicates + rejected``."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 3,
                "filename": "leads.csv",
                "total": 130,
                "created": 118,
                "updated": 4,
                "duplicates": 3,
                "rejected": 5,
                "do_not_call": 6,
                "errors": [{"line": 17, "column": "phone", "message": "'555-01' has too few digits"}],
                "created_at": "2026-01-26T11:05:20Z",
            }
        }
    )

    id: int = Field(description="The import; `import_id` in filters.")
    filename: str
    total: int = Field(description="Rows of the file without its header.")
    created: int = Field(description="New leads.")
    updated: int = Field(description="Leads that were known by their number; empty cells changed nothing.")
    duplicates: int = Field(description="Rows whose number stands further up in the file; the first row counts.")
    rejected: int = Field(description="Rows with a wrong cell.")
    do_not_call: int = Field(description="Numbers that the file marks as do-not-call.")
    errors: list[ImportRowError] = Field(description=f"The first {ERRORS_SHOWN}; all are at `/imports/{{id}}/errors`.")
    created_at: datetime


class LeadChanges(BaseModel):
    """What a bulk update changes; what is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"add_tags": ["called"], "timezone": "Europe/Rome"}]},
    )

    timezone: str | None = Field(None, max_length=64, description="IANA time zone.")
    add_tags: list[Tag] = Field([], max_length=MAX_TAGS)
    remove_tags: list[Tag] = Field([], max_length=MAX_TAGS)
    attributes: dict[AttributeName, AttributeValue | None] = Field(
        {}, max_length=50, description="Sets these attributes; null removes one."
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        return None if value is None else require_zone(value)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not (self.timezone or self.add_tags or self.remove_tags or self.attributes):
            msg = "there is nothing to change: name timezone, add_tags, remove_tags or attributes."
            raise ValueError(msg)
        if both := set(self.add_tags) & set(self.remove_tags):
            msg = f"a tag can be added or removed, not both: {', '.join(sorted(both))}."
            raise ValueError(msg)
        return self


class BulkDelete(BaseModel):
    """Delete leads in the background."""

    model_config = ConfigDict(extra="forbid")

    filter: LeadFilter


class BulkUpdate(BaseModel):
    """Change leads in the background."""

    model_config = ConfigDict(extra="forbid")

    filter: LeadFilter
    changes: LeadChanges


class LeadCountOrder(BaseModel):
    """Which leads to count: those of a filter, or those that an import created."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"filter": {"tags": ["spring"]}}, {"created_by_import": 3}]},
    )

    filter: LeadFilter | None = None
    created_by_import: RowId | None = Field(
        None, description="What deleting this import would delete: leads that it brought in as new ones."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.filter is None) == (self.created_by_import is None):
            msg = "name either filter or created_by_import."
            raise ValueError(msg)
        return self

    def conditions(self) -> LeadConditions:
        """Which leads are meant."""
        if self.filter is not None:
            return self.filter
        assert self.created_by_import is not None
        return ImportedLeads(created_by=self.created_by_import)


class LeadCount(BaseModel):
    """How many leads are meant, and some of them."""

    count: int = Field(examples=[118])
    examples: list[LeadOut] = Field(description=f"The first {EXAMPLES_SHOWN}.")


class RestoreLeads(BaseModel):
    """Undo a task that deleted leads."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"task_id": 123}]})

    task_id: RowId = Field(description="The task: `delete_leads` or `delete_imported_leads`.")


class ImportedPayload(BaseModel):
    """Payload of ``delete_imported_leads``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    import_id: int


class RestorePayload(BaseModel):
    """Payload of ``restore_leads``.

    Attributes:
        task_id: the task that deleted the leads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task_id: int


class BulkPayload(BaseModel):
    """Payload of ``delete_leads`` and ``update_leads``.

    Attributes:
        filter: which leads.
        up_to_id: the newest lead that was there when the task was created: later ones are not meant.
        changes: of ``update_leads``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter: LeadFilter
    up_to_id: int
    changes: LeadChanges | None = None


class PhoneNumbers(BaseModel):
    """Some numbers. They travel in bodies only: addresses of requests end up in logs."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"phones": ["+14155550123", "+442079460123"]}]}
    )

    phones: list[Annotated[str, StringConstraints(min_length=3, max_length=60)]] = Field(
        min_length=1, max_length=MAX_PHONES, description="With country code, or national with `default_region`."
    )
    default_region: str | None = Field(None, description="For numbers without a country code, such as US.")

    @field_validator("default_region")
    @classmethod
    def _known_region(cls, value: str | None) -> str | None:
        return require_region(value)


class DoNotCallRequest(PhoneNumbers):
    """Numbers never to dial again."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"phones": ["+14155550123"], "reason": "asked on the phone"}]}
    )

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = "requested"


class DoNotCallEntry(BaseModel):
    """An entry of the list. The number is kept as a hash, so the list holds no number to show."""

    id: str = Field(description="The hash, hexadecimal.", examples=["9f86d081" * 8])
    reason: str = Field(examples=["asked on the phone"])
    created_at: datetime = Field(examples=["2026-01-26T11:05:20Z"])


class DoNotCallEntries(BaseModel):
    """Entries in the order of the numbers that were sent, without repetitions."""

    items: list[DoNotCallEntry]


class DoNotCallPage(BaseModel):
    """Some entries, and where the next ones are."""

    items: list[DoNotCallEntry]
    next_cursor: str | None = Field(
        None,
        description="Send it as `cursor` for the next page; null on the last one.",
        examples=["9f86d081" * 8],
    )


class DoNotCallCheck(BaseModel):
    """Which of the numbers are on the list."""

    listed: list[str] = Field(description="E.164.", examples=[["+14155550123"]])
