"""Row-level security on every tenant table, and the few functions that may look across tenants.

The policies are not forced: the owner, and with it the ``SECURITY DEFINER`` functions below, sees every tenant. The
application's role owns nothing, so for it they always apply.
"""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "102"
down_revision = "101"
branch_labels = None
depends_on = None

# Null without a tenant: null never equals an id, so nothing is visible and nothing can be written.
TENANT = "nullif(current_setting('app.business_id', true), '')::bigint"

TENANT_COLUMNS = {
    "businesses": "id",
    "api_keys": "business_id",
    "audit_events": "business_id",
    "background_jobs": "business_id",
    "call_attempts": "business_id",
    "do_not_call": "business_id",
    "idempotency_keys": "business_id",
    "lead_import_errors": "business_id",
    "lead_imports": "business_id",
    "leads": "business_id",
    "outbound_call_jobs": "business_id",
    "outbound_call_runs": "business_id",
    "recordings": "business_id",
}

# (signature, type of id, body). Arguments are named unlike any column, because in a query a column's name wins.
FINDERS = (
    ("find_api_key(wanted bytea)", "bigint", "SELECT k.business_id, k.id FROM api_keys k WHERE k.key_hash = wanted"),
    (
        "find_background_job(wanted bigint)",
        "bigint",
        "SELECT j.business_id, j.id FROM background_jobs j WHERE j.id = wanted",
    ),
    (
        "find_outbound_call_run(wanted bigint)",
        "bigint",
        "SELECT r.business_id, r.id FROM outbound_call_runs r WHERE r.id = wanted",
    ),
    ("find_recording(wanted bigint)", "bigint", "SELECT r.business_id, r.id FROM recordings r WHERE r.id = wanted"),
    ("find_call_attempt(wanted uuid)", "uuid", "SELECT a.business_id, a.id FROM call_attempts a WHERE a.id = wanted"),
    (
        "find_call_attempt_by_sid(wanted text)",
        "uuid",
        "SELECT a.business_id, a.id FROM call_attempts a WHERE a.call_sid = wanted",
    ),
    ("all_businesses()", "bigint", "SELECT b.id, b.id FROM businesses b ORDER BY b.id"),
    (
        "open_runs()",
        "bigint",
        """
        SELECT r.business_id, r.id FROM outbound_call_runs r
        WHERE r.status IN ('pending', 'running', 'paused')
        ORDER BY r.id
        """,
    ),
    (
        "businesses_with_waiting_jobs()",
        "bigint",
        """
        SELECT j.business_id, min(j.id) FROM background_jobs j
        WHERE j.status IN ('pending', 'running') AND j.admitted_at IS NULL
        GROUP BY j.business_id
        ORDER BY min(j.id)
        """,
    ),
    (
        # As a function of its own: under the policy ``@@``, which is not leakproof, could not use the GIN index.
        "search_transcripts(query text, row_limit bigint, row_offset bigint)",
        "bigint",
        f"""
        SELECT r.business_id, r.id FROM recordings r
        WHERE r.business_id = {TENANT} AND r.transcript_search @@ websearch_to_tsquery('english', query)
        ORDER BY ts_rank_cd(r.transcript_search, websearch_to_tsquery('english', query)) DESC, r.id DESC
        LIMIT row_limit OFFSET row_offset
        """,
    ),
)

# These read the clock. The scalar sub-select reads it once, which lets an index on the time be used.
DUE = (
    (
        "due_background_jobs(row_limit bigint)",
        "bigint",
        """
        SELECT j.business_id, j.id FROM background_jobs j
        WHERE j.status IN ('pending', 'running')
          AND j.admitted_at IS NOT NULL
          AND j.run_after <= (SELECT clock_timestamp())
          AND (j.lease_until IS NULL OR j.lease_until < (SELECT clock_timestamp()))
        ORDER BY j.run_after, j.id
        LIMIT row_limit
        """,
    ),
    (
        # LIMIT 1 keeps the look into the queue one probe of ix_outbound_call_jobs_queued a run, however long it is.
        "callable_runs()",
        "bigint",
        """
        SELECT r.business_id, r.id
        FROM outbound_call_runs r
        JOIN businesses b ON b.id = r.business_id
        CROSS JOIN LATERAL (
            SELECT FROM outbound_call_jobs j
            WHERE j.run_id = r.id AND j.status = 'queued' AND j.next_attempt_at <= (SELECT clock_timestamp())
            ORDER BY j.next_attempt_at
            LIMIT 1
        ) due
        WHERE r.status = 'running'
          AND (b.next_wake_at IS NULL OR b.next_wake_at <= (SELECT clock_timestamp()))
          AND b.call_cap > (
              SELECT count(*) FROM call_attempts a WHERE a.business_id = r.business_id AND a.settled_at IS NULL
          )
        ORDER BY r.id
        """,
    ),
    (
        "silent_call_attempts(silent_s double precision, row_limit bigint)",
        "uuid",
        """
        SELECT a.business_id, a.id FROM call_attempts a
        WHERE a.settled_at IS NULL
          AND coalesce(a.checked_at, a.sent_at, a.created_at) < (
              SELECT clock_timestamp() - make_interval(secs => silent_s)
          )
        ORDER BY coalesce(a.checked_at, a.sent_at, a.created_at), a.id
        LIMIT row_limit
        """,
    ),
    (
        "unlisted_recordings(after_s double precision, row_limit bigint)",
        "uuid",
        """
        SELECT a.business_id, a.id
        FROM call_attempts a
        JOIN outbound_call_runs r ON r.id = a.run_id AND r.record
        WHERE a.state = 'completed' AND a.recordings_listed_at IS NULL AND a.call_sid IS NOT NULL
          AND a.settled_at < (SELECT clock_timestamp() - make_interval(secs => after_s))
          AND NOT EXISTS (SELECT FROM recordings c WHERE c.attempt_id = a.id)
        ORDER BY a.settled_at
        LIMIT row_limit
        """,
    ),
    (
        "due_recordings(row_limit bigint)",
        "bigint",
        """
        SELECT r.business_id, r.id FROM recordings r
        WHERE r.status IN ('pending', 'downloading', 'downloaded', 'transcribing')
          AND r.run_after <= (SELECT clock_timestamp())
          AND (r.lease_until IS NULL OR r.lease_until < (SELECT clock_timestamp()))
        ORDER BY r.run_after, r.id
        LIMIT row_limit
        """,
    ),
)

CLAIM_STARTUP_CLEANUP = """
CREATE FUNCTION claim_startup_cleanup(not_within_s double precision) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    -- Held until the caller's transaction ends, so that only one process cleans up at a time.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('switchboard.startup_cleanup', 0)) THEN
        RETURN false;
    END IF;
    INSERT INTO maintenance_marks AS mark (name, at) VALUES ('startup_cleanup', clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET at = excluded.at
        WHERE mark.at < clock_timestamp() - make_interval(secs => not_within_s);
    RETURN FOUND;
END
$$
"""


def upgrade() -> None:
    for table, column in TENANT_COLUMNS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} USING ({column} = {TENANT}) WITH CHECK ({column} = {TENANT})")
    for signature, id_type, body in FINDERS:
        _create(signature, id_type, body, volatility="STABLE")
    for signature, id_type, body in DUE:
        _create(signature, id_type, body, volatility="VOLATILE")
    op.execute(CLAIM_STARTUP_CLEANUP)
    op.execute("REVOKE ALL ON FUNCTION claim_startup_cleanup FROM PUBLIC")


def downgrade() -> None:
    refuse_downgrade(revision)


def _create(signature: str, id_type: str, body: str, *, volatility: str) -> None:
    op.execute(
        f"CREATE FUNCTION {signature} RETURNS TABLE (business_id bigint, id {id_type}) "
        f"LANGUAGE sql {volatility} SECURITY DEFINER SET search_path = public, pg_temp AS $$ {body} $$"
    )
    # Who may call them is granted to the application's role by name; see switchboard_core.migrate.grants.
    op.execute(f"REVOKE ALL ON FUNCTION {signature.partition('(')[0]} FROM PUBLIC")
