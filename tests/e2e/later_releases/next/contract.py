"""The backfill is over. The release before never knew its table, so it can still run."""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "CONTRACT"
down_revision = "CONTRACT_BEFORE"
branch_labels = None
depends_on = None
min_code_seq = int("SEQUENCE_BEFORE")


def upgrade() -> None:
    op.execute("DROP TABLE nickname_backfill")


def downgrade() -> None:
    refuse_downgrade(revision)
