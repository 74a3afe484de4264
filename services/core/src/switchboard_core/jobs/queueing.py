"""Transactional enqueue, and admission of a business's jobs to Redis.

A job is a row, written in the transaction that changes the domain; the wake-up follows the commit. At most K jobs of a
business are admitted to a queue of Redis; the rest wait in PostgreSQL, so a tenant with a backlog of 100,000 jobs holds
nobody up.
"""

from functools import lru_cache
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from switchboard_core.db import savepoint, tenant_of
from switchboard_core.jobs.catalog import CATALOG, JobSpec, spec_of
from switchboard_core.jobs.context import active_context
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.states import JobStatus
from switchboard_core.jobs.transport import Transport, WakeUp, background_wakeup
from switchboard_core.settings import get_settings

OPEN = (JobStatus.PENDING, JobStatus.RUNNING)


class SchemaTooOldError(Exception):
    """The database's ``chk_job_type`` does not know this job type yet: it has to be migrated first."""


def wakeup_of(job: BackgroundJob) -> WakeUp:
    """The wake-up of a row."""
    return _wakeup(job.job_type, job.id, job.queue, job.business_id)


def _wakeup(job_type: str, job_id: int, queue: str, business_id: int) -> WakeUp:
    # A newer release may have written a kind of job that this one does not know: the worker that takes it parks it.
    spec = CATALOG.get(job_type)
    timeout_s = spec.timeout_s if spec else JobSpec.timeout_s
    return background_wakeup(job_type, job_id, queue, timeout_s, business_id)


def enqueue(
    session: Session,
    transport: Transport,
    job_type: str,
    payload: dict[str, Any] | None = None,
    *,
    total: int | None = None,
    dedupe_key: str | None = None,
    admit_limit: int | None = None,
) -> BackgroundJob:
    """Insert a background job in the session's transaction and wake a worker after its commit.

    Args:
        session: bound to the job's business.
        transport: where the wake-up goes; Redis being away does no harm.
        job_type: a name of the catalog.
        payload: ids and options; no secrets, no phone numbers.
        total: items in all, if known.
        dedupe_key: while a job with this key is open, it is returned instead of a new one.
        admit_limit: jobs of the business in this queue of Redis at most; default from the settings.

    Raises:
        UnknownJobTypeError: the catalog has no such job.
        SchemaTooOldError: the database does not allow this job type yet.
    """
    spec = spec_of(job_type)
    if dedupe_key is not None and (existing := _open_with(session, dedupe_key)):
        return existing
    job = _insert(session, spec, payload or {}, total, dedupe_key)
    admit(session, transport, spec.queue, limit=admit_limit)
    return job


def _open_with(session: Session, dedupe_key: str) -> BackgroundJob | None:
    return session.scalars(
        select(BackgroundJob).where(BackgroundJob.dedupe_key == dedupe_key, BackgroundJob.status.in_(OPEN))
    ).first()


def _insert(
    session: Session, spec: JobSpec, payload: dict[str, Any], total: int | None, dedupe_key: str | None
) -> BackgroundJob:
    job = BackgroundJob(
        business_id=tenant_of(session),
        job_type=spec.name,
        queue=spec.queue,
        payload=payload,
        payload_version=spec.version,
        total=total,
        dedupe_key=dedupe_key,
    )
    try:
        with savepoint(session):
            session.add(job)
            session.flush()
    except IntegrityError as error:
        diagnostics = getattr(error.orig, "diag", None)
        constraint = getattr(diagnostics, "constraint_name", None)
        if constraint == "chk_job_type":
            msg = f"The database does not allow the job type {spec.name!r} yet: run `switchboard migrate`."
            raise SchemaTooOldError(msg) from error
        if constraint == "uq_background_jobs_dedupe_key" and dedupe_key and (twin := _open_with(session, dedupe_key)):
            return twin
        raise
    session.refresh(job)
    return job


def admit(session: Session, transport: Transport, queue: str, *, limit: int | None = None) -> int:
    """Let waiting jobs of the session's business into Redis, oldest first, while there is room.

    Sleeping jobs take no room. Returns how many were let in; their wake-ups follow the commit.
    """
    business_id = tenant_of(session)
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"admit:{business_id}:{queue}"}
    )
    mine = (BackgroundJob.business_id == business_id, BackgroundJob.queue == queue, BackgroundJob.status.in_(OPEN))
    inside = session.scalar(
        select(func.count())
        .select_from(BackgroundJob)
        .where(*mine, BackgroundJob.admitted_at.is_not(None), BackgroundJob.run_after <= func.clock_timestamp())
    )
    room = (limit or get_settings().jobs_admitted_per_business) - (inside or 0)
    if room <= 0:
        return 0
    waiting = (
        select(BackgroundJob.id)
        .where(*mine, BackgroundJob.admitted_at.is_(None))
        .order_by(BackgroundJob.id)
        .limit(room)
        # Who holds a row, to end its job say, may want the lock above next: waiting for it here would be a deadlock.
        .with_for_update(key_share=True, skip_locked=True)
        .cte("waiting")
    )
    admitted = session.execute(
        update(BackgroundJob)
        .where(BackgroundJob.id.in_(select(waiting.c.id)))
        .values(admitted_at=func.clock_timestamp())
        .returning(BackgroundJob.id, BackgroundJob.job_type, BackgroundJob.queue)
        .execution_options(synchronize_session=False)
    ).all()
    wakeups = [_wakeup(row.job_type, row.id, row.queue, business_id) for row in admitted]
    if wakeups:
        transport.wake_after_commit(session, *wakeups)
    return len(wakeups)


def wake_now(session: Session, transport: Transport, job_id: int) -> None:
    """Wake a sleeping job of the session's business once the transaction is committed."""
    row = session.execute(
        update(BackgroundJob)
        .where(BackgroundJob.id == job_id, BackgroundJob.status.in_(OPEN), BackgroundJob.admitted_at.is_not(None))
        .values(run_after=func.clock_timestamp())
        .returning(BackgroundJob.job_type, BackgroundJob.queue)
        .execution_options(synchronize_session=False)
    ).first()
    if row:
        transport.wake_after_commit(session, _wakeup(row.job_type, job_id, row.queue, tenant_of(session)))


def queue_job(
    name: str,
    /,
    *,
    session: Session | None = None,
    transport: Transport | None = None,
    **kwargs: Any,  # noqa: ANN401 - the payload's own values
) -> int:
    """Enqueue a background job by name: ``queue_job("delete_leads", lead_ids=[1, 2])``.

    Args:
        name: a job type of the catalog.
        session: the transaction to write the row in; by default that of the running job.
        transport: where the wake-up goes; by default the process's own.
        kwargs: the payload.

    Returns:
        The id of the background job.

    Raises:
        UnknownJobTypeError: the catalog has no such job.
        LookupError: there is neither a session nor a running job.
    """
    context = active_context()
    if session is None:
        if context is None:
            msg = "queue_job needs a transaction: call it in a task, or pass session=…"
            raise LookupError(msg)
        session = context.session
    return enqueue(session, transport or default_transport(), name, kwargs).id


@lru_cache(maxsize=1)
def default_transport() -> Transport:
    """The process's transport, made once from its settings."""
    from switchboard_core.redis import make_redis

    return Transport(make_redis(get_settings()))
