"""The kernel: one claim, one slice, one commit, for every kind of background job.

A slice starts with an atomic claim in PostgreSQL (``attempt + 1`` is the fence, a lease on the database's own clock)
and ends with one transaction that holds the domain's changes, the counters and the cursor, guarded by the fence. So a
doubled wake-up finds nothing to claim, a worker that lost its lease writes nothing, and a killed worker's job starts
again exactly where the last commit was.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from rq.timeouts import BaseTimeoutException
from sqlalchemy import case, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.db import Database, set_tenant
from switchboard_core.failpoints import reach
from switchboard_core.jobs.catalog import CATALOG
from switchboard_core.jobs.context import JobContext, bind_context
from switchboard_core.jobs.lease import Lease, LeaseKeeper
from switchboard_core.jobs.manager import BackgroundTaskManager
from switchboard_core.jobs.models import BackgroundJob
from switchboard_core.jobs.queueing import OPEN, admit
from switchboard_core.jobs.slices import OwningTask, Slice, SliceContext, SliceFunction, sentence_of
from switchboard_core.jobs.states import JobStatus
from switchboard_core.jobs.storable import storable
from switchboard_core.jobs.transport import Transport
from switchboard_core.logs import get_logger
from switchboard_core.settings import Settings
from switchboard_core.sql import after_seconds

log = get_logger(__name__)

_jitter = random.Random()  # noqa: S311 - spreads retries, protects nothing

MAX_CRASHES = 5
MAX_SETBACKS = 60
"""Slices in a row that the database may refuse: with the waits between them an hour at least, so that one that is slow
or in trouble ends no work, and a slice that asks too much of it is not tried for ever."""
_LONGEST_WAIT_S = 60.0
MAX_ERRORS = 1000
PARK_S = 60
FAILURE_BUDGET_S = 2.0
"""Seconds in which what a failed task works for should be ended, or further slices go on with it."""
FULL_LIMIT = 1000


class Outcome(Enum):
    """What the RQ execution of a slice should end as."""

    FINISHED = auto()
    """Nothing more to do for this wake-up: ended, asleep, parked or somebody else's."""
    AGAIN = auto()
    """More slices to do: back to the tail of the queue."""


class FencedError(Exception):
    """Somebody else has claimed the job since: nothing of this slice may be written."""


class _CommitFailedError(Exception):
    """The slice's transaction could not be committed; nothing of it was kept."""

    def __init__(self, cause: DBAPIError, touched: int) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.touched = touched


@dataclass(frozen=True)
class Claim:
    """A job that this process may work on until its lease ends."""

    job: BackgroundJob

    @property
    def rq_id(self) -> str:
        """Id of its RQ job."""
        return f"{self.job.job_type}_{self.job.id}"


class Kernel:
    """Runs slices of background jobs."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        transport: Transport,
        manager: BackgroundTaskManager,
        tasks: Mapping[str, SliceFunction],
    ) -> None:
        self._settings = settings
        self._database = database
        self._transport = transport
        self._manager = manager
        self._tasks = tasks
        self._leases = LeaseKeeper(database, settings.lease_seconds)

    def close(self) -> None:
        """Stop renewing leases."""
        self._leases.close()

    def run_slice(self, job_id: int, *, budget_s: float = 2.0) -> Outcome:
        """Claim the job and run one slice of it.

        Args:
            job_id: the background job.
            budget_s: seconds that the slice should take at most.

        Raises:
            OperationalError: PostgreSQL is away; the job stays as its last commit left it.
        """
        claim = self._claim(job_id)
        if claim is None:
            return Outcome.FINISHED
        job = claim.job
        log.info(f"JOB PICKED queue='{job.queue}' job_id={claim.rq_id}", attempt=job.attempt, cursor=job.cursor)  # noqa: G004 - the contract's literal line
        if job.cancel_requested_at is not None and not CATALOG[job.job_type].ends_itself:
            return self._end(claim, JobStatus.CANCELLED, "Cancelled on request.")
        with self._leases.hold(Lease("background_jobs", job.business_id, job.id, job.attempt)):
            if (reason := _given_up(job)) is not None:
                return self._fail(claim, reason)
            reach("after_claim")
            return self._run(claim, budget_s)

    def _claim(self, job_id: int) -> Claim | None:
        with self._database.crossing() as session:
            ref = crossing.background_job(session, job_id)
            if ref is None:
                return None
            set_tenant(session, ref.business_id)
            kind = session.execute(
                select(BackgroundJob.job_type, BackgroundJob.payload_version).where(BackgroundJob.id == ref.id)
            ).first()
            if kind is None:
                return None
            spec = CATALOG.get(kind.job_type)
            if kind.job_type not in self._tasks or spec is None or spec.version != kind.payload_version:
                self._park(session, ref.id, kind.job_type, kind.payload_version)
                return None
            now = func.clock_timestamp()
            job = session.scalars(
                update(BackgroundJob)
                .where(
                    BackgroundJob.id == ref.id,
                    BackgroundJob.status.in_(OPEN),
                    BackgroundJob.run_after <= now,
                    BackgroundJob.lease_until.is_(None) | (BackgroundJob.lease_until < now),
                )
                .values(
                    attempt=BackgroundJob.attempt + 1,
                    # A lease that is still set was never ended: its holder died with no word.
                    crash_count=BackgroundJob.crash_count + case((BackgroundJob.lease_until.is_(None), 0), else_=1),
                    status=JobStatus.RUNNING,
                    lease_until=after_seconds(self._settings.lease_seconds),
                    started_at=func.coalesce(BackgroundJob.started_at, now),
                    heartbeat_at=now,
                    reason=None,
                    version=BackgroundJob.version + case((BackgroundJob.status == JobStatus.PENDING, 1), else_=0),
                )
                .returning(BackgroundJob)
            ).first()
            if job is None:
                return None
            if job.attempt == 1:
                self._manager.publish_after_commit(session, job)
                log.info("task started", task_id=job.id, job_type=job.job_type)
            return Claim(job)

    def _park(self, session: Session, job_id: int, job_type: str, version: int) -> None:
        reason = f"Parked: no worker here knows {job_type} with payload version {version}. Roll out a newer worker."
        parked = session.scalars(
            update(BackgroundJob)
            .where(BackgroundJob.id == job_id, BackgroundJob.status.in_(OPEN))
            .where(BackgroundJob.run_after <= func.clock_timestamp())
            .where(BackgroundJob.lease_until.is_(None) | (BackgroundJob.lease_until < func.clock_timestamp()))
            .values(reason=reason, run_after=after_seconds(PARK_S), version=BackgroundJob.version + 1)
            .returning(BackgroundJob)
        ).first()
        if parked is not None:
            log.warning("job parked", task_id=job_id, job_type=job_type, payload_version=version)
            self._manager.publish_after_commit(session, parked)

    def _run(self, claim: Claim, budget_s: float) -> Outcome:
        """Run one slice; after a failed commit, run it again on half as many items until the bad one is alone."""
        limit, condemned = FULL_LIMIT, None
        while True:
            try:
                return self._attempt(claim, budget_s, limit, condemned)
            except _CommitFailedError as failure:
                at = claim.job.done + claim.job.failed
                sentence = f"Commit failed at {at}: {sentence_of(failure.cause)}"
                log.error(sentence, task_id=claim.job.id, items=failure.touched)  # noqa: TRY400 - the sentence says it all
                if condemned is not None:
                    return self._fail(claim, sentence)
                if failure.touched <= 1 or limit == 1:
                    condemned = sentence
                limit = max(1, min(limit, failure.touched) // 2)
            except FencedError:
                log.warning("claim lost: another worker has taken the job over", task_id=claim.job.id)
                return Outcome.FINISHED
            except BaseTimeoutException as error:
                return self._release(claim, sentence_of(error), own_fault=True)
            except (OperationalError, InterfaceError) as error:
                return self._release(claim, sentence_of(error))
            except Exception as error:
                # Whatever a task raises ends that task, never the worker.
                log.exception("task failed", task_id=claim.job.id, job_type=claim.job.job_type)
                return self._fail(claim, sentence_of(error))

    def _attempt(self, claim: Claim, budget_s: float, limit: int, condemned: str | None) -> Outcome:
        job = claim.job
        touched, in_body = 0, True
        try:
            with self._database.tenant(job.business_id) as session:
                ctx = self._context(session, claim, budget_s=budget_s, limit=limit, condemned=condemned)
                with bind_context(JobContext(session, self._settings, job.business_id)):
                    outcome = self._tasks[job.job_type](ctx, job.payload, job.cursor)
                touched = ctx.done + len(ctx.errors)
                reach("in_open_transaction")
                result = self._record(session, claim, ctx, outcome)
                in_body = False
        except DBAPIError as error:
            lost = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
            if in_body or lost:
                raise
            raise _CommitFailedError(error, touched) from error
        reach("after_slice_commit")
        return result

    def _context(
        self,
        session: Session,
        claim: Claim,
        *,
        budget_s: float = FAILURE_BUDGET_S,
        limit: int = FULL_LIMIT,
        condemned: str | None = None,
    ) -> SliceContext:
        job = claim.job
        return SliceContext(
            session=session,
            settings=self._settings,
            job_id=job.id,
            business_id=job.business_id,
            cancel_requested=job.cancel_requested_at is not None,
            budget_s=budget_s,
            limit=limit,
            condemned=condemned,
        )

    def _record(self, session: Session, claim: Claim, ctx: SliceContext, outcome: Slice) -> Outcome:
        """Write counters, cursor and status of a slice, if the claim still stands."""
        job, now = claim.job, func.clock_timestamp()
        ended = outcome.next_cursor is None
        errors = [{"item": error.item, "message": error.message} for error in ctx.errors]
        values: dict[str, Any] = {
            "done": BackgroundJob.done + ctx.done,
            "failed": BackgroundJob.failed + len(errors),
            "cursor": outcome.next_cursor,
            "lease_until": None,
            "crash_count": 0,
            "setbacks": 0,
            "heartbeat_at": now,
            "version": BackgroundJob.version + 1,
            "status": outcome.ends_as if ended else JobStatus.RUNNING,
        }
        if errors:
            room = max(0, MAX_ERRORS - len(job.errors))
            values["errors"] = BackgroundJob.errors.op("||")(literal(storable(errors[:room]), JSONB))
        for name in ("total", "result", "reason"):
            if (value := getattr(outcome, name)) is not None:
                values[name] = value
        if ended:
            values["finished_at"] = now
        elif outcome.sleep_s:
            # Who woke or cancelled the job while this slice ran has moved run_after: then it does not fall asleep.
            undisturbed = BackgroundJob.run_after == job.run_after
            values["run_after"] = case((undisturbed, after_seconds(outcome.sleep_s)), else_=BackgroundJob.run_after)
        row = self._guarded(session, claim, values)
        if row is None:
            raise FencedError
        self._manager.publish_after_commit(session, row)
        if ended:
            log.info("task finished", task_id=job.id, status=str(row.status), done=row.done, failed=row.failed)
        if ended or (outcome.sleep_s and row.run_after > (row.heartbeat_at or row.run_after)):
            admit(session, self._transport, job.queue, limit=self._settings.jobs_admitted_per_business)
            return Outcome.FINISHED
        return Outcome.AGAIN

    def _fail(self, claim: Claim, reason: str) -> Outcome:
        """Fail the job; what it works for ends with it, in the same transaction."""
        job = claim.job
        task = self._tasks[job.job_type]
        if not isinstance(task, OwningTask):
            return self._end(claim, JobStatus.FAILED, reason)
        log.error("task fails; what it works for ends with it", task_id=job.id, job_type=job.job_type, reason=reason)
        try:
            with self._database.tenant(job.business_id) as session:
                ctx = self._context(session, claim)
                with bind_context(JobContext(session, self._settings, job.business_id)):
                    outcome = task.on_failure(ctx, job.payload, job.cursor, reason)
                return self._record(session, claim, ctx, outcome)
        except FencedError:
            log.warning("claim lost: another worker has taken the job over", task_id=job.id)
            return Outcome.FINISHED
        except BaseTimeoutException as error:
            return self._release(claim, sentence_of(error), own_fault=True)
        except (OperationalError, InterfaceError) as error:
            return self._release(claim, sentence_of(error))
        except Exception:
            # A defect there must not keep the job from ending.
            log.exception("what the task works for could not be ended", task_id=job.id, job_type=job.job_type)
            return self._end(claim, JobStatus.FAILED, reason)

    def _end(self, claim: Claim, status: JobStatus, reason: str) -> Outcome:
        """End the job outside a slice, keeping what earlier slices did."""
        with self._database.tenant(claim.job.business_id) as session:
            row = self._guarded(
                session,
                claim,
                {
                    "status": status,
                    "reason": reason,
                    "lease_until": None,
                    "finished_at": func.clock_timestamp(),
                    "version": BackgroundJob.version + 1,
                },
            )
            if row is None:
                return Outcome.FINISHED
            self._manager.publish_after_commit(session, row)
            admit(session, self._transport, claim.job.queue, limit=self._settings.jobs_admitted_per_business)
            level = log.error if status is JobStatus.FAILED else log.info
            level("task finished", task_id=row.id, status=str(status), reason=reason)
        return Outcome.FINISHED

    def _release(self, claim: Claim, why: str, *, own_fault: bool = False) -> Outcome:
        """Give the claim back: the slice did not happen and is run again after a while.

        Args:
            claim: of the slice.
            why: for people.
            own_fault: the task ran out of time by itself, which counts like a crash; else the database was in trouble.
        """
        job = claim.job
        log.warning("slice not committed; the job goes back to its queue", task_id=job.id, error=why)
        counter = BackgroundJob.crash_count if own_fault else BackgroundJob.setbacks
        wait_s = min(_LONGEST_WAIT_S, 0.5 * 2.0 ** min(job.crash_count + job.setbacks, 7))
        with self._database.tenant(job.business_id) as session:
            row = self._guarded(
                session,
                claim,
                {
                    "lease_until": None,
                    counter.key: counter + 1,
                    "reason": f"The last step did not succeed and is tried again: {why}",
                    "run_after": after_seconds(wait_s * (1 + _jitter.random() / 4)),
                    "version": BackgroundJob.version + 1,
                },
            )
            if row is not None:
                self._manager.publish_after_commit(session, row)
        return Outcome.FINISHED

    @staticmethod
    def _guarded(session: Session, claim: Claim, values: dict[str, Any]) -> BackgroundJob | None:
        return session.scalars(
            update(BackgroundJob)
            .where(BackgroundJob.id == claim.job.id, BackgroundJob.attempt == claim.job.attempt)
            .where(BackgroundJob.status == JobStatus.RUNNING)
            .values({name: storable(value) for name, value in values.items()})
            .returning(BackgroundJob)
            .execution_options(populate_existing=True)
        ).first()


def _given_up(job: BackgroundJob) -> str | None:
    """Why a job is not tried any more, if it is not."""
    if job.crash_count >= MAX_CRASHES:
        return f"Its worker crashed or it ran out of time {job.crash_count} times in a row, so it was stopped."
    if job.setbacks >= MAX_SETBACKS:
        return (
            f"The database refused its last step {job.setbacks} times in a row, so it was stopped. "
            "The worker's log has the database's words; start it again when they are dealt with."
        )
    return None
