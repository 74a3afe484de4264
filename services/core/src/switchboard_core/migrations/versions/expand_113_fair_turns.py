"""Turns: who waits for the carrier account's rate, and indexes that keep admission quick beside any backlog."""

from alembic import op

from switchboard_core.migrations import protect, refuse_downgrade

revision = "113"
down_revision = "112"
branch_labels = None
depends_on = None

OPEN = "status IN ('pending', 'running')"
INDEXES = {
    # What admission counts, what it takes next, and what the sweep compares with the queues: none of them reads past
    # the jobs that wait for admission, however many those are.
    "ix_background_jobs_admitted": f"(business_id, queue, run_after) WHERE {OPEN} AND admitted_at IS NOT NULL",
    "ix_background_jobs_waiting": f"(business_id, queue, id) WHERE {OPEN} AND admitted_at IS NULL",
    "ix_background_jobs_wakeable": f"(run_after, id) WHERE {OPEN} AND admitted_at IS NOT NULL",
}

RATE_LINE = """
CREATE TABLE IF NOT EXISTS rate_line (
    business_id bigint NOT NULL,
    account_sid varchar(64) NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT pk_rate_line PRIMARY KEY (business_id),
    CONSTRAINT fk_rate_line_business_id_businesses
        FOREIGN KEY (business_id) REFERENCES businesses (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS ix_rate_line_account_sid_since ON rate_line (account_sid, since);
"""

# Numbers only: how many businesses come before one in the line for the rate of an account. Who is not in it comes last.
AHEAD_IN_LINE = """
CREATE OR REPLACE FUNCTION ahead_in_line(of_business bigint, at_account text) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
SELECT count(*) FROM rate_line others
LEFT JOIN rate_line own ON own.business_id = of_business AND own.account_sid = at_account
WHERE others.account_sid = at_account
  AND others.business_id <> of_business
  AND others.expires_at > (SELECT clock_timestamp())
  AND (own.since IS NULL OR (others.since, others.business_id) < (own.since, own.business_id))
$$
"""

# The oldest of each business and queue, by one leap in an index each, instead of a look at all that waits.
WAITING = """
CREATE OR REPLACE FUNCTION businesses_with_waiting_jobs() RETURNS TABLE (business_id bigint, id bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
WITH RECURSIVE lines AS (
    (
        SELECT j.business_id, j.queue, j.id FROM background_jobs j
        WHERE j.status IN ('pending', 'running') AND j.admitted_at IS NULL
        ORDER BY j.business_id, j.queue, j.id
        LIMIT 1
    )
    UNION ALL
    SELECT further.business_id, further.queue, further.id
    FROM lines l
    CROSS JOIN LATERAL (
        SELECT j.business_id, j.queue, j.id FROM background_jobs j
        WHERE j.status IN ('pending', 'running') AND j.admitted_at IS NULL
          AND (j.business_id, j.queue) > (l.business_id, l.queue)
        ORDER BY j.business_id, j.queue, j.id
        LIMIT 1
    ) further
)
SELECT l.business_id, l.id FROM lines l ORDER BY l.id
$$
"""


def upgrade() -> None:
    # A large table that is written to meanwhile; every statement can be repeated after a failure.
    with op.get_context().autocommit_block():
        # Builds beside other work: it waits for every transaction that is open and blocks none.
        op.execute("SET statement_timeout = '15min'")
        op.execute("SET lock_timeout = 0")
        for name, definition in INDEXES.items():
            # A build that was interrupted leaves an invalid index of this name behind.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON background_jobs {definition}")
    op.execute(RATE_LINE)
    op.execute("DROP POLICY IF EXISTS tenant ON rate_line")
    protect("rate_line")
    op.execute(AHEAD_IN_LINE)
    op.execute("REVOKE ALL ON FUNCTION ahead_in_line FROM PUBLIC")
    op.execute(WAITING)


def downgrade() -> None:
    refuse_downgrade(revision)
