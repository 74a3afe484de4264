"""How often in a row a recorder died with a recording: one that ends its recorder is not tried for ever."""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "121"
down_revision = "120"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A constant default rewrites no row.
    op.execute("ALTER TABLE recordings ADD COLUMN IF NOT EXISTS crash_count bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    refuse_downgrade(revision)
