"""Businesses get a nickname; and a rule that one of their names may break, so that this can fail and be repaired."""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = "SEQUENCE"
down_revision = "SEQUENCE_BEFORE"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE businesses ADD COLUMN nickname text")
    op.execute("CREATE TABLE nickname_backfill (business_id bigint PRIMARY KEY)")
    op.execute("ALTER TABLE businesses ADD CONSTRAINT chk_businesses_name CHECK (name <> 'Obstacle')")


def downgrade() -> None:
    refuse_downgrade(revision)
