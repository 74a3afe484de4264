"""Small pieces of SQL that several domains need."""

from datetime import datetime

from sqlalchemy import ColumnElement, func
from sqlalchemy.types import DateTime


def db_now() -> ColumnElement[datetime]:
    """The database's clock at this very moment, not at the start of the transaction."""
    return func.clock_timestamp(type_=DateTime(timezone=True))


def after_seconds(seconds: float) -> ColumnElement[datetime]:
    """The moment ``seconds`` from now on the database's clock; negative for the past."""
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
