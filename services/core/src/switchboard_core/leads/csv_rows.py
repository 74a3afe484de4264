"""Rows of a lead CSV: which columns there may be, and what has to be true of each cell."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from switchboard_core.leads.csv_reader import CsvFileError, CsvRow, is_text
from switchboard_core.leads.filters import MAX_TAG_CHARS, MAX_TAGS
from switchboard_core.leads.phones import PhoneError, parse_phone, timezone_of
from switchboard_core.leads.zones import ZoneError, require_zone

COLUMNS = ("phone", "name", "email", "timezone", "tags", "do_not_call")
ALIASES = {
    "phone_number": "phone",
    "mobile": "phone",
    "mobile_number": "phone",
    "cell": "phone",
    "tel": "phone",
    "telephone": "phone",
    "full_name": "name",
    "e_mail": "email",
    "mail": "email",
    "email_address": "email",
    "time_zone": "timezone",
    "tz": "timezone",
    "tag": "tags",
    "dnc": "do_not_call",
    "do_not_contact": "do_not_call",
}
ATTRIBUTE_PREFIX = "attr_"
MAX_ATTRIBUTES = 50
MAX_ATTRIBUTE_NAME_CHARS = 64
MAX_ATTRIBUTE_CHARS = 1000
MAX_NAME_CHARS = 200
MAX_EMAIL_CHARS = 320

_ATTRIBUTE = re.compile(rf"{ATTRIBUTE_PREFIX}([a-z0-9_]{{1,{MAX_ATTRIBUTE_NAME_CHARS}}})")
# Shape only: whether an address works is known when mail arrives there.
_EMAIL = re.compile(r"[^@\s,;<>\"]+@[^@\s,;<>\".]+(?:\.[^@\s,;<>\".]+)+")
_TAG_SEPARATORS = re.compile(r"[,;|]")
_YES = frozenset({"yes", "y", "true", "t", "1", "x"})
_NO = frozenset({"", "no", "n", "false", "f", "0"})


@dataclass(slots=True)
class LeadRow:
    """A row as it was understood; with ``errors`` it is rejected.

    Attributes:
        line: where it begins in the file.
        phone: E.164; None when the cell holds no number.
        timezone: from the file; None where the cell is empty.
        zone_of_number: what the number says about the time zone where the file does not, for new leads.
        tags: JSON array; None where the cell is empty.
        attributes: JSON object; None where all its cells are empty.
        do_not_call: holds for the number even if the row is rejected for another reason.
        errors: column and reason of each wrong cell.
    """

    line: int
    phone: str | None = None
    name: str | None = None
    email: str | None = None
    timezone: str | None = None
    zone_of_number: str | None = None
    tags: str | None = None
    attributes: str | None = None
    do_not_call: bool = False
    errors: list[tuple[str | None, str]] = field(default_factory=list)


class RowParser:
    """Understands the rows under one header.

    Args:
        header: the first row of the file.
        region: that numbers without a country code belong to.
        default_timezone: where neither the file nor the number says one.

    Raises:
        CsvFileError: a column is unknown, named twice, or ``phone`` is missing.
    """

    def __init__(self, header: Sequence[str], *, region: str | None, default_timezone: str) -> None:
        self._names = _names_of(header)
        self._region = region
        self._default_timezone = default_timezone
        self._set: list[tuple[int, str, Callable[[LeadRow, str], None]]] = []
        self._attributes: list[tuple[int, str]] = []
        setters: dict[str, Callable[[LeadRow, str], None]] = {
            "phone": self._phone,
            "name": _name,
            "email": _email,
            "timezone": _timezone,
            "tags": _tags,
            "do_not_call": _do_not_call,
        }
        for index, name in enumerate(self._names):
            if name in setters:
                self._set.append((index, name, setters[name]))
            else:
                self._attributes.append((index, name.removeprefix(ATTRIBUTE_PREFIX)))

    def parse(self, row: CsvRow) -> LeadRow:
        """What a row says; never raises, wrong cells are in ``errors``."""
        lead = LeadRow(row.line)
        cells = row.cells
        count = len(self._names)
        if len(cells) > count and any(cell.strip() for cell in cells[count:]):
            message = f"has {len(cells)} cells, but there are {count} columns: quote cells that hold the delimiter"
            lead.errors.append((None, message))
            return lead
        if len(cells) < count:
            cells = cells + [""] * (count - len(cells))
        for index, name, set_cell in self._set:
            cell = cells[index].strip()
            if not is_text(cell):
                lead.errors.append((name, "is not valid UTF-8: save the file as CSV in UTF-8"))
                continue
            try:
                set_cell(lead, cell)
            except (PhoneError, ZoneError, _CellError) as error:
                lead.errors.append((name, _quoted(cell, str(error))))
        if self._attributes:
            self._set_attributes(lead, cells)
        if lead.phone is not None and lead.timezone is None:
            lead.zone_of_number = timezone_of(lead.phone, self._default_timezone)
        return lead

    def _phone(self, lead: LeadRow, cell: str) -> None:
        if not cell:
            msg = "is missing"
            raise PhoneError(msg)
        lead.phone = parse_phone(cell, self._region)

    def _set_attributes(self, lead: LeadRow, cells: Sequence[str]) -> None:
        found: dict[str, str] = {}
        for index, key in self._attributes:
            cell = cells[index].strip()
            if not is_text(cell):
                lead.errors.append((ATTRIBUTE_PREFIX + key, "is not valid UTF-8: save the file as CSV in UTF-8"))
            elif len(cell) > MAX_ATTRIBUTE_CHARS:
                lead.errors.append((ATTRIBUTE_PREFIX + key, f"is longer than {MAX_ATTRIBUTE_CHARS} characters"))
            elif cell:
                found[key] = cell
        if found:
            lead.attributes = json.dumps(found)


class _CellError(ValueError):
    """A cell is wrong; the message says how."""


def _quoted(cell: str, reason: str) -> str:
    shown = f"{cell[:40]}…" if len(cell) > 40 else cell
    return reason if not shown or reason.startswith("'") else f"'{shown}' {reason}"


def _name(lead: LeadRow, cell: str) -> None:
    if len(cell) > MAX_NAME_CHARS:
        msg = f"is longer than {MAX_NAME_CHARS} characters"
        raise _CellError(msg)
    lead.name = cell or None


def _email(lead: LeadRow, cell: str) -> None:
    # What cannot be seen, such as the marks of direction that copying brings along, is no part of an address.
    if cell and (len(cell) > MAX_EMAIL_CHARS or not cell.isprintable() or not _EMAIL.fullmatch(cell)):
        msg = "is not an e-mail address"
        raise _CellError(msg)
    lead.email = cell or None


def _timezone(lead: LeadRow, cell: str) -> None:
    lead.timezone = require_zone(cell) if cell else None


def _tags(lead: LeadRow, cell: str) -> None:
    if not cell:
        return
    tags = list(dict.fromkeys(tag for part in _TAG_SEPARATORS.split(cell) if (tag := part.strip())))
    if len(tags) > MAX_TAGS or any(len(tag) > MAX_TAG_CHARS for tag in tags):
        msg = f"holds more than {MAX_TAGS} tags, or a tag longer than {MAX_TAG_CHARS} characters"
        raise _CellError(msg)
    lead.tags = json.dumps(tags) if tags else None


def _do_not_call(lead: LeadRow, cell: str) -> None:
    word = cell.lower()
    if word in _YES:
        lead.do_not_call = True
    elif word not in _NO:
        msg = "is neither yes nor no"
        raise _CellError(msg)


def _names_of(header: Sequence[str]) -> list[str]:
    """Canonical names of the columns."""
    while header and not header[-1].strip():  # spreadsheets leave empty columns behind
        header = header[:-1]
    for number, cell in enumerate(header, start=1):
        if not cell.strip():
            msg = f"Column {number} has no name: name it or take it out. Nothing was imported."
            raise CsvFileError(msg)
    names = [_canonical(cell) for cell in header]
    unknown = [cell for cell, name in zip(header, names, strict=True) if name is None]
    if unknown:
        raise CsvFileError(_unknown_columns(unknown))
    found = [name for name in names if name is not None]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        msg = f"More than one column means {', '.join(twice)}: keep one of them. Nothing was imported."
        raise CsvFileError(msg)
    if "phone" not in found:
        msg = f"The column phone is missing; the header has {_listing(header)}. Nothing was imported."
        raise CsvFileError(msg)
    if len(found) > len(COLUMNS) + MAX_ATTRIBUTES:
        msg = f"There are more than {MAX_ATTRIBUTES} columns attr_…: leave some out. Nothing was imported."
        raise CsvFileError(msg)
    return found


def _canonical(cell: str) -> str | None:
    """The canonical name of a header's cell, None when it is unknown."""
    name = re.sub(r"[\s\-]+", "_", cell.strip().lower())
    name = ALIASES.get(name, name)
    return name if name in COLUMNS or _ATTRIBUTE.fullmatch(name) else None


def _unknown_columns(unknown: Sequence[str]) -> str:
    is_one = len(unknown) == 1
    suggestion = ATTRIBUTE_PREFIX + (re.sub(r"[^a-z0-9]+", "_", unknown[0].strip().lower()).strip("_")[:40] or "name")
    return (
        f"The column{'' if is_one else 's'} {_listing(unknown)} {'is' if is_one else 'are'} unknown. "
        f"Known are {', '.join(COLUMNS)}; to keep other data with a lead, name its column attr_<name>, "
        f"such as {suggestion}. Nothing was imported."
    )


def _listing(cells: Sequence[str]) -> str:
    shown = [repr(cell[:40].encode("utf-8", "replace").decode()) for cell in cells[:10]]
    return ", ".join(shown) + (f" and {len(cells) - 10} more" if len(cells) > 10 else "")
