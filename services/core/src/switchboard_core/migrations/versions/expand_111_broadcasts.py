"""Broadcasts to leads, and who wants none."""

from switchboard_core.migrations import refuse_downgrade

revision = "111"
down_revision = "110"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To be filled."""


def downgrade() -> None:
    refuse_downgrade(revision)
