"""Who wants no messages of a business: hashes, so that the list outlives the leads that it protects."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, String, bindparam, delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from switchboard_core.broadcasts.models import OptOut
from switchboard_core.db import tenant_of
from switchboard_core.leads.do_not_call import phone_hash_of
from switchboard_core.outbox.states import Channel

Text = InstrumentedAttribute[str] | InstrumentedAttribute[str | None] | ColumnElement[str]
Id = InstrumentedAttribute[int] | ColumnElement[int]


def address_of(text: Text) -> ColumnElement[str]:
    """An address as it is compared and kept: without blanks around it, in lower case, null for an empty one."""
    return func.nullif(func.lower(func.btrim(text)), "")


def is_out_of(channel: Channel, business_id: Id, address: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the (normalised) address in a column has opted out, for set-based checks."""
    return exists().where(
        OptOut.business_id == business_id,
        OptOut.channel == channel,
        OptOut.address_hash == phone_hash_of(business_id, address),
    )


def add(session: Session, channel: Channel, addresses: Sequence[str], *, reason: str) -> list[OptOut]:
    """Send these addresses nothing any more; one that is out already keeps its first reason.

    Args:
        session: bound to the business.
        channel: of the addresses.
        addresses: numbers in E.164, or e-mail addresses in any case.
        reason: why, for people; 200 characters at most.

    Returns:
        The entries, in the order of ``addresses`` and without repetitions.
    """
    return add_hashes(session, channel, [_hash(session, address) for address in addresses], reason=reason)


def add_hashes(session: Session, channel: Channel, found: Sequence[bytes], *, reason: str) -> list[OptOut]:
    """The same for addresses of which only the hashes are left."""
    business_id, hashes = tenant_of(session), list(dict.fromkeys(found))
    if not hashes:
        return []
    rows: list[dict[str, Any]] = [
        {"business_id": business_id, "channel": channel, "address_hash": item, "reason": reason}
        for item in sorted(hashes)
    ]
    session.execute(insert(OptOut).values(rows).on_conflict_do_nothing())
    entries = session.scalars(
        select(OptOut).where(
            OptOut.business_id == business_id, OptOut.channel == channel, OptOut.address_hash.in_(hashes)
        )
    )
    by_hash = {bytes(entry.address_hash): entry for entry in entries}
    return [by_hash[item] for item in hashes]


def remove(session: Session, channel: Channel, entry_hash: bytes) -> bool:
    """Take an entry off the list of the session's business; returns whether there was one."""
    removed = session.execute(
        delete(OptOut)
        .where(OptOut.business_id == tenant_of(session), OptOut.channel == channel, OptOut.address_hash == entry_hash)
        .returning(OptOut.address_hash)
    )
    return removed.first() is not None


def remove_address(session: Session, channel: Channel, address: str) -> bool:
    """Let an address have messages again; returns whether it was out."""
    return remove(session, channel, _hash(session, address))


def entries(session: Session, channel: Channel, *, after: bytes | None = None, limit: int = 50) -> list[OptOut]:
    """Entries of the session's business in the order of their hashes, from behind ``after``."""
    query = (
        select(OptOut)
        .where(OptOut.business_id == tenant_of(session), OptOut.channel == channel)
        .order_by(OptOut.address_hash)
    )
    if after is not None:
        query = query.where(OptOut.address_hash > after)
    return list(session.scalars(query.limit(limit)))


def _hash(session: Session, address: str) -> bytes:
    """Made by PostgreSQL like those that it is compared with: lower case is not the same everywhere."""
    business_id = bindparam("business", tenant_of(session), type_=BigInteger)
    hashed = phone_hash_of(business_id, address_of(bindparam("address", address, type_=String)))
    return bytes(session.scalars(select(hashed)).one())
