"""What accounting systems and CSV files send: documents, each understood on its own.

A document is either the whole of a counterparty or transaction, or the note that it was deleted. A wrong one is an
error of that document and of nothing else.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails

from switchboard_core.jobs.storable import storable_text
from switchboard_core.ledger.states import Collection, TransactionStatus

MAX_VERSION = 2**63 - 1
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def _as_date(value: object) -> date:
    """A calendar day and nothing that could be taken for one, such as a number of seconds."""
    if not (isinstance(value, str) and _ISO_DATE.fullmatch(value)):
        msg = "is not a day such as 2026-01-26"
        raise ValueError(msg)
    return date.fromisoformat(value)


_CURRENCY = r"^[A-Z]{3}$"
# PostgreSQL stores no NUL. A pattern is checked without a call into Python, which counts for a million documents.
STORABLE = r"^[^\x00]*$"
_PATTERN_FAULTS = {STORABLE: "holds a NUL character", _CURRENCY: "is not three capital letters such as EUR"}

ExternalId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=STORABLE)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=STORABLE)]
Email = Annotated[str, StringConstraints(strip_whitespace=True, max_length=320, pattern=STORABLE)]
Description = Annotated[str, StringConstraints(max_length=500, pattern=STORABLE)]
Version = Annotated[int, Field(ge=0, le=MAX_VERSION)]


class _Document(BaseModel):
    # What else an accounting system knows of a document is not ours. Ids may be numbers in JSON.
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    id: ExternalId
    version: Version


class DeletedDocument(_Document):
    """Something that is no longer in the books. Nothing else is read of it."""

    deleted: Literal[True]


class CounterpartyDocument(_Document):
    """A counterparty as it is now."""

    name: Name
    email: Email | None = None


class TransactionDocument(_Document):
    """A transaction as it is now."""

    amount: Annotated[Decimal, Field(max_digits=18, decimal_places=4, allow_inf_nan=False)]
    currency: Annotated[str, StringConstraints(pattern=_CURRENCY)]
    date: Annotated[date, BeforeValidator(_as_date)]
    status: TransactionStatus = TransactionStatus.POSTED
    counterparty: ExternalId | None = None
    description: Description | None = None


Document = DeletedDocument | CounterpartyDocument | TransactionDocument

_KINDS: dict[Collection, type[CounterpartyDocument | TransactionDocument]] = {
    Collection.COUNTERPARTIES: CounterpartyDocument,
    Collection.TRANSACTIONS: TransactionDocument,
}


_LISTS: dict[Collection, TypeAdapter[list[Any]]] = {
    Collection.COUNTERPARTIES: TypeAdapter(list[CounterpartyDocument]),
    Collection.TRANSACTIONS: TypeAdapter(list[TransactionDocument]),
}

_ANY: TypeAdapter[list[Any]] = TypeAdapter(list[SerializeAsAny[BaseModel]])


@dataclass(frozen=True, slots=True)
class WrongDocument:
    """A document that could not be understood.

    Attributes:
        name: how people find it: its id, or its place where it has none.
        faults: field (None: the document as a whole) and what is wrong with it, without its value.
    """

    name: str
    faults: tuple[tuple[str | None, str], ...]

    @property
    def message(self) -> str:
        """All faults in one line."""
        return "; ".join(fault if field is None else f"{field}: {fault}" for field, fault in self.faults)


Read = Document | WrongDocument


def understand(collection: Collection, raw: object, place: str) -> Read:
    """Read one document.

    Args:
        collection: what it has to be.
        raw: as it came.
        place: where it stood, for people.

    Returns:
        The document, or what is wrong with it; never raises.
    """
    if not isinstance(raw, Mapping):
        return WrongDocument(place, ((None, "is not an object"),))
    try:
        return (DeletedDocument if _is_deleted(raw) else _KINDS[collection]).model_validate(raw)
    except ValidationError as error:
        return WrongDocument(_name_of(collection, raw, place), _faults(error))


def understand_all(collection: Collection, raws: Sequence[object]) -> Sequence[Read]:
    """Read the documents of a page: all at once, which is quicker, or one by one where something is wrong among them.

    Args:
        collection: what they have to be.
        raws: as they came.
    """
    if not any(_is_deleted(raw) for raw in raws):
        try:
            return _LISTS[collection].validate_python(raws)
        except ValidationError:
            pass
    return [
        understand(collection, raw, f"{collection.singular} {number} of a page")
        for number, raw in enumerate(raws, start=1)
    ]


def as_json(documents: Sequence[Document]) -> str:
    """Documents of one kind as PostgreSQL reads them."""
    return _ANY.dump_json(list(documents)).decode()


def name_of(collection: Collection, document: Document) -> str:
    """How people find a document."""
    return f"{collection.singular} {document.id}"


def _is_deleted(raw: object) -> bool:
    return isinstance(raw, Mapping) and raw.get("deleted") is True


def _name_of(collection: Collection, raw: Mapping[str, Any], place: str) -> str:
    identity = raw.get("id")
    if isinstance(identity, str | int) and 0 < len(str(identity)) <= 128:
        return storable_text(f"{collection.singular} {identity}")
    return place


def _faults(error: ValidationError) -> tuple[tuple[str | None, str], ...]:
    """What pydantic found, without the values: they may be anything, and errors are shown and kept."""
    found = error.errors(include_url=False, include_input=False)
    return tuple((str(item["loc"][0]) if item["loc"] else None, _sentence(item)) for item in found)


def _sentence(found: ErrorDetails) -> str:
    own = _PATTERN_FAULTS.get(str(found.get("ctx", {}).get("pattern")))
    message = own or found["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
