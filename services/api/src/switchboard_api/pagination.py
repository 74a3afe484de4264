"""Pages by cursor: rows that come or go meanwhile never shift what the next page shows.

A route takes ``paging: Paging``, reads ``paging.fetch`` rows from beyond ``paging.after_id`` and returns
``paging.page(items)``: the one row more than asked for says that there is a next page.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Path, Query
from pydantic import BaseModel, Field

from switchboard_api.problems import Problem

MAX_ID = 2**63 - 1
"""The largest id that PostgreSQL's bigint holds."""

RowId = Annotated[int, Path(ge=1, le=MAX_ID)]
"""An id in a path. Anything else than a possible id answers 404."""


Item = TypeVar("Item", bound=BaseModel)


class Page(BaseModel, Generic[Item]):
    """Some items, and where the next ones are."""

    items: list[Item]
    next_cursor: str | None = Field(
        None, description="Send it as `cursor` for the next page; null on the last one.", examples=["eyJpZCI6NDF9"]
    )


@dataclass(frozen=True)
class PageRequest:
    """Which page is wanted.

    Attributes:
        after_id: id of the last row of the page before; None for the first page.
        limit: items on the page at most.
    """

    after_id: int | None
    limit: int

    @property
    def fetch(self) -> int:
        """How many rows to read: one more than shown."""
        return self.limit + 1

    def page(self, items: Sequence[Item], id_of: Callable[[Item], int] | None = None) -> "Page[Item]":
        """The page of these items.

        Args:
            items: up to ``fetch`` items in the order of the listing.
            id_of: the id that the listing goes by; by default ``item.id``.
        """
        shown = list(items[: self.limit])
        if len(items) <= self.limit:
            return Page(items=shown, next_cursor=None)
        return Page(items=shown, next_cursor=encode_cursor((id_of or _id)(shown[-1])))


def _id(item: BaseModel) -> int:
    return int(getattr(item, "id"))  # noqa: B009 - not every model has one, and those that are listed do


def encode_cursor(last_id: int) -> str:
    """The cursor behind a row."""
    return base64.urlsafe_b64encode(json.dumps({"id": last_id}, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """The id in a cursor.

    Raises:
        Problem: 422, this is no cursor of ours.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        last_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))["id"]
        if isinstance(last_id, int) and 0 < last_id <= MAX_ID:
            return last_id
    except (binascii.Error, ValueError, TypeError, KeyError):
        pass
    detail = "query.cursor: is not a cursor: send the `next_cursor` of the page before as it is, or none."
    raise Problem(422, "Invalid request", detail, errors=[{"field": "query.cursor", "message": "is not a cursor"}])


def _page_request(
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Items on the page at most.")] = 50,
) -> PageRequest:
    return PageRequest(None if cursor is None else decode_cursor(cursor), limit)


Paging = Annotated[PageRequest, Depends(_page_request)]
