"""Reconciles a restored database with the carrier, so that nobody who was called since the backup is called again.

A database that was brought back to an earlier point has forgotten the calls that were placed since: its rows say that
these people are still to be called. So every open run is paused first, the carrier is asked for its calls since that
point, and what the rows do not know is written into them. Doing it twice changes nothing more.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.calls import campaign
from switchboard_core.calls.asking import unclaimed_call
from switchboard_core.calls.carrier import CLOCKS_APART, CarrierCall
from switchboard_core.calls.models import CallAttempt, OutboundCallJob, OutboundCallRun
from switchboard_core.calls.progress import recount
from switchboard_core.calls.service import pause_every_run
from switchboard_core.calls.settle import OUTCOME_UNKNOWN, Evidence, apply_event
from switchboard_core.calls.states import CARRIER_TERMINAL, CallEvent, CallStatus, RunStatus, carrier_event
from switchboard_core.jobs.kernel import Kernel
from switchboard_core.logs import get_logger
from switchboard_core.runtime import Runtime
from switchboard_core.sql import db_now

log = get_logger(__name__)

PAUSED = "paused by `switchboard reconcile`"
CALLED = "called before the restore"

_MARGIN = 2 * CLOCKS_APART
"""Also because the backup began a moment before it was said to."""
_WAITING = ("queued", "ringing", "in-progress")
_CHUNK = 1000
_MOST_SLICES = 10_000
_SENDERS = ("broadcast", "send_payment_receipt_job")


@dataclass
class Reconciled:
    """What was found and done.

    Attributes:
        paused: runs that are paused now, as ``(business, run)``.
        calls: calls that the carrier has had since.
        settled: open attempts of the backup that are settled now.
        skipped: call jobs taken out, because the carrier has called their number since.
        live: calls that go on right now and of which no row knows.
        unexpanded: runs whose leads could not be listed yet: reconcile again before they are resumed.
        senders: open tasks that may send mail or SMS a second time, as ``(business, task)``.
    """

    paused: list[tuple[int, int]] = field(default_factory=list)
    calls: int = 0
    settled: int = 0
    skipped: int = 0
    live: int = 0
    unexpanded: list[int] = field(default_factory=list)
    senders: list[tuple[int, int]] = field(default_factory=list)


def reconcile(runtime: Runtime, since: datetime) -> Reconciled:
    """Pause every run, and write what the carrier has done since a moment into the rows.

    Args:
        runtime: of any process with the environment of a worker; services may run or not.
        since: the moment that the database was brought back to, or earlier.

    Raises:
        CarrierUnavailableError: the carrier does not answer. Every run is paused by then; nothing else was done.
    """
    report = Reconciled()
    with runtime.database.crossing() as session:
        business_ids = [ref.business_id for ref in crossing.businesses(session)]
    for business_id in business_ids:
        _pause(runtime, business_id, report)
    calls = _calls_since(runtime, since - _MARGIN)
    report.calls = len(calls)
    _expand(runtime, report)
    for business_id in business_ids:
        _settle_open(runtime, business_id, calls, report)
    unknown = list(_unknown(runtime, calls))
    report.live = sum(call.status not in CARRIER_TERMINAL for call in unknown)
    for business_id in business_ids:
        _take_out(runtime, business_id, sorted({call.to_number for call in unknown}), report)
    log.info("reconciled with the carrier", calls=report.calls, settled=report.settled, skipped=report.skipped)
    return report


def _pause(runtime: Runtime, business_id: int, report: Reconciled) -> None:
    with runtime.database.tenant(business_id) as session:
        pause_every_run(session, reason=PAUSED)
        paused = session.scalars(select(OutboundCallRun.id).where(OutboundCallRun.status == RunStatus.PAUSED))
        report.paused += [(business_id, run_id) for run_id in sorted(paused)]
        senders = text(
            "SELECT id FROM background_jobs WHERE status IN ('pending', 'running') AND job_type = ANY (:senders) "
            "ORDER BY id"
        )
        tasks = session.execute(senders, {"senders": list(_SENDERS)}).scalars()
        report.senders += [(business_id, task_id) for task_id in tasks]


def _calls_since(runtime: Runtime, since: datetime) -> dict[str, CarrierCall]:
    """By sid; those that wait to be dialled have not begun, so they are asked for by their state."""
    calls = {call.sid: call for call in runtime.carrier.calls(started_after=since)}
    for status in _WAITING:
        calls |= {call.sid: call for call in runtime.carrier.calls(status=status)}
    return calls


def _expand(runtime: Runtime, report: Reconciled) -> None:
    """Give the leads of paused runs their call jobs: what has no row cannot be taken out."""
    tasks = {"enqueue_outbound_calls": campaign.task(runtime)}
    kernel = Kernel(runtime.settings, runtime.database, runtime.transport, runtime.tasks, tasks)
    try:
        for business_id, run_id in report.paused:
            if not _expand_one(runtime, kernel, business_id, run_id):
                report.unexpanded.append(run_id)
    finally:
        kernel.close()


def _expand_one(runtime: Runtime, kernel: Kernel, business_id: int, run_id: int) -> bool:
    seen: int | None = None
    for _ in range(_MOST_SLICES):
        with runtime.database.tenant(business_id) as session:
            run = session.get_one(OutboundCallRun, run_id)
            row = session.execute(
                text("SELECT attempt FROM background_jobs WHERE id = :id"), {"id": run.background_job_id}
            ).first()
        if run.expanded_at is not None:
            return True
        if run.background_job_id is None or row is None or row.attempt == seen:
            return False  # nobody can claim it now: a worker may have it, or it sleeps
        seen = row.attempt
        kernel.run_slice(run.background_job_id)
    return False


def _settle_open(runtime: Runtime, business_id: int, calls: dict[str, CarrierCall], report: Reconciled) -> None:
    with runtime.database.tenant(business_id) as session:
        open_attempts = session.scalars(select(CallAttempt).where(CallAttempt.settled_at.is_(None))).all()
    for attempt in open_attempts:
        call = _call_of(runtime, attempt, calls)
        with runtime.database.tenant(business_id) as session:
            if call is not None:
                # The backup may be from between the attempt's commit and its send.
                session.execute(
                    update(CallAttempt)
                    .where(CallAttempt.id == attempt.id, CallAttempt.sent_at.is_(None))
                    .values(sent_at=call.created_at or db_now())
                    .execution_options(synchronize_session=False)
                )
            event, evidence = _event_of(attempt, call)
            applied = apply_event(session, runtime, attempt.id, event, evidence) if event else None
            report.settled += applied is not None and applied.settled_now


def _call_of(runtime: Runtime, attempt: CallAttempt, calls: dict[str, CarrierCall]) -> CarrierCall | None:
    """The call of an open attempt: by its sid, else as the call that nobody else has."""
    if attempt.call_sid is not None:
        return calls.get(attempt.call_sid) or runtime.carrier.fetch(attempt.call_sid)
    return unclaimed_call(runtime, attempt, attempt.sent_at or attempt.created_at)


def _event_of(attempt: CallAttempt, call: CarrierCall | None) -> tuple[CallEvent | None, Evidence]:
    if call is not None:
        return carrier_event(call.status), Evidence(call.sid, call.status, call.answered_by, call.duration_s)
    if attempt.sent_at is None:
        return CallEvent.NOT_SENT, Evidence(reason="the carrier has no call of it")
    return CallEvent.OUTCOME_UNKNOWN, Evidence(reason=OUTCOME_UNKNOWN)


def _unknown(runtime: Runtime, calls: dict[str, CarrierCall]) -> Iterator[CarrierCall]:
    """Calls that no attempt knows by their sid."""
    with runtime.database.crossing() as session:
        yield from (call for call in calls.values() if crossing.attempt_by_sid(session, call.sid) is None)


def _take_out(runtime: Runtime, business_id: int, numbers: list[str], report: Reconciled) -> None:
    """Skip every waiting call job of an open run whose number was called, whoever called it."""
    for start in range(0, len(numbers), _CHUNK):
        with runtime.database.tenant(business_id) as session:
            report.skipped += _skip(session, runtime, numbers[start : start + _CHUNK])


def _skip(session: Session, runtime: Runtime, numbers: list[str]) -> int:
    runs = session.scalars(
        select(OutboundCallRun)
        .where(OutboundCallRun.status == RunStatus.PAUSED)
        .order_by(OutboundCallRun.id)
        .with_for_update(key_share=True)
    ).all()
    skipped = 0
    for run in runs:
        rows = session.execute(
            update(OutboundCallJob)
            .where(
                OutboundCallJob.run_id == run.id,
                OutboundCallJob.status == CallStatus.QUEUED,
                OutboundCallJob.to_number.in_(numbers),
            )
            .values(status=CallStatus.SKIPPED, reason=CALLED, finished_at=db_now(), updated_at=db_now())
            .returning(OutboundCallJob.id)
            .execution_options(synchronize_session=False)
        ).all()
        if rows:
            recount(session, runtime, run)
        skipped += len(rows)
    return skipped
