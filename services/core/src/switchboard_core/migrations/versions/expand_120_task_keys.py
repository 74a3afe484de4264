"""The index of the tasks' keys takes its place, under the name that the code looks for, and one that nobody reads goes.

With statistics that are older than a backlog, or absent, PostgreSQL guesses that every index over open jobs gives one
row, as the primary key does. By the old index of keys, which held the rows without one too, and by the one of what is
due a claim and an admission read the whole backlog.
"""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "120"
down_revision = "119"
branch_labels = None
depends_on = None

DEDUPE = "uq_background_jobs_dedupe_key"


def upgrade() -> None:
    # A moment's exclusive lock, under the runner's timeouts; there is no moment without the constraint.
    op.execute(f"DROP INDEX {DEDUPE}")
    # ix_background_jobs_wakeable has taken its place.
    op.execute("DROP INDEX IF EXISTS ix_background_jobs_due")
    op.execute(f"ALTER INDEX {DEDUPE}_new RENAME TO {DEDUPE}")


def downgrade() -> None:
    refuse_downgrade(revision)
