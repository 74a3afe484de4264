"""Clean-up on evidence: calls that fell silent, runs without a worker, slots that differ from the rows.

A process that starts proves nothing about calls that live, so nothing here concludes from a restart: an attempt is
moved by what the carrier says of it, and a run only ends when no worker has been seen for the dead-worker limit.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from redis.exceptions import RedisError
from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.calls.asking import ask_about, unclaimed_call
from switchboard_core.calls.campaign import WATCH_S
from switchboard_core.calls.carrier import CarrierCall, CarrierUnavailableError
from switchboard_core.calls.dial import hang_up
from switchboard_core.calls.models import CallAttempt, OutboundCallJob, OutboundCallRun
from switchboard_core.calls.progress import recount
from switchboard_core.calls.pump import rebuild_slots
from switchboard_core.calls.schemas import CleanupReport
from switchboard_core.calls.settle import OUTCOME_UNKNOWN, Evidence, apply_event
from switchboard_core.calls.states import TERMINAL_CALLS, CallEvent, CallStatus, RunStatus, carrier_event
from switchboard_core.jobs.models import BackgroundJob, WorkerHeartbeat
from switchboard_core.jobs.queueing import OPEN, wake_now
from switchboard_core.jobs.states import JobStatus
from switchboard_core.logs import get_logger
from switchboard_core.recordings.service import note_recording
from switchboard_core.runtime import Runtime
from switchboard_core.settings import ServiceRole
from switchboard_core.sql import after_seconds, db_now

log = get_logger(__name__)

BATCH = 100
ASK_AGAIN_AFTER_S = 1.0
ANSWER_AWAITED_S = 5.0
"""So long after a question is somebody else's to ask again, where who asked was killed before the answer."""
RECORDING_AWAITED_S = 600.0
"""The carrier is asked for the recording of a call until this long after its end, as long as there is none."""
_MADE = frozenset({"completed", "absent"})


@dataclass(frozen=True)
class _Seen:
    """An attempt as it was read, and the database's time of reading it."""

    attempt: CallAttempt
    now: datetime

    def older_than(self, seconds: float) -> bool:
        since = self.attempt.sent_at or self.attempt.created_at
        return self.now - since > timedelta(seconds=seconds)


def settle_silent(
    runtime: Runtime, *, silent_s: float | None = None, only_business: int | None = None
) -> CleanupReport:
    """Ask the carrier about attempts that fell silent, and move them by its answer.

    For a few seconds, those that have been silent longest first: the next pass goes on.

    Args:
        runtime: of the process.
        silent_s: seconds without a word; default from the settings.
        only_business: look at this business only.
    """

    def unanswered(ref: crossing.AttemptRef, error: CarrierUnavailableError) -> None:
        log.warning(
            "the carrier cannot say what became of a call; asked again later", attempt_id=str(ref.id), error=str(error)
        )
        _ask_again(runtime, ref)

    refs = _silent(runtime, runtime.settings.settle_after_seconds if silent_s is None else silent_s, only_business)
    settled = ask_about(refs, lambda ref: _look_into(runtime, ref), unanswered)
    return CleanupReport(attempts_checked=len(settled), attempts_settled=sum(settled))


def _silent(runtime: Runtime, silent_s: float, only_business: int | None) -> list[crossing.AttemptRef]:
    """The attempts that fell silent, oldest first."""
    if only_business is None:
        with runtime.database.crossing() as session:
            return crossing.silent_attempts(session, silent_s, BATCH)
    heard_of = func.coalesce(CallAttempt.checked_at, CallAttempt.sent_at, CallAttempt.created_at)
    with runtime.database.tenant(only_business) as session:
        ids = session.scalars(
            select(CallAttempt.id)
            .where(CallAttempt.settled_at.is_(None), heard_of < after_seconds(-silent_s))
            .order_by(heard_of, CallAttempt.id)
            .limit(BATCH)
        )
        return [crossing.AttemptRef(only_business, attempt_id) for attempt_id in ids]


def _look_into(runtime: Runtime, ref: crossing.AttemptRef) -> bool:
    """Find out about one silent attempt; returns whether it is settled now."""
    with runtime.database.tenant(ref.business_id) as session:
        attempt = session.get(CallAttempt, ref.id, with_for_update={"key_share": True})
        if attempt is None or attempt.settled_at is not None:
            return False
        now = session.execute(select(db_now())).scalar_one()
        attempt.checked_at = now + timedelta(seconds=_sooner_s(runtime, ANSWER_AWAITED_S))
        seen = _Seen(attempt, now)
    event, evidence = _evidence(runtime, seen)
    if event is None:
        return False
    with runtime.database.tenant(ref.business_id) as session:
        applied = apply_event(session, runtime, ref.id, event, evidence)
        if applied is not None:
            applied.attempt.checked_at = now
    if applied is None:
        return False
    log.info(
        "silent call looked into",
        attempt_id=str(ref.id),
        call_event=str(event),
        before=str(applied.before),
        after=str(applied.attempt.state),
    )
    if applied.hang_up and applied.attempt.call_sid:
        hang_up(runtime, applied.attempt.call_sid)
    return applied.settled_now


def _sooner_s(runtime: Runtime, again_after_s: float) -> float:
    """What to add to the time of a question so that it is asked again so many seconds later, at the latest."""
    return min(0.0, again_after_s - runtime.settings.settle_after_seconds)


def _ask_again(runtime: Runtime, ref: crossing.AttemptRef) -> None:
    """Ask about an attempt again soon: its slot must not wait another whole silence for one failed question.

    Attempts that fell silent meanwhile come first, so questions that fail again and again hold up no other.
    """
    with runtime.database.tenant(ref.business_id) as session:
        session.execute(
            update(CallAttempt)
            .where(CallAttempt.id == ref.id, CallAttempt.settled_at.is_(None))
            .values(checked_at=after_seconds(_sooner_s(runtime, ASK_AGAIN_AFTER_S)))
            .execution_options(synchronize_session=False)
        )


def _evidence(runtime: Runtime, seen: _Seen) -> tuple[CallEvent | None, Evidence]:
    attempt = seen.attempt
    if attempt.sent_at is None:
        # The last look before the send refuses an attempt of this age: nothing was sent and nothing ever will be.
        late = seen.older_than(runtime.settings.dial_deadline_seconds + 1)
        return (CallEvent.NOT_SENT if late else None), Evidence(reason="its worker stopped before the call was sent")
    call = _at_carrier(runtime, attempt)
    if call is not None:
        evidence = Evidence(call.sid, call.status, call.answered_by, call.duration_s)
        return carrier_event(call.status), evidence
    if seen.older_than(runtime.settings.unknown_outcome_after_seconds):
        return CallEvent.OUTCOME_UNKNOWN, Evidence(reason=OUTCOME_UNKNOWN)
    return CallEvent.ANSWER_LOST, Evidence(reason="the answer to the create call was lost")


def _at_carrier(runtime: Runtime, attempt: CallAttempt) -> CarrierCall | None:
    """The call of an attempt at the carrier: by its sid, else as the call that nobody else has."""
    if attempt.call_sid is not None:
        return runtime.carrier.fetch(attempt.call_sid)
    assert attempt.sent_at is not None
    return unclaimed_call(runtime, attempt, attempt.sent_at)


def list_lost_recordings(runtime: Runtime, *, after_s: float | None = None) -> int:
    """Ask the carrier for recordings whose webhook never came; returns how many were found.

    A recording that is still being made is asked about again. For a few seconds, in any order: recordings that are
    long in coming, or that the carrier has trouble with, hold up no other.

    Args:
        runtime: of the process.
        after_s: seconds after the end of the call; default from the settings.
    """
    with runtime.database.crossing() as session:
        refs = crossing.unlisted_recordings(
            session, runtime.settings.settle_after_seconds if after_s is None else after_s, BATCH
        )
    random.shuffle(refs)
    return sum(ask_about(refs, lambda ref: _note_recordings(runtime, ref), _not_listed))


def _not_listed(ref: crossing.AttemptRef, error: CarrierUnavailableError) -> None:
    log.warning("the carrier cannot list recordings; asked again later", attempt_id=str(ref.id), error=str(error))


def _note_recordings(runtime: Runtime, ref: crossing.AttemptRef) -> int:
    """Ask for the recordings of one call and note them; returns how many."""
    with runtime.database.tenant(ref.business_id) as session:
        attempt = session.get_one(CallAttempt, ref.id)
    if attempt.call_sid is None:
        return 0
    made = [item for item in runtime.carrier.recordings_of(attempt.call_sid) if item.status in _MADE]
    with runtime.database.tenant(ref.business_id) as session:
        for item in made:
            note_recording(
                session,
                runtime,
                attempt,
                recording_sid=item.sid,
                media_url=item.media_url,
                duration_s=item.duration_s,
                absent_code="unknown" if item.status == "absent" else None,
            )
        session.execute(
            update(CallAttempt)
            .where(CallAttempt.id == ref.id, CallAttempt.settled_at < after_seconds(-RECORDING_AWAITED_S))
            .values(recordings_listed_at=db_now())
            .execution_options(synchronize_session=False)
        )
    return len(made)


def cleanup_stuck_dialing_jobs(runtime: Runtime, business_id: int | None = None) -> CleanupReport:
    """Settle attempts that nobody works on any more, by what the carrier says of them.

    An attempt younger than its deadline may be in the hands of a live worker and is left alone.
    """
    return settle_silent(runtime, silent_s=runtime.settings.dial_deadline_seconds + 1, only_business=business_id)


def cleanup_stuck_runs(runtime: Runtime, business_id: int | None = None, *, on_startup: bool = False) -> CleanupReport:
    """Take over runs that are stuck, or end them where nobody can.

    *Stuck* means: no current lease on its work, no heartbeat for longer than the dead-worker limit, and no live call at
    the carrier. A stuck run is handed to a live worker; without one it and its jobs become ``failed``.

    Args:
        runtime: of the process.
        business_id: look at this business only.
        on_startup: for the log: called when the api starts.
    """
    with runtime.database.crossing() as session:
        refs = [ref for ref in crossing.open_runs(session) if business_id in (None, ref.business_id)]
    report = CleanupReport()
    for ref in refs:
        with runtime.database.tenant(ref.business_id) as session:
            verdict = _mend_run(session, runtime, ref.id)
        report.runs_taken_over += verdict == "taken over"
        report.runs_failed += verdict == "failed"
        if verdict:
            log.warning("stuck run", run_id=ref.id, business_id=ref.business_id, verdict=verdict, on_startup=on_startup)
    return report


def _mend_run(session: Session, runtime: Runtime, run_id: int) -> str | None:
    limit_s = runtime.settings.dead_worker_after_seconds
    run = session.get(OutboundCallRun, run_id, with_for_update={"key_share": True})
    if run is None or run.status.terminal or not _is_stuck(session, run, max(limit_s, 2 * WATCH_S)):
        return None
    alive = worker_lives(session, limit_s)
    task = session.get(BackgroundJob, run.background_job_id) if run.background_job_id is not None else None
    if task is None or task.status.terminal:
        fail_run(session, runtime, run, (task and task.reason) or "Its task has ended without it.")
        if task is not None:
            recount(session, runtime, run)
        return "failed"
    if not alive and run.status is RunStatus.PAUSED:
        return None  # it needs no worker; whoever resumes it wakes one
    if alive:
        run.heartbeat_at = session.execute(select(db_now())).scalar_one()
        session.flush()
        wake_now(session, runtime.transport, task.id)
        return "taken over"
    fail_run(session, runtime, run, f"No worker has worked on it for {limit_s:.0f} seconds.")
    return "failed"


def worker_lives(session: Session, limit_s: float) -> bool:
    """Whether a worker was heard of within so many seconds."""
    seen = exists().where(WorkerHeartbeat.role == ServiceRole.WORKER, WorkerHeartbeat.seen_at > after_seconds(-limit_s))
    return bool(session.scalar(select(seen)))


def _is_stuck(session: Session, run: OutboundCallRun, limit_s: float) -> bool:
    long_ago = after_seconds(-limit_s)
    leased = session.scalar(
        select(
            exists().where(
                BackgroundJob.id == run.background_job_id, BackgroundJob.lease_until > func.clock_timestamp()
            )
        )
    )
    live = session.scalar(select(exists().where(CallAttempt.run_id == run.id, CallAttempt.settled_at.is_(None))))
    silent = session.scalar(select(OutboundCallRun.heartbeat_at < long_ago).where(OutboundCallRun.id == run.id))
    return bool(silent) and not leased and not live


def fail_run(session: Session, runtime: Runtime, run: OutboundCallRun, reason: str) -> None:
    """End a run that nobody can take over, with its jobs and its background job, in one transaction."""
    now = session.execute(select(db_now())).scalar_one()
    run.status, run.reason, run.finished_at = RunStatus.FAILED, reason, now
    session.execute(
        update(OutboundCallJob)
        .where(OutboundCallJob.run_id == run.id, OutboundCallJob.status.not_in(TERMINAL_CALLS))
        .values(status=CallStatus.FAILED, reason=reason, finished_at=now, updated_at=now)
        .execution_options(synchronize_session=False)
    )
    failed = select(func.count()).where(OutboundCallJob.run_id == run.id, OutboundCallJob.status == CallStatus.FAILED)
    ended = select(func.count()).where(OutboundCallJob.run_id == run.id, OutboundCallJob.status != CallStatus.FAILED)
    row = session.scalars(
        update(BackgroundJob)
        .where(BackgroundJob.id == run.background_job_id, BackgroundJob.status.in_(OPEN))
        .values(
            status=JobStatus.FAILED,
            reason=reason,
            failed=failed.scalar_subquery(),
            done=ended.scalar_subquery(),
            lease_until=None,
            attempt=BackgroundJob.attempt + 1,
            finished_at=now,
            version=BackgroundJob.version + 1,
        )
        .returning(BackgroundJob)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).first()
    if row is not None:
        runtime.tasks.publish_after_commit(session, row)


def rebuild_all_slots(runtime: Runtime, business_ids: Iterable[int]) -> int:
    """Make the semaphores what PostgreSQL says; returns how many slots are taken in all."""
    taken = 0
    for business_id in business_ids:
        with runtime.database.tenant(business_id) as session:
            try:
                taken += rebuild_slots(session, runtime, business_id)
            except RedisError as error:
                log.warning("slots not rebuilt: Redis does not answer", error=type(error).__name__)
                return taken
    return taken


def cleanup_business(runtime: Runtime, business_id: int) -> CleanupReport:
    """The clean-up that a person asks for, of one business: silent calls, stuck runs, slots."""
    calls = cleanup_stuck_dialing_jobs(runtime, business_id)
    runs = cleanup_stuck_runs(runtime, business_id)
    return calls.model_copy(
        update={
            "runs_taken_over": runs.runs_taken_over,
            "runs_failed": runs.runs_failed,
            "slots": rebuild_all_slots(runtime, [business_id]),
        }
    )
