"""What has to hold among the rows of one business, read from one snapshot under row-level security.

Every query gives a line for each breach: the row's id, what it is called, what is wrong, and how often it has moved.
"""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from switchboard_core.calls.states import TERMINAL_CALLS
from switchboard_core.db import tenant_of
from switchboard_core.doctor.rules import Finding, Rule
from switchboard_core.jobs.states import JobStatus

_ENDED = sorted(status.value for status in TERMINAL_CALLS)
_OVER = sorted(status.value for status in JobStatus if status.terminal)

QUERIES: tuple[tuple[Rule, str], ...] = (
    (
        Rule.COUNTERS,
        """
        SELECT r.id, 'task ' || b.id AS subject,
               format('done %s and failed %s, but %s and %s call jobs of run %s have ended so',
                      b.done, b.failed, c.done, c.failed, r.id) AS detail, '' AS stamp
        FROM outbound_call_runs r
        JOIN background_jobs b ON b.id = r.background_job_id
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE j.status = ANY (:ended) AND j.status <> 'failed') AS done,
                   count(*) FILTER (WHERE j.status = 'failed') AS failed
            FROM outbound_call_jobs j WHERE j.run_id = r.id
        ) c
        WHERE coalesce(r.finished_at, now()) > now() - :history AND (b.done <> c.done OR b.failed <> c.failed)
        """,
    ),
    (
        Rule.TOTAL,
        """
        SELECT r.id, 'task ' || b.id AS subject,
               format('total %s, but run %s has %s call jobs', coalesce(b.total::text, 'none'), r.id, c.number)
               AS detail, '' AS stamp
        FROM outbound_call_runs r
        JOIN background_jobs b ON b.id = r.background_job_id
        CROSS JOIN LATERAL (SELECT count(*) AS number FROM outbound_call_jobs j WHERE j.run_id = r.id) c
        WHERE coalesce(r.finished_at, now()) > now() - :history
          AND r.expanded_at IS NOT NULL AND r.status <> 'failed' AND b.total IS DISTINCT FROM c.number
        """,
    ),
    (
        Rule.CALL_STATE,
        """
        SELECT j.id, 'call job ' || j.id AS subject,
               format('%s with %s open attempts', j.status, count(a.id)) AS detail, '' AS stamp
        FROM outbound_call_jobs j
        JOIN outbound_call_runs r ON r.id = j.run_id
        LEFT JOIN call_attempts a ON a.job_id = j.id AND a.settled_at IS NULL
        WHERE coalesce(r.finished_at, now()) > now() - :history
        GROUP BY j.id
        HAVING count(a.id) <> CASE WHEN j.status = ANY (:ended) OR j.status = 'queued' THEN 0 ELSE 1 END
        """,
    ),
    (
        Rule.CALL_ATTEMPTS,
        """
        SELECT j.id, 'call job ' || j.id AS subject,
               format('counts %s calls, %s were placed', j.attempts, count(a.id)) AS detail, '' AS stamp
        FROM outbound_call_jobs j
        JOIN outbound_call_runs r ON r.id = j.run_id
        LEFT JOIN call_attempts a ON a.job_id = j.id AND a.settled_at IS NOT NULL
                                 AND a.sent_at IS NOT NULL AND a.state <> 'not_placed'
        WHERE coalesce(r.finished_at, now()) > now() - :history
        GROUP BY j.id
        HAVING j.attempts <> count(a.id)
        """,
    ),
    (
        Rule.END_TIME,
        """
        SELECT j.id, 'call job ' || j.id AS subject,
               format('%s, ended: %s', j.status, coalesce(j.finished_at::text, 'never')) AS detail, '' AS stamp
        FROM outbound_call_jobs j JOIN outbound_call_runs r ON r.id = j.run_id
        WHERE coalesce(r.finished_at, now()) > now() - :history
          AND (j.status = ANY (:ended)) <> (j.finished_at IS NOT NULL)
        UNION ALL
        SELECT b.id, 'task ' || b.id, format('%s, ended: %s', b.status, coalesce(b.finished_at::text, 'never')), ''
        FROM background_jobs b WHERE (b.status = ANY (:over)) <> (b.finished_at IS NOT NULL)
        UNION ALL
        SELECT r.id, 'run ' || r.id, format('%s, ended: %s', r.status, coalesce(r.finished_at::text, 'never')), ''
        FROM outbound_call_runs r LEFT JOIN background_jobs b ON b.id = r.background_job_id
        -- A run that was cancelled or failed winds down first, by its task: its time is that of its last call.
        WHERE (r.status = 'completed' AND r.finished_at IS NULL)
           OR (r.status = 'failed' AND r.finished_at IS NULL AND (b.id IS NULL OR b.status = ANY (:over)))
           OR (r.status <> ALL (:over) AND r.finished_at IS NOT NULL)
        """,
    ),
    (
        Rule.UNFINISHED_RUN,
        """
        SELECT r.id, 'run ' || r.id AS subject,
               format('%s, and %s of its call jobs are not', r.status, count(*)) AS detail, '' AS stamp
        FROM outbound_call_runs r JOIN outbound_call_jobs j ON j.run_id = r.id AND j.status <> ALL (:ended)
        WHERE coalesce(r.finished_at, now()) > now() - :history AND r.finished_at IS NOT NULL AND r.status = ANY (:over)
        GROUP BY r.id
        """,
    ),
    (
        Rule.RUN_AND_TASK,
        """
        SELECT r.id, 'run ' || r.id AS subject, format('%s, and its task %s is %s', r.status, b.id, b.status) AS detail,
               '' AS stamp
        FROM outbound_call_runs r JOIN background_jobs b ON b.id = r.background_job_id
        WHERE coalesce(r.finished_at, now()) > now() - :history
          AND r.finished_at IS NOT NULL AND r.status = ANY (:over) AND b.status <> r.status
        """,
    ),
    (
        Rule.RUN_UNWATCHED,
        """
        SELECT r.id, 'run ' || r.id AS subject,
               format('%s, and %s', r.status, coalesce('its task ' || b.id || ' is ' || b.status, 'it has no task'))
               AS detail, '' AS stamp
        FROM outbound_call_runs r LEFT JOIN background_jobs b ON b.id = r.background_job_id
        -- A cancelled run is watched until its last call has ended.
        WHERE r.finished_at IS NULL AND r.status NOT IN ('completed', 'failed')
          AND (b.id IS NULL OR b.status = ANY (:over))
        """,
    ),
    (
        Rule.RATE,
        """
        SELECT id, 'business ' || id AS subject, format('%s tokens', rate_tokens) AS detail, '' AS stamp
        FROM businesses WHERE rate_tokens < 0
        """,
    ),
    (
        Rule.STALE_LEASE,
        """
        SELECT b.id, 'task ' || b.id AS subject,
               format('%s, leased until %s', b.status, b.lease_until) AS detail, '' AS stamp
        FROM background_jobs b WHERE b.status = ANY (:over) AND b.lease_until IS NOT NULL
        UNION ALL
        SELECT c.id, 'recording ' || c.id, format('%s, leased until %s', c.status, c.lease_until), ''
        FROM recordings c WHERE c.status IN ('completed', 'absent', 'failed') AND c.lease_until IS NOT NULL
        """,
    ),
    (
        Rule.STUCK_MESSAGE,
        """
        SELECT m.id, 'message ' || m.id AS subject,
               format('%s, leased until %s', m.channel, coalesce(m.lease_until::text, 'never')) AS detail,
               m.attempt::text AS stamp
        FROM outgoing_messages m
        WHERE m.state = 'sending'
          AND coalesce(m.lease_until, m.updated_at) < clock_timestamp() - make_interval(secs => :grace_s)
        """,
    ),
)


def broken_rows(session: Session, *, days: int, grace_s: float) -> Iterator[Finding]:
    """Every breach among the rows of the session's business.

    Args:
        session: the first statement of its transaction comes from here.
        days: runs that ended longer ago than this are history and not looked at.
        grace_s: how long ago a lease must have run out before somebody should have seen to it.
    """
    business_id = tenant_of(session)
    parameters = {"history": timedelta(days=days), "grace_s": grace_s, "ended": _ENDED, "over": _OVER}
    for rule, query in QUERIES:
        for row in session.execute(text(query), parameters):
            yield Finding(rule, business_id, row.subject, row.detail, row.stamp, str(row.id))
