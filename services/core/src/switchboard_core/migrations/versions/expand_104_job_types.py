"""The job types of leads, campaigns and broadcasts are allowed too."""

from alembic import op

from switchboard_core.logs import get_logger
from switchboard_core.migrations import refuse_downgrade

revision = "104"
down_revision = "103"
branch_labels = None
depends_on = None

JOB_TYPES = (
    "delete_receipts_all",
    "delete_leads",
    "update_leads",
    "delete_imported_leads",
    "enqueue_outbound_calls",
    "broadcast",
)

log = get_logger("switchboard_core.migrations")


def upgrade() -> None:
    log.info("Migration 104: Updating background_jobs job_type constraint")
    allowed = ", ".join(f"'{job_type}'" for job_type in JOB_TYPES)
    # Outside a transaction, so that the exclusive lock lasts for the first statement only: NOT VALID looks at no row,
    # and VALIDATE reads them all under a lock that lets everybody work. Interrupted in between, both can be repeated.
    with op.get_context().autocommit_block():
        op.execute(
            "ALTER TABLE background_jobs DROP CONSTRAINT IF EXISTS chk_job_type, "
            f"ADD CONSTRAINT chk_job_type CHECK (job_type IN ({allowed})) NOT VALID"
        )
        op.execute("ALTER TABLE background_jobs VALIDATE CONSTRAINT chk_job_type")
    log.info("Migration 104 complete: job_type constraint updated")
    words = f"Allowed job types: {', '.join(JOB_TYPES)}"
    log.info(words)


def downgrade() -> None:
    refuse_downgrade(revision)
