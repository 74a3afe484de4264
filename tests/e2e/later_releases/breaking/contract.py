"""Nicknames go, which the release before still reads: from here on no older release can run."""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "CONTRACT"
down_revision = "CONTRACT_BEFORE"
branch_labels = None
depends_on = None
min_code_seq = int("SEQUENCE")


def upgrade() -> None:
    op.execute("ALTER TABLE businesses DROP COLUMN nickname")


def downgrade() -> None:
    refuse_downgrade(revision)
