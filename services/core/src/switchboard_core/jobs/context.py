"""``job_context()``: the session and settings of the task that is running."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy.orm import Session

from switchboard_core.db import Database, make_engine
from switchboard_core.settings import Settings, get_settings


@dataclass(frozen=True)
class JobContext:
    """What a task works with."""

    session: Session
    settings: Settings
    business_id: int


_active: ContextVar[JobContext | None] = ContextVar("switchboard_job_context", default=None)


@contextmanager
def bind_context(context: JobContext) -> Iterator[JobContext]:
    """Make ``context`` the active one; used by the kernel for each slice, and by tests."""
    token = _active.set(context)
    try:
        yield context
    finally:
        _active.reset(token)


def active_context() -> JobContext | None:
    """The active context, if any."""
    return _active.get()


@contextmanager
def job_context(business_id: int | None = None) -> Iterator[JobContext]:
    """The active context, or one made for this call and always closed.

    Args:
        business_id: the tenant, needed only where no context is active.

    Raises:
        LookupError: no context is active and no ``business_id`` was given.
    """
    active = _active.get()
    if active is not None:
        yield active
        return
    if business_id is None:
        msg = "no job is running here: pass job_context(business_id=…)"
        raise LookupError(msg)
    settings = get_settings()
    database = Database(make_engine(settings, application_name="switchboard-job"))
    try:
        with (
            database.tenant(business_id) as session,
            bind_context(JobContext(session, settings, business_id)) as made,
        ):
            yield made
    finally:
        database.dispose()
