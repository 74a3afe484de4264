"""The do-not-call list of a business: hashes, so that it outlives the erasure of the leads it protects."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, String, cast, delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from switchboard_core.db import tenant_of
from switchboard_core.leads.models import DoNotCall

REQUESTED = "requested"
IMPORTED = "imported"

PHONE_HASH_SQL = "sha256(convert_to(CAST({business_id} AS text) || ':' || {phone}, 'UTF8'))"
"""``phone_hash`` for statements written by hand; fill in the two columns or parameters with ``str.format``."""


def phone_hash(business_id: int, phone: str) -> bytes:
    """SHA-256 of ``{business_id}:{phone}``; the same number hashes differently for each business."""
    return hashlib.sha256(f"{business_id}:{phone}".encode()).digest()


def phone_hash_of(
    business_id: InstrumentedAttribute[int] | ColumnElement[int], phone: InstrumentedAttribute[str] | ColumnElement[str]
) -> ColumnElement[bytes]:
    """``phone_hash`` of two columns, computed by PostgreSQL."""
    joined = func.concat(cast(business_id, String), ":", phone)
    hashed: ColumnElement[bytes] = func.sha256(func.convert_to(joined, "UTF8"))
    return hashed


def is_listed_of(
    business_id: InstrumentedAttribute[int] | ColumnElement[int], phone: InstrumentedAttribute[str] | ColumnElement[str]
) -> ColumnElement[bool]:
    """Whether the number in a column is on the list, for set-based checks."""
    return exists().where(
        DoNotCall.business_id == business_id, DoNotCall.phone_hash == phone_hash_of(business_id, phone)
    )


def listed(session: Session, phones: Iterable[str]) -> set[str]:
    """Those of ``phones`` (E.164) that the session's business must not dial."""
    business_id = tenant_of(session)
    by_hash = {phone_hash(business_id, phone): phone for phone in phones}
    if not by_hash:
        return set()
    found = session.scalars(
        select(DoNotCall.phone_hash).where(
            DoNotCall.business_id == business_id, DoNotCall.phone_hash == func.any(list(by_hash))
        )
    )
    return {by_hash[bytes(item)] for item in found}


def is_listed(session: Session, phone: str) -> bool:
    """Whether the session's business must not dial ``phone`` (E.164)."""
    return bool(listed(session, (phone,)))


def add(session: Session, phones: Sequence[str], *, reason: str = REQUESTED) -> list[DoNotCall]:
    """Put numbers on the list of the session's business; one that is listed keeps its first reason.

    Args:
        session: bound to the business.
        phones: E.164.
        reason: why, for people; 200 characters at most.

    Returns:
        The entries, in the order of ``phones``.
    """
    business_id = tenant_of(session)
    hashes = list(dict.fromkeys(phone_hash(business_id, phone) for phone in phones))
    if not hashes:
        return []
    rows: list[dict[str, Any]] = [
        {"business_id": business_id, "phone_hash": item, "reason": reason} for item in sorted(hashes)
    ]
    session.execute(insert(DoNotCall).values(rows).on_conflict_do_nothing())
    entries = session.scalars(
        select(DoNotCall).where(DoNotCall.business_id == business_id, DoNotCall.phone_hash.in_(hashes))
    )
    by_hash = {bytes(entry.phone_hash): entry for entry in entries}
    return [by_hash[item] for item in hashes]


def remove(session: Session, entry_hash: bytes) -> bool:
    """Take an entry off the list of the session's business; returns whether there was one."""
    removed = session.execute(
        delete(DoNotCall)
        .where(DoNotCall.business_id == tenant_of(session), DoNotCall.phone_hash == entry_hash)
        .returning(DoNotCall.phone_hash)
    )
    return removed.first() is not None


def entries(session: Session, *, after: bytes | None = None, limit: int = 50) -> list[DoNotCall]:
    """Entries of the session's business in the order of their hashes, from behind ``after``."""
    query = select(DoNotCall).where(DoNotCall.business_id == tenant_of(session)).order_by(DoNotCall.phone_hash)
    if after is not None:
        query = query.where(DoNotCall.phone_hash > after)
    return list(session.scalars(query.limit(limit)))
