"""The job types of the other domains are allowed too: undo of a delete, receipts, mailbox, ledger."""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "106"
down_revision = "105"
branch_labels = None
depends_on = None

JOB_TYPES = (
    "delete_receipts_all",
    "delete_leads",
    "update_leads",
    "delete_imported_leads",
    "enqueue_outbound_calls",
    "broadcast",
    "restore_leads",
    "send_payment_receipt_job",
    "receipts_sync",
    "background_sort_task",
    "voice_search_task",
    "sync_ledger",
)


def upgrade() -> None:
    allowed = ", ".join(f"'{job_type}'" for job_type in JOB_TYPES)
    # As in 104: the exclusive lock lasts for the first statement only, and both can be repeated.
    with op.get_context().autocommit_block():
        op.execute(
            "ALTER TABLE background_jobs DROP CONSTRAINT IF EXISTS chk_job_type, "
            f"ADD CONSTRAINT chk_job_type CHECK (job_type IN ({allowed})) NOT VALID"
        )
        op.execute("ALTER TABLE background_jobs VALIDATE CONSTRAINT chk_job_type")


def downgrade() -> None:
    refuse_downgrade(revision)
