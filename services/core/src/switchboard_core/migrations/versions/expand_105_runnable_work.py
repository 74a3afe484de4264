"""How much work of each queue could run now: the number that an autoscaler asks for.

One function counts across all tenants and returns numbers only. It reads a few rows of each business, however long the
backlogs are: what cannot run at once, because admission, slots or a cap hold it back, is not even looked at.
"""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "105"
down_revision = "104"
branch_labels = None
depends_on = None

RUNNABLE_WORK = """
CREATE OR REPLACE FUNCTION runnable_work(jobs_per_business bigint, recordings_per_business bigint)
RETURNS TABLE (queue text, runnable bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
WITH RECURSIVE
-- The businesses and queues with open jobs, each found by one leap in ix_background_jobs_open.
backlog AS (
    (
        SELECT j.business_id, j.queue FROM background_jobs j
        WHERE j.status IN ('pending', 'running')
        ORDER BY j.business_id, j.queue
        LIMIT 1
    )
    UNION ALL
    SELECT further.business_id, further.queue
    FROM backlog b
    CROSS JOIN LATERAL (
        SELECT j.business_id, j.queue FROM background_jobs j
        WHERE j.status IN ('pending', 'running') AND (j.business_id, j.queue) > (b.business_id, b.queue)
        ORDER BY j.business_id, j.queue
        LIMIT 1
    ) further
),
-- Due jobs, those that a worker has right now included, as many as admission lets into Redis.
jobs AS (
    SELECT b.queue, due.number
    FROM backlog b
    CROSS JOIN LATERAL (
        SELECT count(*) AS number
        FROM (
            SELECT FROM background_jobs j
            WHERE j.business_id = b.business_id AND j.queue = b.queue
              AND j.status IN ('pending', 'running')
              AND j.run_after <= (SELECT clock_timestamp())
            -- The order of that index: with it the few rows are the cheapest plan however the limit is guessed.
            ORDER BY j.id
            LIMIT jobs_per_business
        ) first
    ) due
),
-- Calls that the pump could place: due ones within the free slots, unless the breaker is open or nobody can be shown as
-- the caller. The business's next_wake_at is not asked: a run that started since may be callable long before it.
calls AS (
    SELECT due.number
    FROM (SELECT DISTINCT r.business_id FROM outbound_call_runs r WHERE r.status = 'running') calling
    JOIN businesses b ON b.id = calling.business_id
    CROSS JOIN LATERAL (
        SELECT greatest(b.call_cap - count(*), 0) AS free FROM call_attempts a
        WHERE a.business_id = b.id AND a.settled_at IS NULL
    ) slots
    CROSS JOIN LATERAL (
        SELECT count(*) AS number
        FROM (
            SELECT FROM outbound_call_runs r
            CROSS JOIN LATERAL (
                SELECT FROM outbound_call_jobs j
                WHERE j.run_id = r.id AND j.status = 'queued' AND j.next_attempt_at <= (SELECT clock_timestamp())
                ORDER BY j.next_attempt_at
                LIMIT slots.free
            ) job
            WHERE r.business_id = b.id AND r.status = 'running' AND (r.caller_ids <> '[]' OR b.caller_ids <> '[]')
            LIMIT slots.free
        ) first
    ) due
    WHERE b.breaker_open_until IS NULL OR b.breaker_open_until <= (SELECT clock_timestamp())
),
-- Downloads within the slots of each business, and transcriptions, which need none. A longer list tells no autoscaler
-- more; those at work became due first, so the limit does not hide them.
recordings_at_hand AS (
    SELECT least(count(*) FILTER (WHERE due.download), recordings_per_business)
         + count(*) FILTER (WHERE NOT due.download) AS number
    FROM (
        SELECT r.business_id, r.status IN ('pending', 'downloading') AS download FROM recordings r
        WHERE r.status IN ('pending', 'downloading', 'downloaded', 'transcribing')
          AND r.run_after <= (SELECT clock_timestamp())
        ORDER BY r.run_after
        LIMIT 10000
    ) due
    GROUP BY due.business_id
),
-- Only a worker sweeps, so one has to be there as long as something may need to be woken, settled or asked for later:
-- the watch over an open run, a recording that is tried again, a recording whose webhook is awaited.
sweep AS (
    SELECT 1 AS number
    WHERE EXISTS (SELECT FROM outbound_call_runs r WHERE r.status IN ('pending', 'running', 'paused'))
       OR EXISTS (
           SELECT FROM recordings r WHERE r.status IN ('pending', 'downloading', 'downloaded', 'transcribing')
       )
       OR EXISTS (SELECT FROM unlisted_recordings(0, 1))
),
counted AS (
    SELECT j.queue::text, j.number FROM jobs j
    UNION ALL SELECT 'high', c.number FROM calls c
    UNION ALL SELECT 'high', count(*) FROM call_attempts a WHERE a.settled_at IS NULL
    UNION ALL SELECT 'recordings', r.number FROM recordings_at_hand r
)
SELECT c.queue, sum(c.number)::bigint FROM counted c GROUP BY c.queue HAVING sum(c.number) > 0
UNION ALL
SELECT 'default', s.number FROM sweep s
WHERE NOT EXISTS (SELECT FROM counted c WHERE c.queue = 'default' AND c.number > 0)
$$
"""


def upgrade() -> None:
    op.execute(RUNNABLE_WORK)
    # Who may call it is granted to the application's role by name; see switchboard_core.migrate.grants.
    op.execute("REVOKE ALL ON FUNCTION runnable_work FROM PUBLIC")


def downgrade() -> None:
    refuse_downgrade(revision)
