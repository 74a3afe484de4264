"""Users, payments, receipts, and messages on their way out."""

from switchboard_core.migrations import refuse_downgrade

revision = "108"
down_revision = "107"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To be filled."""


def downgrade() -> None:
    refuse_downgrade(revision)
