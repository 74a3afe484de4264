"""How often in a row the database refused a job's slice: counted apart from the deaths of its workers."""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "116"
down_revision = "115"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A constant default rewrites no row.
    op.execute("ALTER TABLE background_jobs ADD COLUMN IF NOT EXISTS setbacks bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    refuse_downgrade(revision)
