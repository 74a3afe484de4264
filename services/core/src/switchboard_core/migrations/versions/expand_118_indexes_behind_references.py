"""Indexes behind two references: without them a look for who refers to a row reads the whole table."""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "118"
down_revision = "117"
branch_labels = None
depends_on = None

INDEXES = {
    # Each task that retention deletes is looked for among the runs.
    "ix_outbound_call_runs_background_job_id": "outbound_call_runs (background_job_id)",
    # unlisted_recordings, which is asked every few seconds, looks for the recordings of an attempt.
    "ix_recordings_attempt_id": "recordings (attempt_id)",
}


def upgrade() -> None:
    # Large tables that are written to meanwhile; every statement can be repeated after a failure.
    with op.get_context().autocommit_block():
        # Builds beside other work: it waits for every transaction that is open and blocks none.
        op.execute("SET statement_timeout = '15min'")
        op.execute("SET lock_timeout = 0")
        for name, definition in INDEXES.items():
            # A build that was interrupted leaves an invalid index of this name behind.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")


def downgrade() -> None:
    refuse_downgrade(revision)
