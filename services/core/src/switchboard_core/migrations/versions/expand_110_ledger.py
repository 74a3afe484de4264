"""Transactions and counterparties of an accounting system."""

from switchboard_core.migrations import refuse_downgrade

revision = "110"
down_revision = "109"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To be filled."""


def downgrade() -> None:
    refuse_downgrade(revision)
