"""The short way of the carrier's ordinary words: one statement and one round trip, made from the table of states.

It does what ``settle.apply_event`` does for an event that only says that a call goes on, or that it ended and is not
tried again, and nothing where that would do anything else: late and doubled events, failures, retries, what is being
cancelled, rows that somebody holds. For all of these, and after every error, ask ``apply_event``. That the two agree is
tested row by row (docs/decisions/0026).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from switchboard_core.calls.settle import Evidence, release_slot
from switchboard_core.calls.states import (
    CARRIER_TERMINAL,
    TRANSITIONS,
    AttemptState,
    CallEvent,
    job_status,
    next_state,
)
from switchboard_core.crossing import AttemptRef
from switchboard_core.db import Database
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import wakeup_of
from switchboard_core.jobs.schemas import snapshot
from switchboard_core.jobs.transport import process_next_wakeup
from switchboard_core.logs import get_logger
from switchboard_core.metrics import ATTEMPTS_SETTLED
from switchboard_core.runtime import Runtime

log = get_logger(__name__)

# Who has locked one of the rows is not waited for. Once they are locked, PostgreSQL looks at their newest versions.
_LOCKED = """
    SELECT job.id, attempt.state AS before, run.id AS run_id, run.background_job_id, run.record, run.expanded_at
    FROM call_attempts attempt
    JOIN outbound_call_jobs job ON job.id = attempt.job_id
    JOIN outbound_call_runs run ON run.id = attempt.run_id
    WHERE attempt.id = %(attempt_id)s AND attempt.state = ANY(%(sources)s)
      AND (attempt.carrier_status IS NULL OR attempt.carrier_status <> ALL(%(carrier_terminal)s))
      AND NOT run.retry_after_s ?| %(tried_again)s
    FOR NO KEY UPDATE OF job, attempt SKIP LOCKED
"""

_KEEP = """
    call_sid = coalesce(attempt.call_sid, %(call_sid)s),
    carrier_status = coalesce(%(carrier_status)s, attempt.carrier_status),
    answered_by = coalesce(%(answered_by)s, attempt.answered_by),
    duration_s = coalesce(%(duration_s)s, attempt.duration_s)
"""

_GOES_ON = f"""
    WITH locked AS ({_LOCKED}), moved AS (
        UPDATE call_attempts attempt
        SET state = %(after)s, {_KEEP},
            answered_at = CASE WHEN %(answered)s THEN clock_timestamp() ELSE attempt.answered_at END
        FROM locked WHERE attempt.id = %(attempt_id)s AND attempt.job_id = locked.id
        RETURNING attempt.job_id, locked.before
    )
    UPDATE outbound_call_jobs job SET status = %(job_status)s, updated_at = clock_timestamp()
    FROM moved WHERE job.id = moved.job_id
    RETURNING moved.before
"""  # noqa: S608 - made of constants

_TASK = tuple(column.name for column in BackgroundJob.__table__.columns)

_ENDS = f"""
    WITH locked AS ({_LOCKED}), moved AS (
        UPDATE call_attempts attempt
        SET state = %(after)s, {_KEEP}, reason = %(reason)s, settled_at = clock_timestamp(),
            recordings_listed_at = CASE WHEN locked.record THEN attempt.recordings_listed_at ELSE clock_timestamp() END
        FROM locked WHERE attempt.id = %(attempt_id)s AND attempt.job_id = locked.id
        RETURNING locked.*, attempt.sent_at
    ), ended AS (
        UPDATE outbound_call_jobs job
        SET status = %(job_status)s, reason = %(reason)s, setbacks = 0,
            attempts = job.attempts + CASE WHEN moved.sent_at IS NULL THEN 0 ELSE 1 END,
            finished_at = clock_timestamp(), updated_at = clock_timestamp()
        FROM moved WHERE job.id = moved.id
        RETURNING moved.*
    ), counted AS (
        UPDATE background_jobs task
        SET done = task.done + 1, version = task.version + 1,
            run_after = CASE
                WHEN ended.expanded_at IS NOT NULL AND task.done + task.failed + 1 >= task.total
                    AND task.admitted_at IS NOT NULL
                THEN clock_timestamp() ELSE task.run_after END
        FROM ended WHERE task.id = ended.background_job_id AND task.status IN ('pending', 'running')
        RETURNING {", ".join(f"task.{name}" for name in _TASK)}
    )
    SELECT ended.before, ended.run_id, ended.background_job_id, ended.expanded_at, counted.*
    FROM ended LEFT JOIN counted ON true
"""  # noqa: S608 - made of constants


@dataclass(frozen=True)
class Step:
    """One step of the table: from any of ``sources`` to ``after``."""

    sources: tuple[AttemptState, ...]
    after: AttemptState

    @property
    def tried_again(self) -> list[str]:
        """The outcomes for which a run may have a rule that calls again."""
        if not self.after.settled:
            return []
        return [self.after.value, *(["machine"] if self.after is AttemptState.COMPLETED else [])]


def _step(event: CallEvent) -> Step | None:
    """What an event does to a call that is wanted, where that is one state; failures are told in more words."""
    sources = tuple(
        state for state in TRANSITIONS if state is not AttemptState.CANCELING and next_state(state, event) is not state
    )
    targets = {next_state(state, event) for state in sources}
    if len(targets) != 1:
        return None
    (after,) = targets
    return None if after in _TOLD_AT_LENGTH else Step(sources, after)


_TOLD_AT_LENGTH = {AttemptState.CANCELING, AttemptState.FAILED, AttemptState.NOT_PLACED}
STEPS = {event: step for event in CallEvent if (step := _step(event))}


@dataclass(frozen=True)
class Ended:
    """A call that has ended: its state, its run and the run's background job, if it is still there."""

    state: AttemptState
    run_id: int
    job_id: int | None


@dataclass(frozen=True)
class Told:
    """What a callback tells of an attempt."""

    ref: AttemptRef
    event: CallEvent
    evidence: Evidence


def goes_on(event: CallEvent) -> bool:
    """Whether an event only says that a call goes on: ``apply_together`` takes it."""
    step = STEPS.get(event)
    return step is not None and not step.after.settled


def apply_together(database: Database, told: Sequence[Told]) -> list[bool]:
    """Apply events of calls that go on, of whichever businesses, in one transaction and one round trip.

    It waits for no lock, since none of its statements does, so two of these never wait for each other. Where one event
    is refused none is applied: each of them then has to go its own way, and only the bad one fails there.

    Returns:
        For each event whether it was applied. If not, nothing was done with it and nothing is known.
    """
    # By business, so that each tenant is named once; the events of a call stay in their order.
    order = sorted(range(len(told)), key=lambda index: told[index].ref.business_id)
    try:
        with database.pipeline() as pipeline:
            cursors = {
                index: pipeline.execute(told[index].ref.business_id, _GOES_ON, _parameters(told[index]))
                for index in order
            }
    except (psycopg.Error, SQLAlchemyError) as error:
        log.debug("events not applied together", number=len(told), error=type(error).__name__)
        return [False] * len(told)
    return [cursors[index].fetchone() is not None for index in range(len(told))]


def end_at_once(runtime: Runtime, ref: AttemptRef, event: CallEvent, evidence: Evidence) -> Ended | None:
    """Apply an event that ends a call, in a transaction of its own, and do what follows its commit.

    Returns:
        What has ended. If None, nothing was done and nothing is known.
    """
    step = STEPS.get(event)
    if step is None or not step.after.settled:
        return None
    try:
        with runtime.database.pipeline() as pipeline:
            cursor = pipeline.execute(ref.business_id, _ENDS, _parameters(Told(ref, event, evidence)))
    except psycopg.Error as error:
        log.debug("event not applied at once", attempt_id=str(ref.id), error=type(error).__name__)
        return None
    row = cursor.fetchone()
    if row is None:
        return None
    log.debug("call event", attempt_id=str(ref.id), call_event=str(event), before=row["before"], after=str(step.after))
    return _follow_up(runtime, ref, step, row)


def _parameters(told: Told) -> dict[str, Any]:
    step, evidence = STEPS[told.event], told.evidence
    return {
        "attempt_id": told.ref.id,
        "sources": [state.value for state in step.sources],
        "after": step.after.value,
        "answered": step.after is AttemptState.IN_PROGRESS,
        "job_status": job_status(step.after).value,
        "carrier_terminal": list(CARRIER_TERMINAL),
        "tried_again": step.tried_again,
        "call_sid": evidence.call_sid,
        "carrier_status": evidence.carrier_status,
        "answered_by": evidence.answered_by,
        "duration_s": evidence.duration_s,
        "reason": evidence.reason,
    }


def _follow_up(runtime: Runtime, ref: AttemptRef, step: Step, row: dict[str, Any]) -> Ended:
    """Behind the commit of an end: the slot is given back, whoever watches the run is told, the pump is woken."""
    ATTEMPTS_SETTLED.labels(state=str(step.after)).inc()
    release_slot(runtime, ref.business_id, ref.id)
    if row["id"] is not None:
        task = BackgroundJob(**{name: row[name] for name in _TASK})
        runtime.tasks.publish(snapshot(task))
        if row["expanded_at"] and task.admitted_at and task.total is not None and task.done + task.failed >= task.total:
            runtime.transport.wake(wakeup_of(task))
    run_id, task_id = row["run_id"], row["background_job_id"]
    if task_id is not None:
        runtime.transport.wake(process_next_wakeup(task_id, run_id, ref.business_id))
    return Ended(step.after, run_id, task_id)
