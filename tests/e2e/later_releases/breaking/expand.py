"""Businesses get a motto."""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "SEQUENCE"
down_revision = "SEQUENCE_BEFORE"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE businesses ADD COLUMN motto text")


def downgrade() -> None:
    refuse_downgrade(revision)
