"""Which task deleted a lead, so that it can be undone; what is deleted for good once that time is over."""

from alembic import op

from switchboard_core.migrations import make_finder, refuse_downgrade

revision = "112"
down_revision = "111"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_leads_deleted_by_job_id_id": "leads (deleted_by_job_id, id) WHERE deleted_by_job_id IS NOT NULL",
    # An anonymised lead has no number any more: it is not looked at again.
    "ix_leads_purgeable": "leads (deleted_at) WHERE deleted_at IS NOT NULL AND phone <> ''",
    # Without it every lead that is deleted for good would read all call jobs, to find those that refer to it.
    "ix_outbound_call_jobs_lead_id": "outbound_call_jobs (lead_id)",
}


def upgrade() -> None:
    # Large tables that are written to meanwhile; every statement can be repeated after a failure.
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE leads ADD COLUMN IF NOT EXISTS deleted_by_job_id bigint")
        # Builds beside other work: it waits for every transaction that is open, an import's too, and blocks none.
        op.execute("SET statement_timeout = '15min'")
        op.execute("SET lock_timeout = 0")
        for name, definition in INDEXES.items():
            # A build that was interrupted leaves an invalid index of this name behind.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
    make_finder(
        "purgeable_leads(deleted_for_s double precision, row_limit bigint)",
        "bigint",
        """
        SELECT l.business_id, l.id FROM leads l
        WHERE l.deleted_at < now() - make_interval(secs => deleted_for_s) AND l.phone <> ''
        ORDER BY l.deleted_at
        LIMIT row_limit
        """,
    )


def downgrade() -> None:
    refuse_downgrade(revision)
