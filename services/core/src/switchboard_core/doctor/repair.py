"""Mends what ``examine`` found, with the product's own verbs, each in a transaction of its business.

A repair looks again under its locks: what has healed meanwhile is left alone.
"""

import uuid
from collections.abc import Callable, Iterable

from sqlalchemy import text
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.calls.cleanup import fail_run, rebuild_all_slots, settle_silent
from switchboard_core.calls.derive import derive_job, end_waiting_jobs
from switchboard_core.calls.dial import hang_up
from switchboard_core.calls.models import OutboundCallRun
from switchboard_core.calls.progress import recount
from switchboard_core.doctor.rules import WORDS, Finding, Rule
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import admit, enqueue, wakeup_of
from switchboard_core.jobs.states import JobStatus
from switchboard_core.jobs.transport import recording_wakeup
from switchboard_core.logs import get_logger
from switchboard_core.outbox import service as outbox
from switchboard_core.outbox.states import MessageEvent
from switchboard_core.runtime import Runtime

log = get_logger(__name__)

_END_TIMES = {
    "call job": "UPDATE outbound_call_jobs SET finished_at = CASE WHEN status IN ('completed', 'busy', 'no_answer', "
    "'failed', 'canceled', 'skipped') THEN coalesce(finished_at, updated_at) END WHERE id = :id",
    "task": "UPDATE background_jobs SET finished_at = CASE WHEN status IN ('completed', 'failed', 'cancelled') "
    "THEN coalesce(finished_at, heartbeat_at, clock_timestamp()) END, version = version + 1 WHERE id = :id",
    "run": "UPDATE outbound_call_runs SET finished_at = CASE WHEN status IN ('completed', 'failed', 'cancelled') "
    "THEN coalesce(finished_at, heartbeat_at) END WHERE id = :id",
}
_LEASES = {
    "task": "UPDATE background_jobs SET lease_until = NULL "
    "WHERE id = :id AND status IN ('completed', 'failed', 'cancelled')",
    "recording": "UPDATE recordings SET lease_until = NULL "
    "WHERE id = :id AND status IN ('completed', 'absent', 'failed')",
}


def curable(findings: Iterable[Finding]) -> list[Finding]:
    """Those that ``repair`` does something about."""
    return [finding for finding in findings if WORDS[finding.rule].cure]


def repair(runtime: Runtime, finding: Finding) -> str:
    """Mend one breach; returns what was done, for people.

    Raises:
        CarrierUnavailableError: the carrier has to be asked and does not answer.
    """
    if finding.rule in _OUTSIDE:
        done = _OUTSIDE[finding.rule](runtime, finding)
    elif finding.rule in _INSIDE:
        with runtime.database.tenant(finding.business_id) as session:
            done = _INSIDE[finding.rule](session, runtime, finding)
    else:
        done = WORDS[finding.rule].advice
    log.warning("doctor", rule=str(finding.rule), business_id=finding.business_id, subject=finding.subject, done=done)
    return done


def _recount(session: Session, runtime: Runtime, finding: Finding) -> str:
    task = recount(session, runtime, session.get_one(OutboundCallRun, int(finding.key)))
    return f"counted again: {task.done} done, {task.failed} failed, {task.total} in all" if task else "it has no task"


def _derive(session: Session, runtime: Runtime, finding: Finding) -> str:
    job = derive_job(session, runtime, int(finding.key))
    return f"{job.status} now, with {job.attempts} calls" if job else "it is gone"


def _end_time(session: Session, _runtime: Runtime, finding: Finding) -> str:
    session.execute(text(_END_TIMES[_kind(finding)]), {"id": int(finding.key)})
    return "its time of ending agrees with its status"


def _stale_lease(session: Session, _runtime: Runtime, finding: Finding) -> str:
    session.execute(text(_LEASES[_kind(finding)]), {"id": int(finding.key)})
    return "its lease was taken away"


def _unfinished(session: Session, runtime: Runtime, finding: Finding) -> str:
    return f"{end_waiting_jobs(session, runtime, int(finding.key))} call jobs were ended as canceled"


def _run_and_task(session: Session, runtime: Runtime, finding: Finding) -> str:
    run = session.get_one(OutboundCallRun, int(finding.key), with_for_update={"key_share": True})
    task = session.get_one(BackgroundJob, run.background_job_id, with_for_update={"key_share": True})
    # The fence moves too: a worker that is in the middle of a slice of it writes nothing.
    task.status, task.finished_at, task.lease_until = JobStatus(run.status.value), run.finished_at, None
    task.attempt, task.version = task.attempt + 1, task.version + 1
    session.flush()
    runtime.tasks.publish_after_commit(session, task)
    return f"its task is {task.status} now"


def _watch(session: Session, runtime: Runtime, finding: Finding) -> str:
    """Give an open run a task again; one that nobody knows the leads of any more fails with that reason."""
    run = session.get_one(OutboundCallRun, int(finding.key), with_for_update={"key_share": True})
    old = session.get(BackgroundJob, run.background_job_id) if run.background_job_id else None
    if old is None and run.expanded_at is None:
        fail_run(session, runtime, run, "Its task was lost before its leads were known. Start it anew.")
        return "it failed: nobody knows its leads any more"
    payload = old.payload if old is not None else {"run_id": run.id, "leads": {"all": True}}
    limit = runtime.settings.jobs_admitted_per_business
    task = enqueue(session, runtime.transport, "enqueue_outbound_calls", payload, admit_limit=limit)
    run.background_job_id = task.id
    session.flush()
    recount(session, runtime, run)
    return f"task {task.id} watches it now"


def _refill(session: Session, _runtime: Runtime, finding: Finding) -> str:
    session.execute(
        text("UPDATE businesses SET rate_tokens = 0 WHERE id = :id AND rate_tokens < 0"), {"id": int(finding.key)}
    )
    return "0 tokens"


def _message(session: Session, _runtime: Runtime, finding: Finding) -> str:
    message = outbox.get(session, uuid.UUID(finding.key), lock=True)
    event = MessageEvent.ANSWER_LOST if message.handed_over_at else MessageEvent.NOT_SENT
    return f"{outbox.record(session, message.id, event, attempt=int(finding.stamp)).state} now"


def _admit(session: Session, runtime: Runtime, finding: Finding) -> str:
    limit = runtime.settings.jobs_admitted_per_business
    return f"{admit(session, runtime.transport, finding.key, limit=limit)} were admitted"


def _enqueue(session: Session, runtime: Runtime, finding: Finding) -> str:
    task = session.get(BackgroundJob, int(finding.key))
    pushed = task is not None and runtime.transport.push(wakeup_of(task), reclaim=task.lease_until is not None)
    return "its wake-up was queued" if pushed else "it was queued already"


def _enqueue_recording(_session: Session, runtime: Runtime, finding: Finding) -> str:
    runtime.transport.push(recording_wakeup(int(finding.key), finding.business_id), reclaim=True)
    return "its wake-up was queued"


def _rebuild(runtime: Runtime, finding: Finding) -> str:
    return f"rebuilt: {rebuild_all_slots(runtime, [finding.business_id])} slots are taken"


def _drop(runtime: Runtime, finding: Finding) -> str:
    return "it was deleted" if runtime.transport.drop(finding.key) else "it was gone already"


def _refill_account(runtime: Runtime, finding: Finding) -> str:
    with runtime.database.crossing() as session:
        session.execute(
            text("UPDATE carrier_accounts SET rate_tokens = 0 WHERE account_sid = :sid AND rate_tokens < 0"),
            {"sid": finding.key},
        )
    return "0 tokens"


def _rate(runtime: Runtime, finding: Finding) -> str:
    if finding.business_id == 0:
        return _refill_account(runtime, finding)
    with runtime.database.tenant(finding.business_id) as session:
        return _refill(session, runtime, finding)


def _settle(runtime: Runtime, finding: Finding) -> str:
    report = settle_silent(runtime, silent_s=0.0, only_business=finding.business_id)
    return f"the carrier was asked about {report.attempts_checked} calls, {report.attempts_settled} were settled"


def _hang_up(runtime: Runtime, finding: Finding) -> str:
    with runtime.database.crossing() as session:
        owner = crossing.attempt_by_sid(session, finding.key)
    if owner is None:
        return "left alone: no row knows it"
    return "hung up" if hang_up(runtime, finding.key) else "the carrier did not answer"


def _kind(finding: Finding) -> str:
    return finding.subject.rpartition(" ")[0]


_INSIDE: dict[Rule, Callable[[Session, Runtime, Finding], str]] = {
    Rule.COUNTERS: _recount,
    Rule.TOTAL: _recount,
    Rule.CALL_STATE: _derive,
    Rule.CALL_ATTEMPTS: _derive,
    Rule.END_TIME: _end_time,
    Rule.STALE_LEASE: _stale_lease,
    Rule.UNFINISHED_RUN: _unfinished,
    Rule.RUN_AND_TASK: _run_and_task,
    Rule.RUN_UNWATCHED: _watch,
    Rule.STUCK_MESSAGE: _message,
    Rule.NOT_ADMITTED: _admit,
    Rule.ORPHAN_JOB: _enqueue,
    Rule.ORPHAN_RECORDING: _enqueue_recording,
}
_OUTSIDE: dict[Rule, Callable[[Runtime, Finding], str]] = {
    Rule.RATE: _rate,
    Rule.SLOTS: _rebuild,
    Rule.WAKE_UP_WITHOUT_ROW: _drop,
    Rule.SLOT_WITHOUT_CALL: _settle,
    Rule.CALL_WITHOUT_SLOT: _hang_up,
}
