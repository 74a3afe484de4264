"""Rows of many tenants, made by the owner, whom no policy holds back."""

import uuid
from typing import Any

from sqlalchemy import Connection, text

CALLING = "message, calling_from, calling_until, calling_days"
CALLER = '["+14155550100"]'


class World:
    """Makes rows. Times are SQL expressions such as ``now() + interval '1 minute'``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers = iter(range(1, 10_000))

    def one(self, sql: str, **values: object) -> int:
        return int(self._connection.execute(text(sql), values).scalar_one())

    def rows(self, sql: str, **values: object) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(text(sql), values).mappings()]

    def run_sql(self, sql: str, **values: object) -> None:
        self._connection.execute(text(sql), values)

    def business(
        self, *, wake: str = "NULL", cap: int = 3, callers: str = CALLER, breaker: str = "NULL", failures: int = 0
    ) -> int:
        return self.one(
            "INSERT INTO businesses (name, call_cap, caller_ids, rate_tokens, calls_per_second, next_wake_at, "
            "breaker_open_until, breaker_failures) "
            f"VALUES ('B', :cap, CAST(:callers AS jsonb), 1, 1000, {wake}, {breaker}, :failures) RETURNING id",
            cap=cap,
            callers=callers,
            failures=failures,
        )

    def job(
        self,
        business: int,
        *,
        queue: str = "maintenance",
        status: str = "pending",
        admitted: str = "now()",
        lease: str = "NULL",
        after: str = "now()",
    ) -> int:
        return self.one(
            "INSERT INTO background_jobs (business_id, job_type, queue, status, admitted_at, lease_until, run_after) "
            f"VALUES (:business, 'delete_leads', :queue, :status, {admitted}, {lease}, {after}) RETURNING id",
            business=business,
            queue=queue,
            status=status,
        )

    def run(self, business: int, status: str = "running", *, callers: str = "[]") -> int:
        return self.one(
            f"INSERT INTO outbound_call_runs (business_id, name, status, caller_ids, {CALLING}) "
            "VALUES (:business, 'R', :status, CAST(:callers AS jsonb), 'Hello', '00:00', '00:00', 127) RETURNING id",
            business=business,
            status=status,
            callers=callers,
        )

    def call_job(self, business: int, run: int, *, status: str = "queued", due: str = "now()") -> int:
        return self.one(
            "INSERT INTO outbound_call_jobs (business_id, run_id, to_number, timezone, status, next_attempt_at) "
            f"VALUES (:business, :run, :number, 'UTC', :status, {due}) RETURNING id",
            business=business,
            run=run,
            number=f"+1415555{next(self._numbers):04}",
            status=status,
        )

    def attempt(
        self, business: int, run: int, *, sid: str | None = None, heard: str = "clock_timestamp()"
    ) -> uuid.UUID:
        job = self.call_job(business, run, status="dialing")
        key = uuid.uuid4()
        self.run_sql(
            "INSERT INTO call_attempts (id, business_id, run_id, job_id, number, account_sid, from_number, to_number, "
            f"call_sid, sent_at) VALUES (:key, :business, :run, :job, 1, 'AC', '+1', :number, :sid, {heard})",
            key=key,
            business=business,
            run=run,
            job=job,
            number=f"+1{job}",
            sid=sid,
        )
        return key

    def recording(
        self, business: int, *, status: str = "pending", lease: str = "NULL", words: str = "", after: str = "now()"
    ) -> int:
        sid = f"RE{next(self._numbers)}"
        return self.one(
            "INSERT INTO recordings "
            "(business_id, recording_sid, call_sid, media_url, status, lease_until, run_after, transcript) "
            f"VALUES (:business, :sid, 'CA', '', :status, {lease}, {after}, :words) RETURNING id",
            business=business,
            sid=sid,
            status=status,
            words=words,
        )
