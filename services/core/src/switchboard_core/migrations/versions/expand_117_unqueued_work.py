"""What is due and in no queue, however much waits in the queues: the sweep names what it has seen there.

``due_background_jobs`` and ``due_recordings`` stay for the release before.
"""

from switchboard_core.migrations import make_finder, refuse_downgrade

revision = "117"
down_revision = "116"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # NOT IN, because it is always one hash of the array and one probe a row; no id in it is null.
    make_finder(
        "unqueued_background_jobs(queued_ids bigint[], row_limit bigint)",
        "bigint",
        """
        SELECT j.business_id, j.id FROM background_jobs j
        WHERE j.status IN ('pending', 'running')
          AND j.admitted_at IS NOT NULL
          AND j.run_after <= (SELECT clock_timestamp())
          AND (j.lease_until IS NULL OR j.lease_until < (SELECT clock_timestamp()))
          AND j.id NOT IN (SELECT unnest(queued_ids))
        ORDER BY j.run_after, j.id
        LIMIT row_limit
        """,
    )
    make_finder(
        "unqueued_recordings(queued_ids bigint[], row_limit bigint)",
        "bigint",
        """
        SELECT r.business_id, r.id FROM recordings r
        WHERE r.status IN ('pending', 'downloading', 'downloaded', 'transcribing')
          AND r.run_after <= (SELECT clock_timestamp())
          AND (r.lease_until IS NULL OR r.lease_until < (SELECT clock_timestamp()))
          AND r.id NOT IN (SELECT unnest(queued_ids))
        ORDER BY r.run_after, r.id
        LIMIT row_limit
        """,
    )


def downgrade() -> None:
    refuse_downgrade(revision)
