"""What must hold of calls at any moment, and what must hold once nothing is going on any more.

Read from the rows themselves, as their owner and past row-level security, from Redis and from the simulator's own
account of what it saw. So these checks trust none of the code that they judge.
"""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row
from redis import Redis

_SHOWN = 20
_TERMINAL = "('completed', 'busy', 'no_answer', 'failed', 'canceled', 'skipped')"

# A job waits in its queue behind no attempt, behind one that was not sent, and behind an end that its run tries again.
# A machine that answered is one of those, however its call ended; what nobody knows is none.
_WAITED = """(a.state IS NULL OR a.state = 'not_placed' OR (
    a.reason IS DISTINCT FROM 'outcome_unknown'
    AND (r.retry_after_s ? a.state OR (a.state = 'completed' AND r.retry_after_s ? 'machine'))))"""
_MENDED = "j.status = 'canceled' AND j.reason IS NOT DISTINCT FROM 'its run was over'"  # by the doctor
_RUN_OVER = "r.status IN ('cancelled', 'failed')"

# Each query names what is wrong, one row a violation.
_ALWAYS = {
    "a background job's done + failed differ from the call jobs that have ended": f"""
        SELECT b.id AS background_job, b.status, b.done, b.failed,
               count(j.id) FILTER (WHERE j.status IN {_TERMINAL} AND j.status <> 'failed') AS ended,
               count(j.id) FILTER (WHERE j.status = 'failed') AS ended_failed
        FROM background_jobs b
        JOIN outbound_call_runs r ON r.background_job_id = b.id
        LEFT JOIN outbound_call_jobs j ON j.run_id = r.id
        GROUP BY b.id
        HAVING b.done <> count(j.id) FILTER (WHERE j.status IN {_TERMINAL} AND j.status <> 'failed')
            OR b.failed <> count(j.id) FILTER (WHERE j.status = 'failed')
    """,
    "an expanded run's total differs from its call jobs": """
        SELECT r.id AS run, b.total, count(j.id) AS jobs
        FROM outbound_call_runs r
        JOIN background_jobs b ON b.id = r.background_job_id
        LEFT JOIN outbound_call_jobs j ON j.run_id = r.id
        WHERE r.expanded_at IS NOT NULL AND r.status <> 'failed'
        GROUP BY r.id, b.total
        HAVING b.total IS DISTINCT FROM count(j.id)
    """,
    "a call job's state does not agree with its unsettled attempts": f"""
        SELECT j.id AS job, j.status, count(a.id) AS unsettled
        FROM outbound_call_jobs j
        LEFT JOIN call_attempts a ON a.job_id = j.id AND a.settled_at IS NULL
        GROUP BY j.id
        HAVING count(a.id) <> CASE WHEN j.status IN {_TERMINAL} OR j.status = 'queued' THEN 0 ELSE 1 END
    """,
    "a business has other active call jobs than unsettled attempts": f"""
        SELECT b.id AS business,
               (SELECT count(*) FROM call_attempts a WHERE a.business_id = b.id AND a.settled_at IS NULL) AS unsettled,
               (SELECT count(*) FROM outbound_call_jobs j
                 WHERE j.business_id = b.id AND j.status <> 'queued' AND j.status NOT IN {_TERMINAL}) AS active
        FROM businesses b
        WHERE (SELECT count(*) FROM call_attempts a WHERE a.business_id = b.id AND a.settled_at IS NULL)
           <> (SELECT count(*) FROM outbound_call_jobs j
                WHERE j.business_id = b.id AND j.status <> 'queued' AND j.status NOT IN {_TERMINAL})
    """,
    "a call job has not ended as its last attempt": f"""
        SELECT j.id AS job, j.status, j.reason, r.status AS run_status, a.state AS last_attempt, a.reason AS its_reason
        FROM outbound_call_jobs j
        JOIN outbound_call_runs r ON r.id = j.run_id
        LEFT JOIN LATERAL (
            SELECT state, reason FROM call_attempts WHERE job_id = j.id ORDER BY created_at DESC LIMIT 1
        ) a ON true
        WHERE j.status IN {_TERMINAL}
          AND NOT (a.state IS NOT DISTINCT FROM j.status AND a.reason IS NOT DISTINCT FROM j.reason)
          AND NOT ({_MENDED})
          AND NOT ({_WAITED} AND (j.status = 'skipped' OR (j.status IN ('failed', 'canceled') AND {_RUN_OVER})))
    """,
    "a lead was called again though its call had ended for good": f"""
        SELECT j.id AS job, a.id AS attempt, a.state, a.reason
        FROM call_attempts a
        JOIN outbound_call_jobs j ON j.id = a.job_id
        JOIN outbound_call_runs r ON r.id = j.run_id
        WHERE NOT {_WAITED}
          AND EXISTS (SELECT FROM call_attempts b WHERE b.job_id = j.id AND b.created_at > a.created_at)
    """,
    "a call job counts other attempts than those that were sent": """
        SELECT j.id AS job, j.status, j.attempts,
               count(a.id) FILTER (WHERE a.sent_at IS NOT NULL AND a.state <> 'not_placed') AS sent
        FROM outbound_call_jobs j
        LEFT JOIN call_attempts a ON a.job_id = j.id AND a.settled_at IS NOT NULL
        GROUP BY j.id
        HAVING j.attempts <> count(a.id) FILTER (WHERE a.sent_at IS NOT NULL AND a.state <> 'not_placed')
    """,
    "a lead was called more often than its run allows": """
        SELECT j.id AS job, j.attempts, r.max_attempts
        FROM outbound_call_jobs j JOIN outbound_call_runs r ON r.id = j.run_id
        WHERE j.attempts > r.max_attempts
    """,
    "a call job has ended without a time, or has a time and has not ended": f"""
        SELECT j.id AS job, j.status, j.finished_at FROM outbound_call_jobs j
        WHERE (j.status IN {_TERMINAL}) <> (j.finished_at IS NOT NULL)
    """,
    "an attempt that was never sent has a call": """
        SELECT a.id AS attempt, a.state FROM call_attempts a WHERE a.call_sid IS NOT NULL AND a.sent_at IS NULL
    """,
    "a completed run has call jobs that have not ended": f"""
        SELECT r.id AS run, r.status, j.id AS job, j.status AS job_status
        FROM outbound_call_runs r JOIN outbound_call_jobs j ON j.run_id = r.id
        WHERE r.finished_at IS NOT NULL AND j.status NOT IN {_TERMINAL}
    """,
    "a run that has ended and its background job disagree": """
        SELECT r.id AS run, r.status, b.status AS background_job_status
        FROM outbound_call_runs r JOIN background_jobs b ON b.id = r.background_job_id
        WHERE r.finished_at IS NOT NULL AND r.status <> b.status
    """,
    "a token bucket is below zero": """
        SELECT 'business ' || id AS owner, rate_tokens FROM businesses WHERE rate_tokens < 0
        UNION ALL
        SELECT 'account ' || account_sid, rate_tokens FROM carrier_accounts WHERE rate_tokens < 0
    """,
}

_AT_REST = {
    "an attempt is not settled": "SELECT id AS attempt, state FROM call_attempts WHERE settled_at IS NULL",
    "a call job has not ended": f"SELECT id AS job, status FROM outbound_call_jobs WHERE status NOT IN {_TERMINAL}",
    "a run has not ended": (
        "SELECT id AS run, status FROM outbound_call_runs WHERE status NOT IN ('completed', 'failed', 'cancelled')"
    ),
    "a background job has not ended": (
        "SELECT id AS background_job, job_type, status FROM background_jobs "
        "WHERE status NOT IN ('completed', 'failed', 'cancelled')"
    ),
}


def assert_invariants(
    owner_url: str,
    redis: Redis | None = None,
    simulator_url: str | None = None,
    *,
    at_rest: bool = False,
    within_s: float = 5.0,
) -> None:
    """Fail with every rule that is broken.

    The rows of one snapshot, and what the carrier saw, must agree at any moment. The semaphores follow the rows a
    moment later, so a violation counts only if it is still there at the end of ``within_s``.

    Args:
        owner_url: of the database's owner, whom row-level security does not hide anything from.
        redis: where the semaphores are; None: not looked at, because calls come and go.
        simulator_url: the carrier; None: it is not asked.
        at_rest: nothing may be going on any more: every job has ended, every slot is free, no call lives.
        within_s: seconds that the servers get to agree.
    """
    deadline = time.monotonic() + within_s
    while found := violations(owner_url, redis, simulator_url, at_rest=at_rest):
        if time.monotonic() > deadline:
            shown = [f"- {line}" for line in found[:_SHOWN]] + [f"and {len(found) - _SHOWN} more"] * (
                len(found) > _SHOWN
            )
            raise AssertionError("broken invariants:\n" + "\n".join(shown))
        time.sleep(0.05)


def violations(
    owner_url: str, redis: Redis | None = None, simulator_url: str | None = None, *, at_rest: bool = False
) -> list[str]:
    """Every rule that is broken right now, in words; see ``assert_invariants``."""
    # Asked before the rows are read: a call that the carrier knows must be in the rows by then.
    seen = carrier_report(simulator_url) if simulator_url else None
    url = owner_url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        queries = {**_ALWAYS, **_AT_REST} if at_rest else _ALWAYS
        found = [
            f"{rule}: {', '.join(f'{key}={value}' for key, value in row.items())}"
            for rule, query in queries.items()
            for row in connection.execute(query)
        ]
        attempts = connection.execute(
            "SELECT id::text, business_id, to_number, state, sent_at, call_sid, settled_at FROM call_attempts"
        ).fetchall()
        businesses = [row["id"] for row in connection.execute("SELECT id FROM businesses")]
    if redis is not None:
        found += _slots(redis, businesses, attempts)
    if seen is not None and simulator_url:
        found += _carrier(seen, attempts)
        # And once more afterwards, for the other direction.
        found += _unknown_to_carrier(carrier_report(simulator_url), attempts)
        if at_rest and seen["live"]:
            found.append(f"{seen['live']} calls live at the carrier")
    return found


def assert_slots_follow(owner_url: str, redis: Redis, *, within_s: float) -> None:
    """Fail where a slot is wrong in Redis and stays so, while calls come and go.

    A slot that is taken or freed right now may be in one of the two and not yet in the other. So only what is wrong at
    every look of ``within_s`` counts; the first look at which nothing of it is left is the last.
    """
    url = owner_url.replace("postgresql+psycopg://", "postgresql://", 1)
    deadline = time.monotonic() + within_s
    lasting: set[str] | None = None
    while True:
        with psycopg.connect(url, row_factory=dict_row) as connection:
            live = {row["id"] for row in connection.execute(_LIVE)}
            businesses = [row["id"] for row in connection.execute("SELECT id FROM businesses")]
        wrong = live ^ {member for business_id in businesses for member in _members(redis, business_id)}
        lasting = wrong if lasting is None else lasting & wrong
        if not lasting:
            return
        if time.monotonic() > deadline:
            told = sorted(f"{item} ({'not in Redis' if item in live else 'only in Redis'})" for item in lasting)
            raise AssertionError(f"slots that were wrong for {within_s:g} s: {', '.join(told[:_SHOWN])}")
        time.sleep(0.1)


_LIVE = "SELECT id::text FROM call_attempts WHERE settled_at IS NULL"


def carrier_report(simulator_url: str) -> dict[str, Any]:
    """What the simulator saw."""
    # Plain HTTP: without the certificates, which take longer to load than the question to answer.
    answer = httpx.get(f"{simulator_url}/_sim/report", timeout=30, verify=False)
    answer.raise_for_status()
    report: dict[str, Any] = answer.json()
    return report


def _slots(redis: Redis, businesses: list[int], attempts: list[dict[str, Any]]) -> Iterator[str]:
    for business_id in businesses:
        taken = _members(redis, business_id)
        live = {row["id"] for row in attempts if row["business_id"] == business_id and row["settled_at"] is None}
        if taken != live:
            yield (
                f"slots in Redis differ from the unsettled attempts of business {business_id}: "
                f"only in Redis {sorted(taken - live)}, only in PostgreSQL {sorted(live - taken)}"
            )


def _members(redis: Redis, business_id: int) -> set[str]:
    members = redis.smembers(f"switchboard:slots:{business_id}")
    return {item.decode() if isinstance(item, bytes) else item for item in members}


def _carrier(seen: dict[str, Any], attempts: list[dict[str, Any]]) -> Iterator[str]:
    """Never twice: an attempt is one call at most, and none where we are certain that nothing was sent."""
    if seen["attempts_called_more_than_once"]:
        yield f"attempts were called more than once: {seen['attempts_called_more_than_once']}"
    rows = {row["id"]: row for row in attempts}
    placed: dict[str, int] = seen["calls_by_attempt"]
    for attempt_id in placed:
        row = rows.get(attempt_id)
        if row is None:
            yield f"the carrier has a call of attempt {attempt_id}, which is not in the database"
        elif row["sent_at"] is None or row["state"] == "not_placed":
            yield f"attempt {attempt_id} is {row['state']} and was not sent, but the carrier has a call of it"
    sent = Counter(row["to_number"] for row in attempts if row["sent_at"] is not None)
    for number, calls in seen["calls_by_number"].items():
        if calls > sent[number]:
            yield f"{number} was called {calls} times for {sent[number]} attempts"


def _unknown_to_carrier(seen: dict[str, Any], attempts: list[dict[str, Any]]) -> Iterator[str]:
    for row in attempts:
        if row["call_sid"] and row["id"] not in seen["calls_by_attempt"]:
            yield f"attempt {row['id']} has a call that the carrier does not know"
