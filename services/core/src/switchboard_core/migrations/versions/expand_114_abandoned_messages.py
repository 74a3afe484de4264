"""Messages whose worker died while it sent them, so that the sweep finds them without reading the others."""

from alembic import op

from switchboard_core.migrations import make_finder, refuse_downgrade

revision = "114"
down_revision = "113"
branch_labels = None
depends_on = None

INDEX = "ix_outgoing_messages_sending"


def upgrade() -> None:
    # A large table that is written to meanwhile; every statement can be repeated after a failure.
    with op.get_context().autocommit_block():
        # Builds beside other work: it waits for every transaction that is open and blocks none.
        op.execute("SET statement_timeout = '15min'")
        op.execute("SET lock_timeout = 0")
        # A build that was interrupted leaves an invalid index of this name behind.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        op.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON outgoing_messages (lease_until) WHERE state = 'sending'")
    make_finder(
        "abandoned_messages(row_limit bigint)",
        "uuid",
        """
        SELECT m.business_id, m.id FROM outgoing_messages m
        WHERE m.state = 'sending' AND m.lease_until < clock_timestamp()
        ORDER BY m.lease_until
        LIMIT row_limit
        """,
    )


def downgrade() -> None:
    refuse_downgrade(revision)
