"""Which task deleted a lead, so that it can be undone."""

from switchboard_core.migrations import refuse_downgrade

revision = "112"
down_revision = "111"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To be filled."""


def downgrade() -> None:
    refuse_downgrade(revision)
