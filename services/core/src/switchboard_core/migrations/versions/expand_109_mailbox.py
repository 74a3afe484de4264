"""Connected mailboxes, their rules and what was found in them."""

from switchboard_core.migrations import refuse_downgrade

revision = "109"
down_revision = "108"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To be filled."""


def downgrade() -> None:
    refuse_downgrade(revision)
