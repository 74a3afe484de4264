"""The index of the tasks' keys takes its place, under the name that the code looks for.

With the rows that have no key in it, PostgreSQL chose the old one for whatever asks for a business's open jobs as long
as it knew nothing of the table's contents, and read the whole backlog.
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
    op.execute(f"ALTER INDEX {DEDUPE}_new RENAME TO {DEDUPE}")


def downgrade() -> None:
    refuse_downgrade(revision)
