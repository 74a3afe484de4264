"""What has to hold between the rows and Redis: wake-ups, slots, and processes that consume the queues."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from switchboard_core import crossing
from switchboard_core.db import tenant_of
from switchboard_core.doctor.rules import Finding, Rule
from switchboard_core.runtime import Runtime
from switchboard_core.settings import ALL_QUEUES

_WAKE_UP = re.compile(r"(?P<kind>[a-z_]+)_(?P<id>\d+)")

_DUE = text("""
    SELECT id, job_type, queue, attempt, version FROM background_jobs
    WHERE status IN ('pending', 'running') AND admitted_at IS NOT NULL
      AND run_after < clock_timestamp() - make_interval(secs => 1)
      AND (lease_until IS NULL OR lease_until < clock_timestamp())
""")
_DUE_RECORDINGS = text("""
    SELECT id, attempt FROM recordings
    WHERE status IN ('pending', 'downloading', 'downloaded', 'transcribing')
      AND run_after < clock_timestamp() - make_interval(secs => 1)
      AND (lease_until IS NULL OR lease_until < clock_timestamp())
""")
_WAITING = text("""
    SELECT queue, min(id) FILTER (WHERE admitted_at IS NULL) AS first,
           count(*) FILTER (WHERE admitted_at IS NULL) AS waiting,
           count(*) FILTER (WHERE admitted_at IS NOT NULL AND run_after <= clock_timestamp()) AS inside
    FROM background_jobs WHERE status IN ('pending', 'running')
    GROUP BY queue
""")
_OPEN_WORK = text("""
    SELECT queue, count(*) AS number FROM background_jobs
    WHERE status IN ('pending', 'running') AND run_after <= clock_timestamp() GROUP BY queue
    UNION ALL
    SELECT 'recordings', count(*) FROM recordings
    WHERE status IN ('pending', 'downloading', 'downloaded', 'transcribing') AND run_after <= clock_timestamp()
    HAVING count(*) > 0
    UNION ALL
    SELECT 'high', count(*) FROM outbound_call_runs WHERE status = 'running' HAVING count(*) > 0
""")
_CONSUMED = text("""
    SELECT DISTINCT jsonb_array_elements_text(queues::jsonb) AS queue FROM worker_heartbeats
    WHERE seen_at > clock_timestamp() - make_interval(secs => :dead_after_s)
""")


@dataclass
class Queues:
    """What is learnt of Redis and of all businesses in one look."""

    runtime: Runtime
    queued: set[str] | None = None
    work: dict[str, int] = field(default_factory=dict)
    _rows: set[str] = field(default_factory=set)

    def of_business(self, session: Session) -> Iterator[Finding]:
        """Breaches of the session's business."""
        business_id = tenant_of(session)
        for row in session.execute(_OPEN_WORK):
            self.work[row.queue] = self.work.get(row.queue, 0) + row.number
        yield from self._waiting(session, business_id)
        jobs = session.execute(_DUE).all()
        recordings = session.execute(_DUE_RECORDINGS).all()
        open_attempts = set(
            session.execute(text("SELECT id::text FROM call_attempts WHERE settled_at IS NULL")).scalars()
        )
        try:
            # Read behind the rows: what is queued only now was not lost.
            queued = self.runtime.transport.queued_ids(ALL_QUEUES) if jobs or recordings else set()
            slots = self.runtime.slots.members(business_id)
        except RedisError:
            return
        yield from _orphans(business_id, jobs, recordings, queued)
        if slots != open_attempts:
            detail = f"{len(slots - open_attempts)} only in Redis, {len(open_attempts - slots)} only in PostgreSQL"
            stamp = ",".join(sorted(slots ^ open_attempts))
            yield Finding(Rule.SLOTS, business_id, f"business {business_id}", detail, stamp, str(business_id))

    def _waiting(self, session: Session, business_id: int) -> Iterator[Finding]:
        limit = self.runtime.settings.jobs_admitted_per_business
        for row in session.execute(_WAITING):
            if row.waiting and row.inside < limit:
                detail = f"{row.waiting} wait in {row.queue}, {row.inside} of {limit} are admitted"
                yield Finding(Rule.NOT_ADMITTED, business_id, f"task {row.first}", detail, key=row.queue)

    def of_all(self, session: Session) -> Iterator[Finding]:
        """Breaches that belong to nobody; ``session`` has no tenant. Call it behind every business."""
        consumed = set(
            session.execute(_CONSUMED, {"dead_after_s": self.runtime.settings.dead_worker_after_seconds}).scalars()
        )
        for queue, number in sorted(self.work.items()):
            if queue not in consumed:
                yield Finding(Rule.NO_CONSUMER, 0, f"queue {queue}", f"{number} wait", key=queue)
        for row in session.execute(text("SELECT account_sid, rate_tokens FROM carrier_accounts WHERE rate_tokens < 0")):
            yield Finding(Rule.RATE, 0, "the carrier account", f"{row.rate_tokens} tokens", key=row.account_sid)
        yield from self._without_row(session)

    def _without_row(self, session: Session) -> Iterator[Finding]:
        try:
            queued = self.runtime.transport.queued_ids(ALL_QUEUES)
        except RedisError:
            return
        for rq_id in sorted(queued):
            parts = _WAKE_UP.fullmatch(rq_id)
            if parts is None:
                continue  # an ordinary RQ job: none of ours
            look_up = crossing.recording if parts["kind"] == "recording" else crossing.background_job
            if look_up(session, int(parts["id"])) is None:
                yield Finding(Rule.WAKE_UP_WITHOUT_ROW, 0, f"wake-up {rq_id}", "no such row", key=rq_id)


def _orphans(
    business_id: int,
    jobs: Sequence[Row[Any]],
    recordings: Sequence[Row[Any]],
    queued: set[str],
) -> Iterator[Finding]:
    for row in jobs:
        if f"{row.job_type}_{row.id}" not in queued:
            detail, stamp = f"{row.job_type}, due and not in {row.queue}", f"{row.attempt}.{row.version}"
            yield Finding(Rule.ORPHAN_JOB, business_id, f"task {row.id}", detail, stamp, str(row.id))
    for row in recordings:
        if f"recording_{row.id}" not in queued:
            detail = "due and not in recordings"
            yield Finding(
                Rule.ORPHAN_RECORDING, business_id, f"recording {row.id}", detail, str(row.attempt), str(row.id)
            )
