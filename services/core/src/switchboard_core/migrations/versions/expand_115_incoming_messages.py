"""Which messages of people were applied, so that one that comes again does nothing."""

from alembic import op

from switchboard_core.migrations import make_finder, protect, refuse_downgrade

revision = "115"
down_revision = "114"
branch_labels = None
depends_on = None

# Nothing of the message itself: no number and no text. The key begins with the carrier's id, which is looked for before
# the business is known; the index serves the forgetting.
TABLE = """
CREATE TABLE incoming_messages (
    message_sid varchar(64) NOT NULL,
    business_id bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_incoming_messages PRIMARY KEY (message_sid, business_id),
    CONSTRAINT fk_incoming_messages_business_id_businesses
        FOREIGN KEY (business_id) REFERENCES businesses (id) ON DELETE CASCADE
);
CREATE INDEX ix_incoming_messages_business_id_received_at ON incoming_messages (business_id, received_at);
"""


def upgrade() -> None:
    op.execute(TABLE)
    protect("incoming_messages")
    make_finder(
        "find_incoming_message(wanted_sid text)",
        "bigint",
        "SELECT m.business_id, m.business_id FROM incoming_messages m WHERE m.message_sid = wanted_sid LIMIT 1",
        volatility="STABLE",
    )


def downgrade() -> None:
    refuse_downgrade(revision)
