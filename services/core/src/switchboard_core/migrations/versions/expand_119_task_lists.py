"""Indexes of the tasks: for the lists by state, and one for keys that holds only the rows that have a key."""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "119"
down_revision = "118"
branch_labels = None
depends_on = None

# What the api lists by state, newest first, beside however many tasks in other states.
BY_STATUS = "ix_background_jobs_business_id_status_id"
# Takes the place of the one without "_new" in the next revision.
DEDUPE = "uq_background_jobs_dedupe_key_new"


def upgrade() -> None:
    # A large table that is written to meanwhile; every statement can be repeated after a failure.
    with op.get_context().autocommit_block():
        # Builds beside other work: it waits for every transaction that is open and blocks none.
        op.execute("SET statement_timeout = '15min'")
        op.execute("SET lock_timeout = 0")
        # A build that was interrupted leaves an invalid index of this name behind.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {BY_STATUS}")
        op.execute(f"CREATE INDEX CONCURRENTLY {BY_STATUS} ON background_jobs (business_id, status, id)")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {DEDUPE}")
        op.execute(
            f"CREATE UNIQUE INDEX CONCURRENTLY {DEDUPE} ON background_jobs (business_id, dedupe_key) "
            "WHERE status IN ('pending', 'running') AND dedupe_key IS NOT NULL"
        )


def downgrade() -> None:
    refuse_downgrade(revision)
