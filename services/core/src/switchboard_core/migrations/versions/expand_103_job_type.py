"""Background jobs name their type, and the database knows which types there are."""

from alembic import op

from switchboard_core.logs import get_logger
from switchboard_core.migrations import refuse_downgrade

revision = "103"
down_revision = "102"
branch_labels = None
depends_on = None

log = get_logger("switchboard_core.migrations")


def upgrade() -> None:
    log.info("Migration 103: Creating background_jobs job_type constraint")
    op.execute("ALTER TABLE background_jobs ADD CONSTRAINT chk_job_type CHECK (job_type IN ('delete_receipts_all'))")
    log.info("Migration 103 complete: job_type constraint created")


def downgrade() -> None:
    refuse_downgrade(revision)
