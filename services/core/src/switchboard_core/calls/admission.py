"""Admission: which call is placed next, if any. Serialised per business by its row's lock.

One short transaction counts the unsettled attempts against the cap, checks breaker and rates, picks the next eligible
job (runs of a business take turns), checks calling hours and the do-not-call list at this very moment, and inserts the
attempt. The inserted row *is* the slot, so the cap holds whatever happens to Redis or to any process.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.calls.models import CallAttempt, OutboundCallJob, OutboundCallRun, RateLine
from switchboard_core.calls.policy import BREAKER_THRESHOLD, Breaker, Bucket, next_opening
from switchboard_core.calls.progress import finish_job
from switchboard_core.calls.states import CallStatus, RunStatus
from switchboard_core.db import tenant_of
from switchboard_core.leads.do_not_call import is_listed
from switchboard_core.leads.service import is_deleted
from switchboard_core.metrics import ATTEMPTS_ADMITTED
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now
from switchboard_core.tenancy.models import Business, CarrierAccount

_PASSED_OVER = 100
"""Jobs that one transaction may skip or defer before it commits and the pump looks again."""
_DEFER_CHUNK = 2000
_NUMBER_BUSY_S = 15
_NO_CALLER_ID_S = 30
_LINE_GRACE = timedelta(seconds=3)
"""Who does not come so long after its turn, with its run paused say, loses its place."""

NO_CALLER_ID = "there is no number to call from"
LEAD_DELETED = "its lead was deleted"


@dataclass(frozen=True)
class Admitted:
    """A call to place now; its attempt is inserted."""

    attempt: CallAttempt
    run: OutboundCallRun
    breaker: Breaker
    cap: int


@dataclass(frozen=True)
class Idle:
    """Nothing can be placed now.

    Attributes:
        why: one word or two for logs and people.
        wake_at: when something may become possible; None: when a slot is freed or a person acts.
        wait_s: seconds until then, on the database's clock.
    """

    why: str
    wake_at: datetime | None = None
    wait_s: float | None = None


@dataclass(frozen=True)
class LookAgain:
    """Jobs were skipped or deferred; there may be more to admit."""


def admit_next(session: Session, runtime: Runtime) -> Admitted | Idle | LookAgain:
    """Admit the next call of the session's business, or say why not and until when."""
    business = session.scalars(
        select(Business).where(Business.id == tenant_of(session)).with_for_update(key_share=True)
    ).one()
    live, newest, now = session.execute(
        select(func.count(), func.max(CallAttempt.created_at), db_now()).where(CallAttempt.settled_at.is_(None))
    ).one()
    outcome = _decide(session, runtime, business, _Live(live, newest), now)
    business.next_wake_at = outcome.wake_at if isinstance(outcome, Idle) else None
    if isinstance(outcome, Idle) and outcome.wake_at is not None:
        return replace(outcome, wait_s=max(0.0, (outcome.wake_at - now).total_seconds()))
    return outcome


@dataclass(frozen=True)
class _Live:
    """The business's unsettled attempts: how many, and when the newest was admitted."""

    number: int
    newest: datetime | None

    def since(self, moment: datetime | None) -> bool:
        """Whether one was admitted since then."""
        return self.newest is not None and (moment is None or self.newest >= moment)


def _decide(
    session: Session, runtime: Runtime, business: Business, live: _Live, now: datetime
) -> Admitted | Idle | LookAgain:
    if live.number >= business.call_cap:
        return Idle("every slot is taken")
    breaker = Breaker(business.breaker_failures, business.breaker_open_until)
    if breaker.is_open(now):
        return Idle("the breaker is open", breaker.open_until)
    # Conversations that began before the carrier failed say nothing of it, and may last for hours.
    if breaker.failures >= BREAKER_THRESHOLD and live.since(breaker.open_until):
        return Idle("a probe is on its way to the carrier", now + timedelta(seconds=1))
    # Locked before any of their jobs, as everywhere else, and so that no call is admitted behind a cancel's commit.
    runs = session.scalars(
        select(OutboundCallRun)
        .where(OutboundCallRun.status == RunStatus.RUNNING)
        .order_by(OutboundCallRun.last_admitted_at.asc().nulls_first(), OutboundCallRun.id)
        .with_for_update(key_share=True)
    ).all()
    if not runs:
        return Idle("no run is running")
    runs = [run for run in runs if run.caller_ids or business.caller_ids]
    if not runs:
        return Idle(NO_CALLER_ID, now + timedelta(seconds=_NO_CALLER_ID_S))
    wait = _rate_wait(session, runtime, business, now)
    if wait is not None:
        due = _next_due(session, [run.id for run in runs])
        if due is None or due > now:
            return Idle("no job is due", due)
        wake_at = now + wait.own if wait.own else _line_up(session, runtime, now + wait.shared)
        return Idle("the rate is used up", wake_at)
    for run in runs:
        found = _from_run(session, runtime, business, run, now)
        if found == "look again":
            return LookAgain()
        if isinstance(found, CallAttempt):
            _take_tokens(session, runtime, business)
            _leave_line(session)
            run.last_admitted_at = run.heartbeat_at = now
            ATTEMPTS_ADMITTED.inc()
            return Admitted(found, run, breaker, business.call_cap)
    _leave_line(session)
    return Idle("no job is due", _next_due(session, [run.id for run in runs]))


def _next_due(session: Session, run_ids: list[int]) -> datetime | None:
    return session.scalar(
        select(func.min(OutboundCallJob.next_attempt_at)).where(
            OutboundCallJob.run_id.in_(run_ids), OutboundCallJob.status == CallStatus.QUEUED
        )
    )


@dataclass(frozen=True)
class _Wait:
    """How long until a token of the business's own rate, and one of the account's rate that is this business's turn."""

    own: timedelta
    shared: timedelta


def _rate_wait(session: Session, runtime: Runtime, business: Business, now: datetime) -> _Wait | None:
    """Refill the buckets of the business and of the carrier account; how long to wait, if at all.

    The account's tokens go to the businesses in the order in which they began to wait for one: a business takes one
    only where there is one for each business before it, too. So each gets its share, whoever looks most often.
    """
    own = Bucket(business.rate_tokens, business.rate_refilled_at).refilled(now, business.calls_per_second)
    business.rate_tokens, business.rate_refilled_at = own.tokens, own.at
    account = _account(session, runtime)
    rate = runtime.settings.carrier_calls_per_second
    shared = Bucket(account.rate_tokens, account.rate_refilled_at).refilled(now, rate)
    account.rate_tokens, account.rate_refilled_at = shared.tokens, shared.at
    ahead = crossing.ahead_in_line(session, business.id, account.account_sid)
    own_s, shared_s = own.wait_s(business.calls_per_second), shared.wait_s(rate, tokens=1.0 + ahead)
    if own_s <= 0 and shared_s <= 0:
        return None
    return _Wait(timedelta(seconds=own_s), timedelta(seconds=shared_s))


def _line_up(session: Session, runtime: Runtime, wake_at: datetime) -> datetime:
    """Keep the business's place in the line for the account's rate, or take the last one; returns ``wake_at``."""
    values = {"account_sid": runtime.carrier.account_sid, "expires_at": wake_at + _LINE_GRACE}
    statement = insert(RateLine).values(business_id=tenant_of(session), **values)
    session.execute(statement.on_conflict_do_update(index_elements=["business_id"], set_=values))
    return wake_at


def _leave_line(session: Session) -> None:
    session.execute(delete(RateLine).where(RateLine.business_id == tenant_of(session)))


def _account(session: Session, runtime: Runtime) -> CarrierAccount:
    sid = runtime.carrier.account_sid
    account = session.get(CarrierAccount, sid, with_for_update={"key_share": True})
    if account is None:
        session.execute(insert(CarrierAccount).values(account_sid=sid, rate_tokens=1).on_conflict_do_nothing())
        account = session.get_one(CarrierAccount, sid, with_for_update={"key_share": True})
    return account


def _take_tokens(session: Session, runtime: Runtime, business: Business) -> None:
    business.rate_tokens -= 1.0
    session.get_one(CarrierAccount, runtime.carrier.account_sid).rate_tokens -= 1.0


def _from_run(
    session: Session, runtime: Runtime, business: Business, run: OutboundCallRun, now: datetime
) -> CallAttempt | str | None:
    """The attempt of the run's next eligible job; None: it has none; ``look again``: enough was passed over."""
    for _ in range(_PASSED_OVER):
        job = session.scalars(
            select(OutboundCallJob)
            .where(
                OutboundCallJob.run_id == run.id,
                OutboundCallJob.status == CallStatus.QUEUED,
                OutboundCallJob.next_attempt_at <= now,
            )
            .order_by(OutboundCallJob.next_attempt_at, OutboundCallJob.id)
            .limit(1)
            .with_for_update(skip_locked=True, key_share=True)
        ).first()
        if job is None:
            return None
        opens_at = next_opening(now, job.timezone, run.calling_from, run.calling_until, run.calling_days)
        if opens_at is not None:
            _defer_zone(session, run, job.timezone, now, opens_at)
        elif is_listed(session, job.to_number):
            finish_job(session, runtime, run, job, CallStatus.SKIPPED, "on the do-not-call list", now=now)
        elif job.lead_id is not None and is_deleted(session, job.lead_id, job.to_number):
            finish_job(session, runtime, run, job, CallStatus.SKIPPED, LEAD_DELETED, now=now)
        elif attempt := _insert(session, runtime, business, run, job):
            return attempt
        else:
            # Another run has a live call to the same number; two at once could not be told apart at the carrier.
            job.next_attempt_at = now + timedelta(seconds=_NUMBER_BUSY_S)
            session.flush()
    return "look again"


def _defer_zone(session: Session, run: OutboundCallRun, zone: str, now: datetime, until: datetime) -> None:
    """Put off every due job of the run in a time zone whose calling hours are over, so none is looked at again."""
    due = (
        select(OutboundCallJob.id)
        .where(
            OutboundCallJob.run_id == run.id,
            OutboundCallJob.status == CallStatus.QUEUED,
            OutboundCallJob.timezone == zone,
            OutboundCallJob.next_attempt_at <= now,
        )
        .limit(_DEFER_CHUNK)
    )
    session.execute(
        update(OutboundCallJob)
        .where(OutboundCallJob.id.in_(due.scalar_subquery()))
        .values(next_attempt_at=until, reason="outside the calling hours of its time zone")
        .execution_options(synchronize_session=False)
    )


def _insert(
    session: Session, runtime: Runtime, business: Business, run: OutboundCallRun, job: OutboundCallJob
) -> CallAttempt | None:
    pool = run.caller_ids or business.caller_ids
    number = job.attempts + 1
    attempt = session.scalars(
        insert(CallAttempt)
        .values(
            id=func.gen_random_uuid(),
            business_id=business.id,
            run_id=run.id,
            job_id=job.id,
            number=number,
            account_sid=runtime.carrier.account_sid,
            from_number=pool[(job.id + number) % len(pool)],
            to_number=job.to_number,
        )
        .on_conflict_do_nothing(index_elements=["account_sid", "to_number"], index_where=text("settled_at IS NULL"))
        .returning(CallAttempt)
    ).first()
    if attempt is not None:
        job.status = CallStatus.DIALING
        job.reason = None
        session.flush()
    return attempt
