"""Small pieces of SQL that several domains need."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import DateTime


def db_now() -> ColumnElement[datetime]:
    """The database's clock at this very moment, not at the start of the transaction."""
    return func.clock_timestamp(type_=DateTime(timezone=True))


def after_seconds(seconds: float) -> ColumnElement[datetime]:
    """The moment ``seconds`` from now on the database's clock; negative for the past."""
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def delete_batch(session: Session, key: InstrumentedAttribute[Any], old: Select[Any]) -> int:
    """Delete the rows that ``old`` selects and nobody else holds; returns how many.

    Args:
        session: of the transaction.
        key: the primary key of what is deleted.
        old: selects keys, in an order and with a limit.
    """
    # Who has locked a row is not waited for: another process may be deleting the same. A query of its own, because a
    # sub-select may be run again and again, and each time lock other rows.
    batch = old.with_for_update(skip_locked=True).cte("old")
    gone = session.execute(
        delete(key.class_).where(key.in_(select(*batch.c))).returning(key).execution_options(synchronize_session=False)
    )
    return len(gone.all())
