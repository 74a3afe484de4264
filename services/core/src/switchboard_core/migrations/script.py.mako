"""${message}."""

from alembic import op

from switchboard_core.migrations import refuse_downgrade

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}
# A contract revision also states ``min_code_seq``: the oldest code sequence that can live without what it removes.


def upgrade() -> None:
    ${upgrades if upgrades else 'op.execute("")'}


def downgrade() -> None:
    refuse_downgrade(revision)
