"""Root of the contract branch: nothing was ever removed yet."""

from switchboard_core.migrations import refuse_downgrade

revision = "c101"
down_revision = None
branch_labels = ("contract",)
depends_on = None
min_code_seq = 101


def upgrade() -> None:
    """Nothing to remove; the revision exists so that the branch has a head."""


def downgrade() -> None:
    refuse_downgrade(revision)
